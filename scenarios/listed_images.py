"""Data sets whose text files list the images: CUB-200-2011, FGVC-Aircraft, Food-101, Oxford Pets.

The lists are read here and not through torchvision, whose readers want a folder name of their own
around Pets, give no paths to open later and notice a missing image only when it is opened;
torchvision reads the same files in the tests.

Sources of the layouts:
    Wah et al., The Caltech-UCSD Birds-200-2011 Dataset, CNS-TR-2011-001, and its README (there is
    no reader of torchvision to compare with);
    Maji et al., arXiv 1306.5151, and its README;
    Bossard et al., Food-101, ECCV 2014, and its README;
    Parkhi et al., Cats and Dogs, CVPR 2012, and its annotations/README.
"""

from __future__ import annotations

import json
import os
from pathlib import Path

from cgcd.vocabulary import InputError
from scenarios.arrays import ImageArrays
from scenarios.layouts import (
    Layout,
    check_there,
    inside,
    labeled_files,
    read_lines,
    split_line,
    whole_number,
)

Root = str | os.PathLike[str] | None

CUB = Layout(
    title="CUB-200-2011",
    marks=(
        "images.txt",
        "image_class_labels.txt",
        "train_test_split.txt",
        "classes.txt",
        "images",
    ),
    places=("CUB_200_2011",),
    archives=("CUB_200_2011.tgz",),
    tree=(
        "CUB_200_2011/images.txt               <image> <class folder>/<file>.jpg",
        "CUB_200_2011/image_class_labels.txt   <image> <class>, from 1",
        "CUB_200_2011/train_test_split.txt     <image> <1 training, 0 test>",
        "CUB_200_2011/classes.txt              <class> <class folder>",
        "CUB_200_2011/images/<class folder>/<file>.jpg",
    ),
)
AIRCRAFT = Layout(
    title="FGVC-Aircraft",
    marks=("variants.txt", "images_variant_trainval.txt", "images_variant_test.txt", "images"),
    places=("fgvc-aircraft-2013b/data", "data"),
    archives=("fgvc-aircraft-2013b.tar.gz",),
    tree=(
        "fgvc-aircraft-2013b/data/variants.txt                  one class a line",
        "fgvc-aircraft-2013b/data/images_variant_trainval.txt   <image> <class>",
        "fgvc-aircraft-2013b/data/images_variant_test.txt       <image> <class>",
        "fgvc-aircraft-2013b/data/images/<image>.jpg",
    ),
)
FOOD101 = Layout(
    title="Food-101",
    marks=("meta/train.json", "meta/test.json", "images"),
    places=("food-101",),
    archives=("food-101.tar.gz",),
    tree=(
        'food-101/meta/train.json   {"<class>": ["<class>/<image>", ...], ...}',
        "food-101/meta/test.json    the same",
        "food-101/images/<class>/<image>.jpg",
    ),
)
PETS = Layout(
    title="Oxford-IIIT Pets",
    marks=("annotations/trainval.txt", "annotations/test.txt", "images"),
    places=("oxford-iiit-pet",),
    archives=("images.tar.gz", "annotations.tar.gz"),
    tree=(
        "[oxford-iiit-pet/]annotations/trainval.txt   <image> <class, from 1> <species> <breed>",
        "[oxford-iiit-pet/]annotations/test.txt       the same",
        "[oxford-iiit-pet/]images/<image>.jpg",
    ),
)


def read_cub(root: Root) -> ImageArrays:
    """CUB-200-2011: 5994 training and 5794 test images of 200 birds, in the order of `images.txt`.

    Raises:
        InputError: if a file is missing or cut off, or an image that is listed is not there.
    """
    folder = CUB.find(root)
    images, labels, split, classes = (_numbered(folder / name) for name in CUB.marks[:4])
    for path, part in ((CUB.marks[1], labels), (CUB.marks[2], split)):
        if part.keys() != images.keys():
            raise InputError(
                f"{folder / path} lists {len(part)} images and images.txt {len(images)}, or others;"
                f" one was cut off: extract {CUB.archives[0]} again"
            )
    numbers = {whole: place for place, whole in enumerate(classes)}
    parts: dict[str, tuple[list[str], list[int]]] = {"1": ([], []), "0": ([], [])}
    for image, file in images.items():
        label = whole_number(labels[image], folder / CUB.marks[1], CUB)
        if split[image] not in parts or label not in numbers:
            raise InputError(
                f"{folder} has image {image} of part {split[image]!r} and class {label}; wanted"
                f" part 0 or 1 and a class of classes.txt: extract {CUB.archives[0]} again"
            )
        paths, targets = parts[split[image]]
        paths.append(inside(folder / "images", file, folder / CUB.marks[0], CUB))
        targets.append(numbers[label])
    for paths, _ in parts.values():
        check_there(paths, folder / CUB.marks[0], CUB)
    return labeled_files((parts["1"], parts["0"]), tuple(classes.values()))


