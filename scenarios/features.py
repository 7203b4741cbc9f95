"""Embeddings computed before, in the place of images: a stream of vectors.

A vector needs no backbone but a small adapter; its random views are copies with noise.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from cgcd.engine.seeding import Draw, current_draw, uniforms
from cgcd.models import InputSpec
from cgcd.stages import Sample
from cgcd.vocabulary import InputError
from scenarios.arrays import read_npz
from scenarios.cifar import checked_labels, checked_names, kind

_MEND = "set data_root=<file>.npz to a file with f (N, D) and y (N,)"
_ROWS_AT_ONCE = 4096


@dataclass(frozen=True, eq=False)
class Features:
    """Labeled embeddings.

    Attributes:
        vectors: float16 or float32, finite, (N, D).
        targets: original class ids, int64 in [0, len(class_names)), (N,).
        class_names: name of class id k at place k.
        test_vectors: as `vectors`, of samples that nobody trains on, (M, D); None: there are none.
        test_targets: as `targets`, for the test samples.
    """

    vectors: np.ndarray
    targets: np.ndarray
    class_names: tuple[str, ...]
    test_vectors: np.ndarray | None = None
    test_targets: np.ndarray | None = None


def read_features(path: str | os.PathLike[str] | None) -> Features:
    """Embeddings of training samples, and of test samples where the file has some, checked.

    Args:
        path: an `.npz` with `f` (N, D) float16 or float32 and `y` (N,) integers, optionally
            `split` (N,) integers, 0 for training, 1 for testing, anything else for neither, and
            `classes` (K,) names (without it the ids are the names); other members are not read.

    Raises:
        InputError: if the path or a member is missing, the file is damaged, or shapes, types,
            values or labels are not as above.
    """
    if not path:
        raise InputError(f"data_root is not set; embeddings are read from disk: {_MEND}")
    path = Path(path)
    arrays = read_npz(path, ("f", "y"), _MEND, ("split", "classes"))
    vectors = arrays["f"]
    if vectors.ndim != 2 or not vectors.shape[1] or vectors.dtype not in (np.float16, np.float32):
        raise InputError(
            f"{path}: 'f' is {kind(vectors)}; wanted float16 or float32 rows (N, D): {_MEND}"
        )
    names = checked_names(arrays, path, _MEND)
    num_classes = None if names is None else len(names)
    targets = checked_labels(arrays["y"], len(vectors), num_classes, path, _MEND)
    names = names or tuple(map(str, range(targets.max() + 1)))
    split = arrays.get("split")
    if split is not None:
        if split.shape != targets.shape or split.dtype.kind not in "biu" or not (split == 0).any():
            raise InputError(
                f"{path}: 'split' is {kind(split)} for {len(targets)} embeddings; wanted one"
                f" integer for each, 0 for at least one: {_MEND}"
            )
        tests = vectors[split == 1], targets[split == 1]
        vectors, targets = vectors[split == 0], targets[split == 0]
    else:
        tests = vectors[:0], targets[:0]
    _check_finite(vectors, "training", path)
    if not len(tests[0]):
        return Features(vectors, targets, names)
    _check_finite(tests[0], "test", path)
    return Features(vectors, targets, names, *tests)


def _check_finite(vectors: np.ndarray, part: str, path: Path) -> None:
    finite = np.isfinite(vectors).all(1)
    if not finite.all():
        raise InputError(
            f"{path}: {len(finite) - int(finite.sum())} embeddings hold a value that is not finite,"
            f" the first is {int(np.argmin(finite))} of the {part} part; wanted numbers: leave"
            " them out or compute them again"
        )


@dataclass(frozen=True, eq=False)
class VectorView:
    """The evaluation view of an embedding, (D,) float32: centered, then scaled to length 1.

    Attributes:
        mean: what is subtracted, (D,); None: nothing.
        normalize: scale to length 1; a vector of zeros stays one.
    """

    mean: np.ndarray | None = None
    normalize: bool = True

    def __call__(self, sample: Sample) -> Tensor:
        return torch.from_numpy(self.array(sample))

    def array(self, sample: Sample) -> np.ndarray:
        """The same as an array of its own; on so few numbers NumPy is several times faster."""
        vector = np.array(sample.image, dtype=np.float32)
        if self.mean is not None:
            vector -= self.mean
        if self.normalize:
            vector /= max(float(np.sqrt(vector @ vector)), 1e-12)
        return vector


@dataclass(frozen=True, eq=False)
class NoisyViews:
    """V copies of the evaluation view, each with Gaussian noise of its own, (V, D).

    Attributes:
        view: the evaluation view.
        noise: standard deviation of each value, >= 0, in units of the evaluation view. A vector of
            length 1 keeps about its direction while `noise` is small beside D ** -0.5.
    """

    view: VectorView
    noise: float = 0.0

    def __call__(self, sample: Sample) -> Tensor:
        draw, vector = current_draw(), self.view.array(sample)
        copies = np.repeat(vector[None], draw.num_views, axis=0)
        if self.noise:
            for view in range(draw.num_views):
                copies[view] += self.noise * _gaussian(draw, sample.id, view, len(vector))
        return torch.from_numpy(copies)


def vector_views(
    features: Features,
    labeled: np.ndarray,
    inputs: InputSpec,
    *,
    normalize: bool,
    center: bool,
    noise: float,
) -> tuple[NoisyViews, VectorView]:
    """The random training views and the evaluation view of embeddings.

    Args:
        features: the embeddings.
        labeled: those over which the mean is taken, (n,) indices.
        inputs: what the model takes.
        normalize: scale each vector to length 1, after centering.
        center: subtract the mean of the labeled embeddings.
        noise: see `NoisyViews`.

    Raises:
        InputError: if the model takes images or vectors of another width, or the noise is negative.
    """
    width = features.vectors.shape[1]
    if inputs.vector is None:
        raise InputError(
            "the scenario gives embeddings and the model takes images: set model=adapter"
            f" model.backbone.dim={width}"
        )
    if inputs.vector != width:
        raise InputError(
            f"the embeddings have {width} values and the model takes {inputs.vector}: set"
            f" model.backbone.dim={width}"
        )
    if not 0 <= noise < float("inf"):
        raise InputError(f"noise is {noise}; wanted 0 or more: set scenario.noise=0.0")
    mean = None
    if center:
        total = np.zeros(width)
        for start in range(0, len(labeled), _ROWS_AT_ONCE):  # in float64, without a copy of all
            rows = labeled[start : start + _ROWS_AT_ONCE]
            total += features.vectors[rows].sum(0, dtype=np.float64)
        mean = (total / len(labeled)).astype(np.float32)
    view = VectorView(mean, normalize)
    return NoisyViews(view, float(noise)), view


def _gaussian(draw: Draw, sample_id: int, view: int, count: int) -> np.ndarray:
    """Standard normal numbers, a function of draw, sample and view alone (Box-Muller)."""
    half = (count + 1) // 2
    first, second = uniforms(draw, sample_id, view, 2 * half).reshape(2, half)
    radius = np.sqrt(-2 * np.log1p(-first))  # 1 - first is in (0, 1]
    angle = 2 * np.pi * second
    return np.concatenate((radius * np.cos(angle), radius * np.sin(angle)))[:count]
