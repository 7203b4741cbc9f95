"""Samples of a stock Avalanche benchmark, with or without its transforms, as images or vectors.

Nothing is read before it is asked for. The benchmark's data sets hold the labels beside the images,
so an image source leads to them; nothing here reads them but `labels_of` and `class_names`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
import torchvision.transforms.functional as TF
from PIL import Image
from torch import Tensor

from cgcd.vocabulary import InputError

_STOCK = "or let views=stock make the views by the benchmark's own transforms"


class Joined(Sequence[Any]):
    """Samples (x, y, ...) of several data sets, one after another."""

    def __init__(self, datasets: Sequence[Any]) -> None:
        self.datasets = list(datasets)
        self.ends = np.cumsum([len(dataset) for dataset in self.datasets])

    def __len__(self) -> int:
        return int(self.ends[-1]) if len(self.ends) else 0

    def __getitem__(self, index: int) -> Any:  # type: ignore[override]
        which, place = self.place(index)
        return self.datasets[which][place]

    def place(self, index: int) -> tuple[int, int]:
        """Data set of a sample, and its place in there."""
        which = int(np.searchsorted(self.ends, index, side="right"))
        if not 0 <= index < len(self):
            raise IndexError(f"{index} is not in 0..{len(self) - 1}")
        return which, index - int(self.ends[which] - len(self.datasets[which]))


class Raw(Joined):
    """The same as the data sets below Avalanche's layers give them, without its transforms."""

    def __getitem__(self, index: int) -> Any:
        which, place = self.place(index)
        source, own = origin(self.datasets[which], place)
        return source[own]


class StockInputs(Sequence[Any]):
    """What the samples are without their labels."""

    def __init__(self, samples: Joined) -> None:
        self.samples = samples

    def __len__(self) -> int:
        return len(self.samples)

    def __getitem__(self, index: int) -> Any:  # type: ignore[override]
        return self.samples[index][0]


class StockImages(Sequence[Image.Image]):
    """The samples as RGB images.

    A PIL image, an array (H, W), (H, W, C) or a tensor (C, H, W) of uint8, or a tensor (C, H, W) of
    floats in [0, 1], which is rounded to 8 bits; C is 1 or 3.
    """

    def __init__(self, samples: Joined) -> None:
        self.samples = samples

    def __len__(self) -> int:
        return len(self.samples)

    def __getitem__(self, index: int) -> Image.Image:  # type: ignore[override]
        return _image(self.samples[index][0])


class StockVectors(Sequence[Tensor]):
    """The samples as vectors (D,) of floats."""

    def __init__(self, samples: Joined, width: int) -> None:
        self.samples, self.width = samples, width

    def __len__(self) -> int:
        return len(self.samples)

    def __getitem__(self, index: int) -> Tensor:  # type: ignore[override]
        sample = self.samples[index][0]
        vector = torch.as_tensor(sample) if isinstance(sample, np.ndarray | Tensor) else None
        if vector is None or tuple(vector.shape) != (self.width,):
            raise InputError(
                f"a sample of the benchmark is {_kind(sample)} and the model takes vectors of "
                f"{self.width} values: take a model of images, {_STOCK}"
            )
        return vector.float()


def labels_of(dataset: Any) -> np.ndarray:
    """Labels of a data set of a benchmark, (N,) int64.

    Raises:
        InputError: if one is no class id.
    """
    labels = np.asarray([int(label) for label in dataset.targets], dtype=np.int64)
    if len(labels) and labels.min() < 0:
        raise InputError(
            f"a sample of the benchmark has the label {labels.min()}; wanted class ids from 0 on: "
            "leave out what has no label"
        )
    return labels


def origin(dataset: Any, index: int) -> tuple[Any, int]:
    """The data set below Avalanche's layers that a sample comes from, and its place in there."""
    inside = dataset
    while True:
        inside = getattr(inside, "_flat_data", inside)
        if not hasattr(inside, "_get_idx"):
            return inside, index
        which, index = inside._get_idx(index)
        inside = inside._datasets[which]


def class_names(datasets: Sequence[Any], labels: np.ndarray) -> dict[int, str]:
    """Name of each label by the data set below, which benchmarks may number anew.

    Its `classes` name it where there are any, else its id in there.

    Args:
        datasets: of the experiences.
        labels: of their samples, one data set after another, (N,).
    """
    joined, names = Joined(datasets), {}
    for label, first in zip(*np.unique(labels, return_index=True), strict=True):
        which, place = joined.place(int(first))
        source, place = origin(datasets[which], place)
        targets, known = getattr(source, "targets", None), getattr(source, "classes", None)
        own = int(targets[place]) if targets is not None else int(label)
        is_named = isinstance(known, list | tuple) and own < len(known)
        names[int(label)] = str(known[own]) if is_named else str(own)
    return names


def _image(sample: Any) -> Image.Image:
    if isinstance(sample, Image.Image):
        return sample.convert("RGB")
    if isinstance(sample, Tensor) and sample.dim() == 3 and sample.shape[0] in (1, 3):
        pixels = sample
        if sample.is_floating_point():
            low, high = float(sample.min()), float(sample.max())
            if low < 0 or high > 1:
                raise InputError(
                    f"a sample of the benchmark is {_kind(sample)} with values from {low:.3g} to "
                    f"{high:.3g}; wanted [0, 1]: build the benchmark on a data set that does not "
                    f"normalize, {_STOCK}"
                )
            pixels = (sample * 255).round().to(torch.uint8)
        if pixels.dtype == torch.uint8:
            return TF.to_pil_image(pixels).convert("RGB")
    if isinstance(sample, np.ndarray) and sample.dtype == np.uint8 and sample.ndim in (2, 3):
        if sample.ndim == 2 or sample.shape[-1] in (1, 3):
            squeezed = sample[..., 0] if sample.ndim == 3 and sample.shape[-1] == 1 else sample
            return Image.fromarray(squeezed).convert("RGB")
    raise InputError(
        f"a sample of the benchmark is {_kind(sample)}; wanted a PIL image, uint8 pixels or floats "
        f"in [0, 1] of shape (C, H, W): change the data set, {_STOCK}"
    )


def _kind(sample: Any) -> str:
    if isinstance(sample, Tensor | np.ndarray):
        return f"{str(sample.dtype).removeprefix('torch.')} of shape {tuple(sample.shape)}"
    return f"a {type(sample).__name__}"
