"""Labeled image files in class folders, opened one by one."""

from __future__ import annotations

import logging
import os
import warnings
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image
from torchvision.datasets import ImageFolder

from cgcd.vocabulary import InputError
from scenarios.arrays import ImageArrays

log = logging.getLogger(__name__)

_THREADS = 8  # decoding leaves Python's lock; more would wait for the disk
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


def read_image_folder(root: str | Path | None, needs_test: bool = True) -> ImageArrays:
    """`root/train/<class>/*` and `root/test/<class>/*` through torchvision's ImageFolder.

    Args:
        root: the folder that holds `train` and `test`.
        needs_test: a folder without `test` is refused, or else is one without test images.

    Raises:
        InputError: if a part is missing or empty, or `test` has a class that `train` has not.
    """
    if root is None:
        raise InputError(f"data_root is not set; {_LAYOUT}: set data_root=<folder>")
    if not needs_test and not (Path(root) / "test").exists():
        train = _read(Path(root) / "train")
        return ImageArrays(
            ImageFiles([path for path, _ in train.samples]),
            np.asarray(train.targets, dtype=np.int64),
            ImageFiles([]),
            np.empty(0, dtype=np.int64),
            tuple(train.classes),
        )
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


@dataclass(frozen=True, eq=False)
class ScannedFolder:
    """Labeled image files of which every one can be read.

    Attributes:
        images: in the order of class and path.
        targets: place of each image's class among `class_names`, (N,) int64.
        class_names: sorted names of the class folders.
        skipped: [path from the root, reason] of each file that is left out.
    """

    images: ImageFiles
    targets: np.ndarray
    class_names: tuple[str, ...]
    skipped: list[list[str]]


def scan_image_folder(root: str | Path | None, max_skipped: float = 0.05) -> ScannedFolder:
    """`root/train/<class>/*`, without the files that are no readable images.

    Every file with the name of an image is decoded once, so that a long run cannot end at a file
    that was cut off. Unreadable are also links that lead out of the root and images of more pixels
    than `PIL.Image.MAX_IMAGE_PIXELS`.

    Args:
        root: the folder that holds `train`.
        max_skipped: share in [0, 1] of the files that may be unreadable.

    Raises:
        InputError: if the folder is missing or empty, too many files are unreadable, or all of one
            class are.
    """
    if root is None:
        raise InputError(f"data_root is not set; {_LAYOUT}: set data_root=<folder>")
    if not 0 <= max_skipped <= 1:
        raise InputError(
            f"max_skipped is {max_skipped}; wanted a share from 0 to 1: set"
            " scenario.max_skipped=0.05"
        )
    folder, home = Path(root) / "train", Path(root).resolve()
    listed = _read(folder)
    paths = [path for path, _ in listed.samples]
    with warnings.catch_warnings():
        warnings.simplefilter("error", Image.DecompressionBombWarning)
        with ThreadPoolExecutor(min(_THREADS, os.cpu_count() or 1)) as pool:
            reasons = list(pool.map(lambda path: _unreadable(path, home), paths))
    skipped = [
        [Path(path).relative_to(root).as_posix(), reason]
        for path, reason in zip(paths, reasons, strict=True)
        if reason
    ]
    if len(skipped) / len(paths) > max_skipped:
        share = admitting_share(len(skipped), len(paths))
        raise InputError(
            f"{len(skipped)} of {len(paths)} files in {folder} are no readable images, the first is"
            f" {skipped[0][0]} ({skipped[0][1]}); wanted at most {max_skipped:.1%}: fetch them"
            f" again, remove them or set scenario.max_skipped={share}"
        )
    kept = np.array([not reason for reason in reasons])
    targets = np.asarray(listed.targets, dtype=np.int64)[kept]
    lost = np.setdiff1d(np.arange(len(listed.classes)), targets)
    if len(lost):
        raise InputError(
            f"class {listed.classes[lost[0]]!r} in {folder} has no readable image; wanted at least"
            " 1: fetch its files again or remove its folder"
        )
    if skipped:
        log.warning(
            "%d of %d files in %s are no readable images and are left out, the first is %s (%s)",
            len(skipped),
            len(paths),
            folder,
            *skipped[0],
        )
    images = ImageFiles([path for path, is_kept in zip(paths, kept, strict=True) if is_kept])
    return ScannedFolder(images, targets, tuple(listed.classes), skipped)


def admitting_share(part: int, whole: int) -> str:
    """The smallest share with two digits that admits `part` of `whole`."""
    return f"{min(1.0, np.ceil(100 * part / whole) / 100):g}"


def check_class_names(names: Iterable[str], folder: str | Path) -> None:
    """Refuse names of class folders that no table can hold.

    Raises:
        InputError: naming the first that is no UTF-8.
    """
    for name in names:
        if not name.isprintable() and name != name.encode("utf-8", "replace").decode():
            raise InputError(
                f"{folder} holds a class folder of the name {os.fsencode(name)!r}; wanted a name in"
                " UTF-8: rename it"
            )


def _unreadable(path: str, home: Path) -> str:
    """Why a file is no readable image inside `home`, "" if it is one."""
    try:
        if not Path(path).resolve().is_relative_to(home):
            return "leads out of data_root"
        with Image.open(path) as image:
            image.convert("RGB")
    except Exception as error:  # a damaged file can raise nearly anything; all mean the same
        return f"{type(error).__name__}: {' '.join(str(error).split())}"
    return ""


def _read(folder: Path) -> ImageFolder:
    if not folder.is_dir():
        raise InputError(f"{folder} is no folder; {_LAYOUT}: set data_root=<folder>")
    try:
        found = ImageFolder(str(folder))
    except FileNotFoundError as error:
        raise InputError(f"{str(error).splitlines()[0]}; {_LAYOUT}") from error
    check_class_names(found.classes, folder)
    return found
