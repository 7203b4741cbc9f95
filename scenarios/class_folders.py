"""Data sets that come as class folders: Herbarium 2019 (small) and iNaturalist 2017.

Sources of the layouts:
    Tan et al., The Herbarium Challenge 2019 Dataset, arXiv 1906.05372; its small version lies as
    the released code of GCD (Vaze et al., CVPR 2022) reads it, through torchvision's ImageFolder;
    Van Horn et al., The iNaturalist Species Classification and Detection Dataset, CVPR 2018, as its
    archive train_val_images.tar.gz is laid out; torchvision reads the same files in the tests.
"""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
from torchvision.datasets import ImageFolder

from cgcd.vocabulary import InputError
from scenarios.arrays import ImageArrays
from scenarios.layouts import Layout, labeled_files

Listed = tuple[list[str], list[int], list[str]]

HERBARIUM19 = Layout(
    title="Herbarium 2019 (small)",
    marks=("small-train", "small-validation"),
    places=("herbarium_19", "herbarium-2019-fgvc6"),
    archives=("small-train.tar", "small-validation.tar"),
    tree=(
        "[herbarium_19/]small-train/<category>/<image>.jpg",
        "[herbarium_19/]small-validation/<category>/<image>.jpg",
    ),
)


def inaturalist_layout(super_category: str) -> Layout:
    """The layout of iNaturalist 2017, of which one super-category is wanted."""
    return Layout(
        title=f"iNaturalist 2017, {super_category}",
        marks=(super_category,),
        places=("train_val_images", "2017"),
        archives=("train_val_images.tar.gz", "2017.tgz"),
        tree=(f"train_val_images/{super_category}/<species>/<image>.jpg   (torchvision: 2017/)",),
    )


def read_herbarium19(root: str | os.PathLike[str] | None) -> ImageArrays:
    """34 225 training and 2679 validation images of 683 plants, long-tailed.

    Class ids are places of the category folders in the order of their names as texts (0, 1, 10,
    100, ...): so torchvision's ImageFolder counts them, and the published list of known classes
    with it. The validation images are the test part.

    Raises:
        InputError: if a part is missing or empty, or the validation part has a class that the
            training part has not.
    """
    folder = HERBARIUM19.find(root)
    paths, targets, classes = listed_folders(folder / HERBARIUM19.marks[0], HERBARIUM19)
    test = listed_folders(folder / HERBARIUM19.marks[1], HERBARIUM19)
    place = folder / HERBARIUM19.marks[1]
    test_targets = renumbered(test, classes, place, HERBARIUM19, all_there=False)
    return labeled_files(((paths, targets), (test[0], test_targets)), classes)


def read_inaturalist(root: str | os.PathLike[str] | None, super_category: str) -> ImageArrays:
    """All images of one super-category's species, in the order of their names; no test part.

    The published training and validation images lie in the same folders, and the protocols that use
    them (PHE) take both together.

    Args:
        root: as `inaturalist_layout` says.
        super_category: such as "Fungi".

    Raises:
        InputError: if the folder is missing or a species has no image.
    """
    layout = inaturalist_layout(super_category)
    paths, targets, classes = listed_folders(layout.find(root) / super_category, layout)
    return labeled_files(((paths, targets), ((), ())), classes)


def listed_folders(folder: Path, layout: Layout) -> Listed:
    """Paths, class ids and sorted class names of `<class>/.../<image>`, by torchvision.

    Raises:
        InputError: if there is no class folder, one without images, or archives in their place.
    """
    entries = list(os.scandir(folder)) if folder.is_dir() else []
    packed = sorted(e.name for e in entries if e.name.lower().endswith((".tar", ".zip", ".gz")))
    if packed:
        raise InputError(
            f"{folder} holds {len(packed)} archives such as {packed[0]} that are not extracted:"
            " extract each into a folder of its name"
        )
    try:
        listed = ImageFolder(str(folder))
    except (FileNotFoundError, NotADirectoryError) as error:
        raise InputError(
            f"{folder}: {str(error).splitlines()[0]}; wanted {layout.title} as <class>/<image>, so"
            f" it was extracted in part: extract it again, or {layout.mend}"
        ) from error
    return [path for path, _ in listed.samples], listed.targets, listed.classes


def renumbered(
    listed: Listed, classes: list[str], folder: Path, layout: Layout, all_there: bool = True
) -> list[int]:
    """Class ids of one part in the order of the training part's classes.

    Args:
        listed: the part.
        classes: of the training part.
        folder: of the part, for the message.
        layout: of the data set.
        all_there: the part has every class that is trained on.

    Raises:
        InputError: if it has a class that the training part has not, or lacks one.
    """
    _, targets, names = listed
    odd = sorted(set(names) ^ set(classes) if all_there else set(names) - set(classes))
    if odd:
        raise InputError(
            f"{folder} and the training part do not have the same classes, {odd[0]!r} is in one of"
            f" them only ({len(odd)} such classes): {layout.title} was extracted in part, extract"
            " it again"
        )
    number = {name: place for place, name in enumerate(classes)}
    return np.array([number[name] for name in names])[targets].tolist()
