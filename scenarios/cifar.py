"""CIFAR-100 from the published pickles or from one `.npz`.

Source: Krizhevsky, "Learning Multiple Layers of Features from Tiny Images", 2009; the format is the
one described at https://www.cs.toronto.edu/~kriz/cifar.html (Python version).
"""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np

from cgcd.vocabulary import InputError
from scenarios.arrays import ImageArrays, read_npz
from scenarios.pickles import read_pickled_dict

_MEND = (
    "set data_root=<folder> to the folder that holds cifar-100-python, or data_root=<file>.npz to"
    " a file with x and y"
)
_SIDE = 32  # pixels
_TEST_SHARE = 6  # one image in six is a test image, as in the published 500 + 100 per class


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
    if not root:
        raise InputError(f"data_root is not set; CIFAR-100 is read from disk: {_MEND}")
    path = Path(root)
    if path.is_file():
        return _from_npz(path)
    for folder in (path / "cifar-100-python", path):
        if (folder / "train").is_file():
            return _from_pickles(folder)
    there = "has no cifar-100-python with its files train, test and meta"
    raise InputError(f"{path} {there if path.is_dir() else 'does not exist'}: {_MEND}")


def _from_pickles(folder: Path) -> ImageArrays:
    names = _member(read_pickled_dict(folder / "meta", _MEND), "fine_label_names", folder / "meta")
    if not isinstance(names, list) or not all(isinstance(name, bytes | str) for name in names):
        raise InputError(f"{folder / 'meta'}: 'fine_label_names' is not a list of names: {_MEND}")
    class_names = tuple(n.decode("utf-8", "replace") if isinstance(n, bytes) else n for n in names)
    parts = [_pickled_part(folder / part, len(class_names)) for part in ("train", "test")]
    return ImageArrays(*parts[0], *parts[1], class_names)


def _pickled_part(path: Path, num_classes: int) -> tuple[np.ndarray, np.ndarray]:
    content = read_pickled_dict(path, _MEND)
    data, labels = _member(content, "data", path), _member(content, "fine_labels", path)
    width = 3 * _SIDE * _SIDE
    if not isinstance(data, np.ndarray) or data.dtype != np.uint8 or data.shape[1:] != (width,):
        raise InputError(
            f"{path}: 'data' is {_kind(data)}; wanted uint8 rows of {width} values: {_MEND}"
        )
    images = data.reshape(-1, 3, _SIDE, _SIDE).transpose(0, 2, 3, 1)  # rows are channel-major
    return np.ascontiguousarray(images), _targets(labels, len(data), num_classes, path)


def _from_npz(path: Path) -> ImageArrays:
    arrays = read_npz(path, ("x", "y"), _MEND)
    images = arrays["x"]
    if images.dtype != np.uint8 or images.shape[1:] != (_SIDE, _SIDE, 3):
        raise InputError(
            f"{path}: 'x' is {_kind(images)}; wanted uint8 images (N, {_SIDE}, {_SIDE}, 3): {_MEND}"
        )
    names = arrays.get("classes")
    if names is not None and (names.ndim != 1 or names.dtype.kind != "U"):
        raise InputError(f"{path}: 'classes' is {_kind(names)}; wanted (K,) names: {_MEND}")
    targets = _targets(arrays["y"], len(images), None if names is None else len(names), path)
    class_names = range(targets.max() + 1) if names is None else names
    is_test = _is_test(arrays.get("split"), targets, path)
    return ImageArrays(
        images[~is_test],
        targets[~is_test],
        images[is_test],
        targets[is_test],
        tuple(str(name) for name in class_names),
    )


def _is_test(split: np.ndarray | None, targets: np.ndarray, path: Path) -> np.ndarray:
    if split is not None:
        if split.shape != targets.shape or not np.isin(split, (0, 1)).all():
            raise InputError(
                f"{path}: 'split' is {_kind(split)} for {len(targets)} images; wanted one 0 (train)"
                f" or 1 (test) per image: {_MEND}"
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


def _targets(labels: object, num_images: int, num_classes: int | None, path: Path) -> np.ndarray:
    try:
        targets = np.asarray(labels)
    except ValueError as error:
        raise InputError(f"{path}: the labels are not one number per image: {_MEND}") from error
    if targets.dtype.kind not in "iu" or targets.shape != (num_images,) or not num_images:
        raise InputError(
            f"{path}: the labels are {_kind(targets)} for {num_images} images; wanted one integer"
            f" per image and at least one image: {_MEND}"
        )
    limit = num_images if num_classes is None else num_classes
    if targets.min() < 0 or targets.max() >= limit:
        raise InputError(
            f"{path}: labels run from {targets.min()} to {targets.max()}; wanted 0 to {limit - 1}:"
            f" {_MEND}"
        )
    return targets.astype(np.int64)


def _member(content: dict[str, object], name: str, path: Path) -> object:
    if name not in content:
        raise InputError(f"{path} lacks '{name}' (it has {sorted(content)}): {_MEND}")
    return content[name]


def _kind(value: object) -> str:
    if isinstance(value, np.ndarray):
        return f"{value.dtype} of shape {value.shape}"
    return f"a {type(value).__name__}"
