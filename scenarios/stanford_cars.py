"""Stanford Cars: photos numbered one after another, labels in MATLAB files.

Source: Krause et al., 3D Object Representations for Fine-Grained Categorization, 3dRR 2013, and the
README of its devkit. MATLAB files are tables and no pickles: reading one runs nothing. torchvision
reads the same files in the tests; it is not used here because it wants a folder `stanford_cars`
around them, which the archives do not make, and gives no paths.
"""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
from scipy.io import loadmat

from cgcd.vocabulary import InputError
from scenarios.arrays import ImageArrays
from scenarios.layouts import Layout, check_there, inside, labeled_files

_META = ("devkit/cars_meta.mat", "car_devkit/devkit/cars_meta.mat")
_TRAIN = ("devkit/cars_train_annos.mat", "car_devkit/devkit/cars_train_annos.mat")
_TEST = (
    "cars_test_annos_withlabels.mat",
    "devkit/cars_test_annos_withlabels.mat",
    "cars_test_annos_withlabels (1).mat",
    "car_devkit/devkit/cars_test_annos_withlabels.mat",
)
CARS = Layout(
    title="Stanford Cars",
    marks=("|".join(_META), "|".join(_TRAIN), "|".join(_TEST), "cars_train", "cars_test"),
    places=("stanford_cars",),
    archives=("car_devkit.tgz", "cars_train.tgz", "cars_test.tgz"),
    tree=(
        "[stanford_cars/]devkit/cars_meta.mat            names of the classes",
        "[stanford_cars/]devkit/cars_train_annos.mat     files and classes, from 1",
        "[stanford_cars/]cars_test_annos_withlabels.mat  the same; also in devkit/",
        "[stanford_cars/]cars_train/<number>.jpg         also cars_train/cars_train/",
        "[stanford_cars/]cars_test/<number>.jpg          also cars_test/cars_test/",
    ),
)


def read_cars(root: str | os.PathLike[str] | None) -> ImageArrays:
    """8144 training and 8041 test images of 196 cars, in the order of the annotations.

    Raises:
        InputError: if a file is missing or damaged, or an image that is listed is not there.
    """
    folder = CARS.find(root)
    meta = _first(folder, _META)
    names = [str(name) for name in np.atleast_1d(_member(meta, "class_names"))]
    parts = []
    for listed, images in ((_TRAIN, "cars_train"), (_TEST, "cars_test")):
        path = _first(folder, listed)
        inner = folder / images / images  # one more folder in a well-known copy of the archives
        place = inner if inner.is_dir() else folder / images
        files, targets = _annotated(path, len(names))
        paths = [inside(place, file, path, CARS) for file in files]
        check_there(paths, path, CARS)
        parts.append((paths, targets))
    return labeled_files(parts, names)


def _first(folder: Path, names: tuple[str, ...]) -> Path:
    return next(folder / name for name in names if (folder / name).exists())


def _annotated(path: Path, num_classes: int) -> tuple[list[str], list[int]]:
    """File name and class from 0 of every image."""
    table = np.atleast_1d(_member(path, "annotations"))
    fields = table.dtype.names or ()
    if "fname" not in fields or "class" not in fields:
        raise InputError(
            f"{path} has the fields {list(fields)}; wanted fname and class. The labels of the test"
            f" images are a file of their own, {_TEST[0]}: {CARS.mend}"
        )
    files = [str(name) for name in table["fname"]]
    try:
        targets = [int(number) - 1 for number in table["class"]]
    except (TypeError, ValueError) as error:
        raise InputError(f"{path} has a class that is no number: fetch it again") from error
    if not files or not 0 <= min(targets) <= max(targets) < num_classes:
        raise InputError(
            f"{path} lists {len(files)} images, of classes that are not all in 1 to {num_classes};"
            " wanted the classes of cars_meta.mat: fetch both again"
        )
    return files, targets


def _member(path: Path, name: str) -> np.ndarray:
    try:
        content = loadmat(path, squeeze_me=True)
    except Exception as error:  # a damaged file can raise nearly anything; all mean the same
        raise InputError(
            f"{path} cannot be read ({type(error).__name__}: {error}); wanted a whole MATLAB file:"
            f" extract {CARS.archives[0]} again"
        ) from error
    if name not in content:
        raise InputError(f"{path} has no {name!r}: extract {CARS.archives[0]} again")
    return content[name]
