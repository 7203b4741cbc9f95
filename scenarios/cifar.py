"""CIFAR-10 and CIFAR-100 from the published pickles or from one `.npz`.

Source: Krizhevsky, "Learning Multiple Layers of Features from Tiny Images", 2009; the format is the
one described at https://www.cs.toronto.edu/~kriz/cifar.html (Python version).
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from cgcd.vocabulary import InputError
from scenarios.arrays import ImageArrays, read_npz
from scenarios.layouts import Layout, is_archive
from scenarios.pickles import read_pickled_dict

_SIDE = 32  # pixels
_TEST_SHARE = 6  # one image in six is a test image, as in the published 500 + 100 per class


@dataclass(frozen=True)
class _Published:
    """What the files of one of the two data sets call their content; training parts come first."""

    layout: Layout
    labels: str
    names: str


def _layout(title: str, folder: str, archive: str, files: tuple[str, ...]) -> Layout:
    return Layout(
        title=title,
        marks=files,
        places=(folder,),
        archives=(archive,),
        tree=tuple(f"{folder}/{name}" for name in files),
        also=", or data_root=<file>.npz to a file with x and y",
    )


CIFAR10 = _layout(
    "CIFAR-10",
    "cifar-10-batches-py",
    "cifar-10-python.tar.gz",
    (*(f"data_batch_{number}" for number in range(1, 6)), "test_batch", "batches.meta"),
)
CIFAR100 = _layout(
    "CIFAR-100", "cifar-100-python", "cifar-100-python.tar.gz", ("train", "test", "meta")
)
_CIFAR10 = _Published(CIFAR10, "labels", "label_names")
_CIFAR100 = _Published(CIFAR100, "fine_labels", "fine_label_names")


def read_cifar10(root: str | os.PathLike[str] | None) -> ImageArrays:
    """Images, labels and class names, checked.

    Args:
        root: the folder `cifar-10-batches-py` (pickles `data_batch_1` to `data_batch_5`,
            `test_batch`, `batches.meta`) or its parent, or an `.npz`; all as in `read_cifar100`.

    Raises:
        InputError: as `read_cifar100`.
    """
    return _read(root, _CIFAR10)


def read_cifar100(root: str | os.PathLike[str] | None) -> ImageArrays:
    """Images, fine labels and class names, checked.

    Args:
        root: one of
            the folder `cifar-100-python` (pickles `train`, `test`, `meta`) or its parent, read
            without running anything the pickles hold;
            an `.npz` with `x` (N, 32, 32, 3) uint8 and `y` (N,) integers, optionally `split` (N,),
            0 train and 1 test (without it the last sixth of each class, in file order and at least
            one image, is the test part) and `classes` (K,) names (without it the ids are the
            names).

    Raises:
        InputError: if a path or member is missing, a file is damaged, or shapes, types or labels
            are not as above.
    """
    return _read(root, _CIFAR100)


def checked_labels(
    labels: object, num_images: int, num_classes: int | None, path: Path, mend: str
) -> np.ndarray:
    """Labels out of a file as int64, (num_images,).

    Args:
        labels: what the file holds.
        num_images: how many there must be, at least 1.
        num_classes: each label is below it; None: below `num_images`.
        path: the file, for the message.
        mend: what the user is to do, the end of every message.

    Raises:
        InputError: if they are not one integer per image, or out of range.
    """
    try:
        targets = np.asarray(labels)
    except ValueError as error:
        raise InputError(f"{path}: the labels are not one number per image: {mend}") from error
    if targets.dtype.kind not in "iu" or targets.shape != (num_images,) or not num_images:
        raise InputError(
            f"{path}: the labels are {kind(targets)} for {num_images} images; wanted one integer"
            f" per image and at least one image: {mend}"
        )
    limit = num_images if num_classes is None else num_classes
    if targets.min() < 0 or targets.max() >= limit:
        raise InputError(
            f"{path}: labels run from {targets.min()} to {targets.max()}; wanted 0 to {limit - 1}:"
            f" {mend}"
        )
    return targets.astype(np.int64)


def checked_names(arrays: dict[str, np.ndarray], path: Path, mend: str) -> tuple[str, ...] | None:
    """The member `classes` of an `.npz` as names, None where there is none.

    Raises:
        InputError: if it is no row of names.
    """
    names = arrays.get("classes")
    if names is None:
        return None
    if names.ndim != 1 or names.dtype.kind != "U":
        raise InputError(f"{path}: 'classes' is {kind(names)}; wanted (K,) names: {mend}")
    return tuple(str(name) for name in names)


def kind(value: object) -> str:
    """What a value is, for a message."""
    if isinstance(value, np.ndarray):
        return f"{value.dtype} of shape {value.shape}"
    return f"a {type(value).__name__}"


def _read(root: str | os.PathLike[str] | None, published: _Published) -> ImageArrays:
    if root and Path(root).is_file() and not is_archive(Path(root).name):
        return _from_npz(Path(root), published.layout.mend)
    return _from_pickles(published.layout.find(root), published)


def _from_pickles(folder: Path, published: _Published) -> ImageArrays:
    *files, meta = (folder / name for name in published.layout.marks)
    mend = published.layout.mend
    names = _member(read_pickled_dict(meta, mend), published.names, meta, mend)
    if not isinstance(names, list) or not all(isinstance(name, bytes | str) for name in names):
        raise InputError(f"{meta}: '{published.names}' is not a list of names: {mend}")
    class_names = tuple(n.decode("utf-8", "replace") if isinstance(n, bytes) else n for n in names)
    *train, test = (_pickled_part(file, len(class_names), published) for file in files)
    images, targets = (np.concatenate(arrays) for arrays in zip(*train, strict=True))
    return ImageArrays(images, targets, *test, class_names)


def _pickled_part(
    path: Path, num_classes: int, published: _Published
) -> tuple[np.ndarray, np.ndarray]:
    mend = published.layout.mend
    content = read_pickled_dict(path, mend)
    data = _member(content, "data", path, mend)
    labels = _member(content, published.labels, path, mend)
    width = 3 * _SIDE * _SIDE
    if not isinstance(data, np.ndarray) or data.dtype != np.uint8 or data.shape[1:] != (width,):
        raise InputError(
            f"{path}: 'data' is {kind(data)}; wanted uint8 rows of {width} values: {mend}"
        )
    images = data.reshape(-1, 3, _SIDE, _SIDE).transpose(0, 2, 3, 1)  # rows are channel-major
    targets = checked_labels(labels, len(data), num_classes, path, mend)
    return np.ascontiguousarray(images), targets


def _from_npz(path: Path, mend: str) -> ImageArrays:
    arrays = read_npz(path, ("x", "y"), mend, ("split", "classes"))
    images = arrays["x"]
    if images.dtype != np.uint8 or images.shape[1:] != (_SIDE, _SIDE, 3):
        raise InputError(
            f"{path}: 'x' is {kind(images)}; wanted uint8 images (N, {_SIDE}, {_SIDE}, 3): {mend}"
        )
    names = checked_names(arrays, path, mend)
    num_classes = None if names is None else len(names)
    targets = checked_labels(arrays["y"], len(images), num_classes, path, mend)
    is_test = _is_test(arrays.get("split"), targets, path, mend)
    return ImageArrays(
        images[~is_test],
        targets[~is_test],
        images[is_test],
        targets[is_test],
        names or tuple(map(str, range(targets.max() + 1))),
    )


def _is_test(split: np.ndarray | None, targets: np.ndarray, path: Path, mend: str) -> np.ndarray:
    if split is not None:
        if split.shape != targets.shape or not np.isin(split, (0, 1)).all():
            raise InputError(
                f"{path}: 'split' is {kind(split)} for {len(targets)} images; wanted one 0 (train)"
                f" or 1 (test) per image: {mend}"
            )
        return split == 1
    counts = np.bincount(targets)
    if (counts == 1).any():
        raise InputError(
            f"{path}: class {int(np.argmax(counts == 1))} has 1 image and the file has no 'split';"
            " wanted a training and a test image in each class: add 'split' or drop the class"
        )
    by_class = np.argsort(targets, kind="stable")
    place = np.arange(len(targets)) - np.repeat(np.cumsum(counts) - counts, counts)
    num_test = np.maximum(counts // _TEST_SHARE, 1)
    is_test = np.empty(len(targets), dtype=bool)
    is_test[by_class] = place >= np.repeat(counts - num_test, counts)
    return is_test


def _member(content: dict[str, object], name: str, path: Path, mend: str) -> object:
    if name not in content:
        raise InputError(f"{path} lacks '{name}' (it has {sorted(content)}): {mend}")
    return content[name]
