"""Labeled image files in class folders, opened one by one."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image
from torchvision.datasets import ImageFolder

from cgcd.vocabulary import InputError
from scenarios.arrays import ImageArrays

_LAYOUT = "wanted data_root/train/<class>/<image> and data_root/test/<class>/<image>"


class ImageFiles(Sequence[Image.Image]):
    """Image files as RGB PIL images.

    Raises:
        InputError: on access, if a file is no readable image; in a labeled data set that is fatal.
    """

    def __init__(self, paths: Sequence[str]) -> None:
        self.paths = tuple(paths)

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, index: int) -> Image.Image:  # type: ignore[override]
        path = self.paths[index]
        try:
            with Image.open(path) as image:
                return image.convert("RGB")
        except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
            raise InputError(f"{path} is no readable image; fetch it again or remove it") from error


def read_image_folder(root: str | Path | None) -> ImageArrays:
    """`root/train/<class>/*` and `root/test/<class>/*` through torchvision's ImageFolder.

    Raises:
        InputError: if a part is missing or empty, or `test` has a class that `train` has not.
    """
    if root is None:
        raise InputError(f"data_root is not set; {_LAYOUT}: set data_root=<folder>")
    train, test = (_read(Path(root) / part) for part in ("train", "test"))
    foreign = sorted(set(test.classes) - set(train.classes))
    if foreign:
        raise InputError(f"{root}/test has a class {foreign[0]!r} that train has not; {_LAYOUT}")
    number = train.class_to_idx
    test_targets = [number[test.classes[target]] for target in test.targets]
    return ImageArrays(
        ImageFiles([path for path, _ in train.samples]),
        np.asarray(train.targets, dtype=np.int64),
        ImageFiles([path for path, _ in test.samples]),
        np.asarray(test_targets, dtype=np.int64),
        tuple(train.classes),
    )


def _read(folder: Path) -> ImageFolder:
    if not folder.is_dir():
        raise InputError(f"{folder} is no folder; {_LAYOUT}: set data_root=<folder>")
    try:
        return ImageFolder(str(folder))
    except FileNotFoundError as error:
        raise InputError(f"{str(error).splitlines()[0]}; {_LAYOUT}") from error
