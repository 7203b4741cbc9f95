"""ImageNet-1k and Tiny-ImageNet.

Sources of the layouts:
    Russakovsky et al., ImageNet Large Scale Visual Recognition Challenge, IJCV 2015: class folders
    in `train` and `val`, as torchvision's reader prepares and reads them, or the archive of the
    challenge on Kaggle, whose validation images lie flat and are named by `LOC_val_solution.csv`;
    Le and Yang, Tiny ImageNet Visual Recognition Challenge, Stanford CS 231N 2015: the folders of
    tiny-imagenet-200.zip, which torchvision has no reader for; the test images have no labels, so
    that the validation images are the test part, as in the released code of Happy.
"""

from __future__ import annotations

import csv
import os
from pathlib import Path

from cgcd.vocabulary import InputError
from scenarios.arrays import ImageArrays
from scenarios.class_folders import listed_folders, renumbered
from scenarios.layouts import (
    Layout,
    check_there,
    inside,
    labeled_files,
    read_lines,
    split_line,
)

_SOLUTION = "LOC_val_solution.csv"
IMAGENET = Layout(
    title="ImageNet-1k",
    marks=("train", "val"),
    places=("ILSVRC/Data/CLS-LOC", "imagenet"),
    archives=("ILSVRC2012_img_train.tar", "ILSVRC2012_img_val.tar"),
    tree=(
        "[ILSVRC/Data/CLS-LOC/]train/<synset>/<image>.JPEG",
        "[ILSVRC/Data/CLS-LOC/]val/<synset>/<image>.JPEG",
        f"    or, with {_SOLUTION} in data_root or beside val: val/<image>.JPEG",
    ),
)
TINY_IMAGENET = Layout(
    title="Tiny-ImageNet",
    marks=("wnids.txt", "train", "val/val_annotations.txt", "val/images"),
    places=("tiny-imagenet-200",),
    archives=("tiny-imagenet-200.zip",),
    tree=(
        "tiny-imagenet-200/wnids.txt                  one synset a line",
        "tiny-imagenet-200/train/<synset>/images/<image>.JPEG",
        "tiny-imagenet-200/val/val_annotations.txt    <image> <synset> <box>",
        "tiny-imagenet-200/val/images/<image>.JPEG",
    ),
)


def read_imagenet(root: str | os.PathLike[str] | None) -> ImageArrays:
    """1 281 167 training images and 50 000 validation images, the test part, of 1000 classes.

    Class ids are places of the sorted synsets; protocols of ImageNet-100 choose theirs among them.

    Raises:
        InputError: if a part is missing, its images are not sorted into classes, or the parts
            differ in their classes.
    """
    folder = IMAGENET.find(root)
    paths, targets, classes = listed_folders(folder / "train", IMAGENET)
    val = folder / "val"
    if any([entry.is_dir() for entry in os.scandir(val)]):
        listed = listed_folders(val, IMAGENET)
        test = listed[0], renumbered(listed, classes, val, IMAGENET)
    else:
        test = _flat_validation(val, Path(root or ""), classes)
    return labeled_files(((paths, targets), test), classes)


def read_tiny_imagenet(root: str | os.PathLike[str] | None) -> ImageArrays:
    """100 000 training images and 10 000 validation images, the test part, of 200 classes.

    Class ids are places of the sorted synsets.

    Raises:
        InputError: if a file is missing or cut off, or an image that is listed is not there.
    """
    folder = TINY_IMAGENET.find(root)
    synsets = sorted(read_lines(folder / "wnids.txt", TINY_IMAGENET))
    paths, targets, classes = listed_folders(folder / "train", TINY_IMAGENET)
    if classes != synsets:
        odd = sorted(set(synsets) ^ set(classes))
        raise InputError(
            f"{folder / 'train'} has {len(classes)} classes and wnids.txt {len(synsets)}, the first"
            f" that is in one of them only is {odd[0]!r}: extract {TINY_IMAGENET.archives[0]} again"
        )
    listed = folder / "val" / "val_annotations.txt"
    number = {synset: place for place, synset in enumerate(synsets)}
    test_paths, test_targets = [], []
    for line in read_lines(listed, TINY_IMAGENET):
        image, synset, *_ = split_line(line, 6, listed, TINY_IMAGENET)
        if synset not in number:
            raise InputError(
                f"{listed} has an image of {synset!r}, which wnids.txt does not list: extract"
                f" {TINY_IMAGENET.archives[0]} again"
            )
        test_paths.append(inside(folder / "val" / "images", image, listed, TINY_IMAGENET))
        test_targets.append(number[synset])
    check_there(test_paths, listed, TINY_IMAGENET)
    return labeled_files(((paths, targets), (test_paths, test_targets)), synsets)


def _flat_validation(val: Path, root: Path, classes: list[str]) -> tuple[list[str], list[int]]:
    """Validation images without class folders, by the table of Kaggle's challenge."""
    found = [place for place in (root, val.parent, val) if (place / _SOLUTION).is_file()]
    if not found:
        raise InputError(
            f"{val} holds images and no class folders, and there is no {_SOLUTION} to name their"
            f" classes: sort them into val/<synset>/ or put {_SOLUTION} into {root}"
        )
    path = found[0] / _SOLUTION
    number = {synset: place for place, synset in enumerate(classes)}
    paths, targets = [], []
    with path.open(newline="", encoding="utf-8") as file:
        for row in csv.DictReader(file):
            image = row.get("ImageId") or ""
            synset = (row.get("PredictionString") or "").partition(" ")[0]
            if synset not in number:
                raise InputError(
                    f"{path} names image {image!r} of {synset!r}; wanted columns ImageId and"
                    " PredictionString with a synset that train has: fetch it again"
                )
            paths.append(inside(val, f"{image}.JPEG", path, IMAGENET))
            targets.append(number[synset])
    if not paths:
        raise InputError(f"{path} lists no image: fetch it again")
    check_there(paths, path, IMAGENET)
    return paths, targets
