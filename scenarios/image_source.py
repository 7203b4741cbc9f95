"""Images to compute embeddings of: a folder of files, with or without classes, or a data set."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from cgcd.vocabulary import InputError
from scenarios.arrays import ImageArrays
from scenarios.cifar import read_cifar10, read_cifar100
from scenarios.digits import read_digits
from scenarios.folder import check_class_names
from scenarios.omniglot import read_omniglot
from scenarios.photo_scan import Photo, list_photos
from scenarios.photos import read_photo
from scenarios.views import PilImages

log = logging.getLogger(__name__)

DATA_SETS = {
    "cifar10": read_cifar10,
    "cifar100": read_cifar100,
    "digits": lambda root: read_digits(),
    "omniglot": read_omniglot,
}
LABELS = ("auto", "folders", "none")
_LAYOUT = (
    "wanted train/<class>/<image> (and test/<class>/<image>), <class>/<image>, or, without labels,"
    " images at any depth"
)


@dataclass(frozen=True, eq=False)
class ImageSource:
    """N images, training samples first, and what is known of them.

    Attributes:
        images: RGB, opened on access; what cannot be read raises.
        ids: path of each from the root, or part and number in a data set, (N,).
        targets: class of each, int64, (N,); None where no classes are known.
        split: 0 for training, 1 for testing, int64, (N,); None where nothing is set apart.
        class_names: name of class k at place k; empty where no classes are known.
        kind: how an image comes out of its bytes; one of equal bytes and kind is equal.
    """

    images: Sequence[Image.Image]
    ids: tuple[str, ...]
    targets: np.ndarray | None
    split: np.ndarray | None
    class_names: tuple[str, ...]
    kind: str

    def content(self, index: int) -> bytes:
        """What image `index` is made of: the bytes of its file, or its pixels with their shape.

        Raises:
            OSError, ValueError: if the file cannot be read, or leads out of the root.
        """
        if isinstance(self.images, PhotoTree):
            return self.images.content(index)
        pixels = np.asarray(self.images[index])
        return f"{pixels.dtype.str} {pixels.shape}".encode() + pixels.tobytes()

    def __len__(self) -> int:
        return len(self.ids)


class PhotoTree(Sequence[Image.Image]):
    """Files below a root as upright RGB PIL images.

    Args:
        root: what links must not leave.
        paths: of the files.
        shorter_side: pixels that suffice, see `read_photo`.
    """

    def __init__(self, root: Path, paths: Sequence[str], shorter_side: int) -> None:
        self.home, self.paths, self.shorter_side = root.resolve(), tuple(paths), shorter_side

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, index: int) -> Image.Image:  # type: ignore[override]
        return read_photo(self.paths[index], self.shorter_side)

    def content(self, index: int) -> bytes:
        """Bytes of a file."""
        path = Path(self.paths[index])
        if path.is_symlink() and not path.resolve().is_relative_to(self.home):
            raise ValueError("leads out of data_root")
        return path.read_bytes()


def read_image_source(
    data: str, root: str | Path | None, *, labels: str = "auto", shorter_side: int = 256
) -> ImageSource:
    """Images of a data set, or files.

    Args:
        data: "files", or a name of `DATA_SETS`.
        root: where they lie; the digits need none.
        labels: whether folders name classes: "folders", "none", or "auto": not if an image lies in
            no folder. Of data sets the labels are known.
        shorter_side: pixels of files that suffice, see `read_photo`.

    Raises:
        InputError: if an argument is none of these, or there are no such images.
    """
    if data != "files":
        if data not in DATA_SETS:
            raise InputError(f"data={data}; wanted files, {', '.join(DATA_SETS)}")
        if labels != "auto":
            raise InputError(f"labels={labels} is for files; leave it out with data={data}")
        return _data_set(data, DATA_SETS[data](root))
    if labels not in LABELS:
        raise InputError(f"labels={labels}; wanted {', '.join(LABELS)}")
    if root is None:
        raise InputError(f"data_root is not set; {_LAYOUT}: set data_root=<folder>")
    root = Path(root)
    if not root.is_dir():
        raise InputError(f"{root} is no folder; {_LAYOUT}: set data_root=<folder>")
    photos = list_photos([root], ["."])
    if not photos:
        raise InputError(f"{root} holds no images; {_LAYOUT}: set data_root=<folder>")
    loose = [photo for photo in photos if "/" not in photo.inner]
    if labels == "none" or (labels == "auto" and loose):
        return _tree(root, photos, shorter_side)
    if loose:
        raise InputError(
            f"{loose[0].path} lies in no class folder; {_LAYOUT}: move it, or set labels=none"
        )
    if (root / "train").is_dir():
        return _parted(root, photos, shorter_side)
    classes = _numbered([photo.class_name for photo in photos], root)
    targets = np.array([classes[photo.class_name] for photo in photos])
    return _tree(root, photos, shorter_side, targets, None, tuple(classes))


def _data_set(name: str, data: ImageArrays) -> ImageSource:
    parts = [data.train_images, data.test_images]
    images = [PilImages(p) if isinstance(p, np.ndarray) else p for p in parts if len(p)]
    sizes = [len(part) for part in parts]
    return ImageSource(
        _Joined(images),
        tuple(f"{p}/{i}" for p, n in zip(("train", "test"), sizes, strict=True) for i in range(n)),
        np.concatenate([data.train_targets, data.test_targets]).astype(np.int64),
        np.repeat([0, 1], sizes) if sizes[1] else None,
        data.class_names,
        f"data set {name}",
    )


def _parted(root: Path, photos: Sequence[Photo], shorter_side: int) -> ImageSource:
    """`train/<class>/*` and `test/<class>/*`; a class of either counts."""
    kept, places = [], []
    for split, part in enumerate(("train", "test")):
        for photo in photos:
            first, *inner = photo.inner.split("/")
            if first != part:
                continue
            if len(inner) < 2:
                raise InputError(f"{photo.path} lies in no class folder; {_LAYOUT}: move it")
            kept.append(photo)
            places.append((split, inner[0]))
    other = sorted({p.inner.split("/")[0] for p in photos} - {"train", "test"})
    if other:
        raise InputError(
            f"{root} holds images in {other[0]!r} beside train and test; {_LAYOUT}: move them, or"
            " set labels=none"
        )
    classes = _numbered([name for _, name in places], root)
    untrained = sorted(classes.keys() - {name for split, name in places if not split})
    if untrained:
        log.warning("%s/train has no image of %r, which test has", root, untrained[0])
    targets = np.array([classes[name] for _, name in places])
    split = np.array([split for split, _ in places])
    return _tree(root, kept, shorter_side, targets, split if split.any() else None, tuple(classes))


def _tree(
    root: Path,
    photos: Sequence[Photo],
    shorter_side: int,
    targets: np.ndarray | None = None,
    split: np.ndarray | None = None,
    class_names: tuple[str, ...] = (),
) -> ImageSource:
    images = PhotoTree(root, [photo.path for photo in photos], shorter_side)
    ids = tuple(photo.name.removeprefix("./") for photo in photos)
    return ImageSource(images, ids, targets, split, class_names, "photo")


def _numbered(names: Sequence[str], root: Path) -> dict[str, int]:
    check_class_names(set(names), root)
    return {name: number for number, name in enumerate(sorted(set(names)))}


class _Joined(Sequence[Any]):
    """Several sequences as one."""

    def __init__(self, parts: Sequence[Sequence[Any]]) -> None:
        self.parts = parts

    def __len__(self) -> int:
        return sum(map(len, self.parts))

    def __getitem__(self, index: Any) -> Any:
        for part in self.parts:
            if index < len(part):
                return part[index]
            index -= len(part)
        raise IndexError("there are no more images")
