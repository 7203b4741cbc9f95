"""MNIST and Fashion-MNIST from their published idx files, packed or not.

Sources: LeCun et al., Gradient-based learning applied to document recognition, Proc. IEEE 1998,
whose page describes the format; Xiao et al., Fashion-MNIST, arXiv 1708.07747, which kept it.
torchvision reads the same files in the tests; it is not used here because it wants them unpacked in
a folder of its own and says nothing plain of a file that was cut off.
"""

from __future__ import annotations

import gzip
import os
import zlib
from pathlib import Path

import numpy as np

from cgcd.vocabulary import InputError
from scenarios.arrays import ImageArrays
from scenarios.cifar import checked_labels
from scenarios.layouts import Layout
from scenarios.omniglot import GreyImages

_UNSIGNED_BYTES = 8  # the format's number of the type


def _files(*names: str) -> tuple[str, ...]:
    """Each name as people have it: with or without .gz, `-idx` or, from Kaggle, `.idx`."""
    spelled = [(name, name.replace("-idx", ".idx")) for name in names]
    return tuple("|".join((a, f"{a}.gz", b, f"{b}.gz")) for a, b in spelled)


_MARKS = _files(
    "train-images-idx3-ubyte",
    "train-labels-idx1-ubyte",
    "t10k-images-idx3-ubyte",
    "t10k-labels-idx1-ubyte",
)


def _layout(title: str, folder: str) -> Layout:
    names = [mark.partition("|")[0] for mark in _MARKS]
    return Layout(
        title=title,
        marks=_MARKS,
        places=(f"{folder}/raw", folder, "raw"),
        tree=tuple(f"[{folder}/raw/]{name}[.gz]" for name in names),
    )


MNIST = _layout("MNIST", "MNIST")
FASHION_MNIST = _layout("Fashion-MNIST", "FashionMNIST")

_DIGITS = tuple(map(str, range(10)))
_GARMENTS = (
    "T-shirt/top",
    "Trouser",
    "Pullover",
    "Dress",
    "Coat",
    "Sandal",
    "Shirt",
    "Sneaker",
    "Bag",
    "Ankle boot",
)


def read_mnist(root: str | os.PathLike[str] | None) -> ImageArrays:
    """60 000 training and 10 000 test images of handwritten digits, 28 x 28, white on black.

    Raises:
        InputError: if a file is missing, cut off or no idx file of bytes.
    """
    return _read(root, MNIST, _DIGITS)


def read_fashion_mnist(root: str | os.PathLike[str] | None) -> ImageArrays:
    """60 000 training and 10 000 test images of garments, 28 x 28, light on black.

    Its files have the names of MNIST's, so `data_root` must not be a folder of those.

    Raises:
        InputError: as `read_mnist`.
    """
    return _read(root, FASHION_MNIST, _GARMENTS)


def _read(
    root: str | os.PathLike[str] | None, layout: Layout, names: tuple[str, ...]
) -> ImageArrays:
    folder = layout.find(root)
    paths = [next(folder / n for n in mark.split("|") if (folder / n).exists()) for mark in _MARKS]
    train, test = (
        _labeled_images(images, labels, len(names), layout)
        for images, labels in (paths[:2], paths[2:])
    )
    return ImageArrays(*train, *test, names)


def _labeled_images(
    images_file: Path, labels_file: Path, num_classes: int, layout: Layout
) -> tuple[GreyImages, np.ndarray]:
    images, labels = _idx(images_file, 3, layout), _idx(labels_file, 1, layout)
    targets = checked_labels(labels, len(images), num_classes, labels_file, layout.mend)
    return GreyImages(images), targets


def _idx(path: Path, num_axes: int, layout: Layout) -> np.ndarray:
    """The array of bytes in an idx file: two zeros, type, number of axes, sizes, values."""
    try:
        raw = gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
    except (OSError, EOFError, zlib.error) as error:
        raise InputError(
            f"{path} cannot be read ({type(error).__name__}: {error}); wanted a whole file of"
            f" {layout.title}: fetch it again"
        ) from error
    start = 4 * (1 + num_axes)
    sizes = np.frombuffer(raw[4:start], dtype=">u4") if len(raw) >= start else np.zeros(num_axes)
    wanted = start + int(np.prod(sizes, dtype=np.int64))
    if raw[:4] != bytes((0, 0, _UNSIGNED_BYTES, num_axes)) or len(raw) != wanted or 0 in sizes:
        raise InputError(
            f"{path} holds {len(raw)} bytes and not what an idx file of {num_axes} axes of bytes"
            f" promises ({wanted}); it was cut off or is another file: fetch it again"
        )
    return np.frombuffer(raw, dtype=np.uint8, offset=start).reshape(sizes.astype(np.int64))
