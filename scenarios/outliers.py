"""Sets of samples that belong to no class of a stream, to measure how novel they look.

Nothing here knows the stream: whoever names a set sees to it that they share no class. A set is a
`Stage` whose samples show no label.

Source of the usual sets: ProtoGCD, TPAMI 2025, measures CIFAR against the test part of the other
CIFAR and against folders of textures, digits and scenes.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torchvision.datasets.folder import IMG_EXTENSIONS

from cgcd.engine.seeding import numpy_generator
from cgcd.models import InputSpec
from cgcd.stages import Sample, Stage, stage_dataset
from cgcd.vocabulary import UNLABELED, InputError
from scenarios.arrays import ImageArrays
from scenarios.cifar import read_cifar10, read_cifar100
from scenarios.digits import read_digits
from scenarios.features import read_features, vector_views
from scenarios.folder import ImageFiles
from scenarios.omniglot import read_omniglot
from scenarios.stream import as_pil
from scenarios.views import CenterView

_THREADS = 8


def outlier_stage(
    images: np.ndarray | Sequence[Image.Image],
    *,
    inputs: InputSpec,
    num_samples: int | None = None,
    seed: int = 0,
) -> Stage:
    """Images as outliers under the model's evaluation view.

    Args:
        images: uint8 RGB (N, H, W, 3), or N PIL images.
        inputs: what the backbone wants, `model.inputs`.
        num_samples: how many are drawn without replacement; None: all.
        seed: of the draw alone.

    Raises:
        InputError: if the model takes vectors, there are fewer images than wanted, or none.
    """
    if inputs.vector is not None:
        raise InputError(
            f"the outliers are images and the model takes vectors of {inputs.vector} values: set"
            " outliers=features"
        )
    rows = _drawn(len(images), num_samples, seed)
    return _unlabeled(as_pil(images), rows, CenterView(inputs))


def inverted_digits(*, inputs: InputSpec, num_samples: int | None = None, seed: int = 0) -> Stage:
    """Scikit-learn's 539 test digits, black on white where the stream has white on black."""
    return outlier_stage(
        255 - read_digits().test_images, inputs=inputs, num_samples=num_samples, seed=seed
    )


def cifar10_outliers(
    *,
    inputs: InputSpec,
    data_root: str | Path | None,
    num_samples: int | None = None,
    seed: int = 0,
) -> Stage:
    """The test images of CIFAR-10; see `read_cifar10` and `outlier_stage`."""
    return _test_images(read_cifar10, data_root, inputs, num_samples, seed)


def cifar100_outliers(
    *,
    inputs: InputSpec,
    data_root: str | Path | None,
    num_samples: int | None = None,
    seed: int = 0,
) -> Stage:
    """The test images of CIFAR-100; see `read_cifar100` and `outlier_stage`."""
    return _test_images(read_cifar100, data_root, inputs, num_samples, seed)


def omniglot_outliers(
    *,
    inputs: InputSpec,
    data_root: str | Path | None,
    num_samples: int | None = None,
    seed: int = 0,
) -> Stage:
    """Omniglot's characters, white on black; see `read_omniglot` and `outlier_stage`."""
    with _as_outliers():
        images = read_omniglot(data_root).train_images
        return outlier_stage(images, inputs=inputs, num_samples=num_samples, seed=seed)


def image_folder_outliers(
    *,
    inputs: InputSpec,
    data_root: str | Path | None,
    num_samples: int | None = None,
    seed: int = 0,
) -> Stage:
    """Every image file below a folder, however it is sorted; see `outlier_stage`.

    Each file that is drawn is decoded once before, so that a run cannot end at a damaged one.

    Raises:
        InputError: if there is no such folder or no image in it, or a drawn file is no readable
            image or leads out of the folder.
    """
    root = Path(data_root or "")
    if not data_root or not root.is_dir():
        raise InputError(
            f"outliers: {data_root} is no folder; wanted one with images in it or below: set"
            " outliers.data_root=<folder>"
        )
    paths = sorted(p for p in root.rglob("*") if p.suffix.lower() in IMG_EXTENSIONS and p.is_file())
    with _as_outliers():
        rows = _drawn(len(paths), num_samples, seed)
        home = root.resolve()
        for path in (paths[row] for row in rows):
            if not path.resolve().is_relative_to(home):
                raise InputError(f"{path} leads out of {root}; remove it or put the file there")
        images = ImageFiles([str(paths[row]) for row in rows])
        with ThreadPoolExecutor(min(_THREADS, os.cpu_count() or 1)) as pool:
            for _ in pool.map(images.__getitem__, range(len(images))):
                pass  # raises where one cannot be read
        return outlier_stage(images, inputs=inputs)


def features_outliers(
    *,
    inputs: InputSpec,
    data_root: str | Path | None,
    normalize: bool = True,
    num_samples: int | None = None,
    seed: int = 0,
) -> Stage:
    """Embeddings computed before, for a model of vectors; see `read_features`.

    Args:
        inputs: what the model takes, `model.inputs`.
        data_root: the `.npz`; its labels are checked but not used.
        normalize: scale each vector to length 1; as the scenario does it.
        num_samples, seed: see `outlier_stage`.
    """
    with _as_outliers():
        data = read_features(data_root)
        nobody = np.empty(0, dtype=np.int64)
        _, view = vector_views(
            data.vectors, nobody, inputs, normalize=normalize, center=False, noise=0.0
        )
        return _unlabeled(data.vectors, _drawn(len(data.vectors), num_samples, seed), view)


def _test_images(
    read: Callable[[str | Path | None], ImageArrays],
    data_root: str | Path | None,
    inputs: InputSpec,
    num_samples: int | None,
    seed: int,
) -> Stage:
    with _as_outliers():
        images = read(data_root).test_images
        return outlier_stage(images, inputs=inputs, num_samples=num_samples, seed=seed)


def _drawn(count: int, num_samples: int | None, seed: int) -> np.ndarray:
    """Rows in ascending order."""
    if not count:
        raise InputError("the set of outliers is empty; wanted at least one sample")
    if num_samples is None:
        return np.arange(count)
    if not 1 <= num_samples <= count:
        raise InputError(
            f"num_samples is {num_samples} for {count} outliers; wanted 1 to {count}, or null for"
            " all: set outliers.num_samples=null"
        )
    generator = numpy_generator(seed, "outliers")
    return np.sort(generator.choice(count, size=num_samples, replace=False))


def _unlabeled(
    images: Sequence[Any] | np.ndarray, rows: np.ndarray, view: Callable[[Sample], torch.Tensor]
) -> Stage:
    """Outliers are only ever evaluated, so their training view is the same."""
    hidden = np.full(len(rows), UNLABELED)
    return Stage(
        stage_dataset(images, rows, hidden, train_transform=view, eval_transform=view), 0, None
    )


@contextmanager
def _as_outliers() -> Iterator[None]:
    """Readers speak of the stream's data set; here it is the other one that is to be mended."""
    try:
        yield
    except InputError as error:
        text = str(error).removeprefix("outliers: ").replace(" data_root", " outliers.data_root")
        raise InputError(f"outliers: {text}") from error
