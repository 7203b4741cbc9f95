"""Omniglot: handwritten characters of fifty alphabets, twenty drawings each.

Source: Lake, Salakhutdinov and Tenenbaum, "Human-level concept learning through probabilistic
program induction", Science 2015; the folders are those of https://github.com/brendenlake/omniglot.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps

from cgcd.vocabulary import InputError
from scenarios.arrays import ImageArrays, read_npz
from scenarios.cifar import checked_labels, checked_names, kind
from scenarios.folder import ImageFiles
from scenarios.layouts import Layout, is_archive

_PARTS = ("images_background", "images_evaluation")
OMNIGLOT = Layout(
    title="Omniglot",
    marks=(_PARTS[0],),  # many use it without the other part
    places=("omniglot-py",),
    archives=tuple(f"{part}.zip" for part in _PARTS),
    tree=tuple(f"[omniglot-py/]{part}/<alphabet>/<character>/<drawing>.png" for part in _PARTS),
    also=(
        " or images_background/<alphabet>/<character>/*.png (and images_evaluation), or"
        " data_root=<file>.npz to a file with x and y"
    ),
)
_MEND = OMNIGLOT.mend


class GreyImages(Sequence[Image.Image]):
    """Images (N, H, W) uint8 as RGB PIL images."""

    def __init__(self, arrays: np.ndarray) -> None:
        self.arrays = arrays

    def __len__(self) -> int:
        return len(self.arrays)

    def __getitem__(self, index: int) -> Image.Image:  # type: ignore[override]
        return Image.fromarray(self.arrays[index]).convert("RGB")


class InvertedFiles(ImageFiles):
    """Files of black ink on white as images of white ink on black."""

    def __getitem__(self, index: int) -> Image.Image:  # type: ignore[override]
        return ImageOps.invert(super().__getitem__(index))


def read_omniglot(root: str | os.PathLike[str] | None) -> ImageArrays:
    """All drawings as training images, in the order of their classes where they are files.

    Ink is bright, so that what an augmentation shifts in, black, is paper.

    Args:
        root: one of
            an `.npz` with `x` (N, S, S) uint8, ink high, and `y` (N,) integers, optionally
            `classes` (K,) names (without it the ids are the names); other members are not read;
            the folder that holds `images_background` and, optionally, `images_evaluation`, or the
            parent of torchvision's `omniglot-py`: `<alphabet>/<character>/*.png`, black on white,
            opened on access. Classes are numbered by their names, those of `images_background`
            first.

    Returns:
        RGB images; there are no test images.

    Raises:
        InputError: if a path or member is missing, a file is damaged, or shapes, types or labels
            are not as above.
    """
    if root and Path(root).is_file() and not is_archive(Path(root).name):
        return _from_npz(Path(root))
    return _from_folders(OMNIGLOT.find(root))


def _from_npz(path: Path) -> ImageArrays:
    arrays = read_npz(path, ("x", "y"), _MEND, ("classes",))
    images = arrays["x"]
    if images.dtype != np.uint8 or images.ndim != 3 or images.shape[1] != images.shape[2]:
        raise InputError(f"{path}: 'x' is {kind(images)}; wanted uint8 images (N, S, S): {_MEND}")
    names = checked_names(arrays, path, _MEND)
    num_classes = None if names is None else len(names)
    targets = checked_labels(arrays["y"], len(images), num_classes, path, _MEND)
    names = names or tuple(map(str, range(targets.max() + 1)))
    return _untested(GreyImages(images), targets, names)


def _from_folders(root: Path) -> ImageArrays:
    folders = [
        character
        for part in _PARTS
        for character in sorted((root / part).glob("*/*"))
        if character.is_dir()
    ]
    files = [sorted(map(str, folder.glob("*.png"))) for folder in folders]
    counts = [len(names) for names in files]
    if not sum(counts):
        raise InputError(f"{root / _PARTS[0]} has no <alphabet>/<character>/*.png: {_MEND}")
    return _untested(
        InvertedFiles([file for names in files for file in names]),
        np.repeat(np.arange(len(folders)), counts),
        tuple(f"{folder.parent.name}/{folder.name}" for folder in folders),
    )


def _untested(
    images: Sequence[Image.Image], targets: np.ndarray, class_names: tuple[str, ...]
) -> ImageArrays:
    none = np.empty(0, dtype=np.int64)
    return ImageArrays(images, targets, (), none, class_names)