def read_aircraft(root: Root) -> ImageArrays:
    """FGVC-Aircraft: 6667 training (train and val) and 3333 test images of 100 variants.

    Classes are numbered by their sorted names, as the released code of GCD does it.

    Raises:
        InputError: as `read_cub`.
    """
    folder = AIRCRAFT.find(root)
    names = sorted(read_lines(folder / AIRCRAFT.marks[0], AIRCRAFT))
    number = {name: place for place, name in enumerate(names)}
    parts = []
    for name in AIRCRAFT.marks[1:3]:
        listed, paths, targets = folder / name, [], []
        for line in read_lines(listed, AIRCRAFT):
            image, variant = split_line(line, 2, listed, AIRCRAFT)
            if variant not in number:
                raise InputError(
                    f"{listed} has an image of {variant!r}, which variants.txt does not list:"
                    f" extract {AIRCRAFT.archives[0]} again"
                )
            paths.append(inside(folder / "images", f"{image}.jpg", listed, AIRCRAFT))
            targets.append(number[variant])
        check_there(paths, listed, AIRCRAFT)
        parts.append((paths, targets))
    return labeled_files(parts, names)


def read_food101(root: Root) -> ImageArrays:
    """Food-101: 75 750 training and 25 250 test images of 101 dishes, in the order of the lists.

    Classes are numbered by their sorted names.

    Raises:
        InputError: as `read_cub`.
    """
    folder = FOOD101.find(root)
    listed = [folder / name for name in FOOD101.marks[:2]]
    tables = [_table_of_images(path) for path in listed]
    names = sorted(tables[0])
    if sorted(tables[1]) != names:
        raise InputError(
            f"{listed[1]} has other classes than train.json: extract {FOOD101.archives[0]} again"
        )
    number = {name: place for place, name in enumerate(names)}
    parts = []
    for path, table in zip(listed, tables, strict=True):
        paths = [
            inside(folder / "images", f"{image}.jpg", path, FOOD101)
            for images in table.values()
            for image in images
        ]
        check_there(paths, path, FOOD101)
        parts.append((paths, [number[name] for name, images in table.items() for _ in images]))
    return labeled_files(parts, names)


def read_pets(root: Root) -> ImageArrays:
    """Oxford-IIIT Pets: 3680 training (trainval) and 3669 test images of 37 breeds.

    Raises:
        InputError: as `read_cub`.
    """
    folder = PETS.find(root)
    names: dict[int, str] = {}
    parts = []
    for name in PETS.marks[:2]:
        listed, paths, targets = folder / name, [], []
        for line in read_lines(listed, PETS):
            if line.startswith("#"):
                continue
            image, label, *_ = split_line(line, 4, listed, PETS)
            target = whole_number(label, listed, PETS) - 1
            paths.append(inside(folder / "images", f"{image}.jpg", listed, PETS))
            targets.append(target)
            names.setdefault(target, image.rpartition("_")[0])
        check_there(paths, listed, PETS)
        parts.append((paths, targets))
    if sorted(names) != list(range(len(names))):
        raise InputError(
            f"{folder / 'annotations'} lists the classes {sorted(k + 1 for k in names)[:8]}...;"
            f" wanted 1, 2, 3, ... without a gap: extract {PETS.archives[1]} again"
        )
    return labeled_files(parts, tuple(names[place] for place in range(len(names))))


def _numbered(path: Path) -> dict[int, str]:
    """Lines `<number> <text>` of CUB as a table, in their order."""
    table: dict[int, str] = {}
    for line in read_lines(path, CUB):
        number, text = split_line(line, 2, path, CUB)
        table[whole_number(number, path, CUB)] = text
    return table


def _table_of_images(path: Path) -> dict[str, list[str]]:
    """Images of each class of Food-101."""
    try:
        table = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise InputError(
            f"{path} cannot be read ({type(error).__name__}), so it was cut off or is another"
            f" file: extract {FOOD101.archives[0]} again"
        ) from error
    is_table = isinstance(table, dict) and all(
        isinstance(images, list) and images and all(isinstance(image, str) for image in images)
        for images in table.values()
    )
    if not is_table or not table:
        raise InputError(
            f"{path} is no table of classes with their images: extract {FOOD101.archives[0]} again"
        )
    return table
