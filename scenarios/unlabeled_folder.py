"""Folders of photos as a stream: one of class folders, then one a stage without any label."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from cgcd.models import InputSpec
from cgcd.stages import DiscoveryScenario
from cgcd.vocabulary import InputError
from scenarios.folder import check_class_names
from scenarios.given_stages import (
    GivenStages,
    given_stages_scenario,
    held_out_places,
    rows_of_names,
)
from scenarios.photo_scan import Photo, list_photos, scan_photos
from scenarios.photos import SUFFIXES, PhotoFiles
from scenarios.stream import at_hand, image_views
from scenarios.truth_file import read_truth
from scenarios.views import STANDARD, Augmentation

_OVERSIZE = 2  # how many times larger than the model wants a photo is decoded at least
_FEWEST = 2  # of a class: one to train on, one to hold out


def folder_scenario(
    *,
    inputs: InputSpec,
    labeled: str | Path,
    stages: str | Path | Sequence[str | Path],
    truth: str | Path | None = None,
    held_out: float = 0.1,
    max_skipped: float = 0.05,
    duplicates: str = "skip",
    name: str = "folder",
    seed: int = 0,
    num_novel: str | int = "estimate",
    augmentations: Sequence[Augmentation] = STANDARD,
) -> DiscoveryScenario:
    """Photos with labels as `labeled/<class>/**` and, stage by stage, without as `stages[t]/**`.

    `description["skipped"]` lists what is left out and why: files that are no readable images, and
    copies of others. Photos are told apart by their path from the folder that holds the given one.
    Which labeled photos are held out depends on the seed alone.

    Args:
        inputs: what the backbone wants, `model.inputs`.
        labeled: folder of class folders; photos below a class folder are of that class, however
            deep; those in none are left out.
        stages: folder of each later stage, in order; its own folders mean nothing.
        truth: CSV `path,class` that says of some or all photos of the stages what they show; used
            for measuring, never shown to a strategy.
        held_out: share of each class that is not trained on and measures the known classes.
        max_skipped: share in [0, 1] of the files that may be unreadable.
        duplicates: files with the same bytes inside a folder, and labeled ones among the unlabeled:
            "skip" keeps the first, "keep" keeps all.
        name: of the stream, for folders and tables.
        seed: of the draw of held-out photos.
        num_novel: see `given_stages_scenario`; "given" needs a truth of every photo.
        augmentations: of the training views.

    Raises:
        InputError: if a folder is missing, lies in another one or holds no photo, a class has fewer
            than two, too many files are unreadable, or the truth does not fit.
    """
    if duplicates not in ("skip", "keep"):
        raise InputError(
            f"duplicates is {duplicates!r}; wanted 'skip' or 'keep': set scenario.duplicates=skip"
        )
    given_stages = [stages] if isinstance(stages, str | Path) else list(stages)
    folders: list[str | Path] = [labeled, *given_stages]
    _check_apart(folders)
    shorter_side = _OVERSIZE * (inputs.resize if inputs.vector is None else 1)
    listed = list_photos(folders, _fronts(folders))
    classless = [[p.name, "in no class folder"] for p in listed if not p.part and not p.class_name]
    photos, skipped = scan_photos(
        [photo for photo in listed if photo.part or photo.class_name],
        folders,
        max_skipped=max_skipped,
        skip_duplicates=duplicates == "skip",
        shorter_side=shorter_side,
    )
    class_names = _classes(labeled, photos)
    _check_stages(folders, listed, photos)
    files = PhotoFiles([photo.path for photo in photos], shorter_side)
    (samples,) = at_hand(inputs, files)
    given = _given(photos, samples, class_names, listed, truth, held_out, seed)
    views = image_views(given.samples, inputs, augmentations)
    return given_stages_scenario(
        given,
        *views,
        name=name,
        num_novel=num_novel,
        description={"skipped": [*classless, *skipped]},
    )


def _given(
    photos: Sequence[Photo],
    samples: Sequence[Image.Image],
    class_names: Sequence[str],
    listed: Sequence[Photo],
    truth: str | Path | None,
    held_out: float,
    seed: int,
) -> GivenStages:
    """Who is where, in the order of the photos."""
    parts = np.array([photo.part for photo in photos])
    labeled = np.flatnonzero(parts == 0)
    row_of = {name: row for row, name in enumerate(class_names)}
    labels = np.array(
        [row_of[photo.class_name] for photo in photos if not photo.part], dtype=np.int64
    )
    held = held_out_places(labels, held_out, seed)
    trained = np.setdiff1d(np.arange(len(labeled)), held)
    stages = tuple(np.flatnonzero(parts == part) for part in range(1, parts.max() + 1))
    rows, names = None, tuple(class_names)
    if truth is not None:
        told = _told(photos, read_truth(truth, [photo.name for photo in listed]), truth)
        rows, names = rows_of_names(told, class_names, stages)
    return GivenStages(
        samples=samples,
        sample_names=tuple(photo.name for photo in photos),
        labeled=labeled[trained],
        labels=labels[trained],
        held_out=labeled[held],
        held_out_labels=labels[held],
        stages=stages,
        truth=rows,
        class_names=names,
    )


def _told(photos: Sequence[Photo], truth: dict[str, str], path: str | Path) -> list[str | None]:
    """Class name of each photo, that of its folder where it is labeled, None where unknown."""
    told: list[str | None] = []
    for photo in photos:
        own = None if photo.part else photo.class_name
        other = truth.get(photo.name)
        if own is not None and other not in (None, own):
            raise InputError(
                f"{path} says {photo.name} shows {other!r} and its folder says {own!r}; wanted the "
                "same: mend one of them"
            )
        told.append(own if own is not None else other)
    return told


def _classes(labeled: str | Path, photos: Sequence[Photo]) -> tuple[str, ...]:
    """Sorted names of the class folders.

    Raises:
        InputError: if there is none, or one with fewer than two photos.
    """
    wanted = f"wanted <class>/<image> in it with at least {_FEWEST} photos of each class"
    folders = sorted(
        entry.name
        for entry in Path(labeled).iterdir()
        if entry.is_dir() and not entry.name.startswith(".")
    )
    if not folders:
        raise InputError(
            f"{labeled} holds no class folder; {wanted}: set scenario.labeled=<folder>"
        )
    check_class_names(folders, labeled)
    counts = dict.fromkeys(folders, 0)
    for photo in photos:
        if not photo.part:
            counts[photo.class_name] += 1
    scarce = [name for name in folders if counts[name] < _FEWEST]
    if scarce:
        raise InputError(
            f"class {scarce[0]!r} in {labeled} has {counts[scarce[0]]} readable photos; {wanted}: "
            "add some or remove its folder"
        )
    return tuple(folders)


def _check_stages(
    folders: Sequence[str | Path], listed: Sequence[Photo], photos: Sequence[Photo]
) -> None:
    if len(folders) < 2:
        raise InputError(
            "there is no unlabeled stage; wanted at least one folder: set scenario.stages=[FOLDER]"
        )
    there, kept = {photo.part for photo in listed}, {photo.part for photo in photos}
    for part, folder in enumerate(folders):
        if part not in kept:
            what = "no photo that is left" if part in there else "no photo"
            raise InputError(
                f"{folder} holds {what}; wanted some of {' '.join(sorted(SUFFIXES))} in it or "
                "below: add some, or take it out of scenario.stages"
            )


def _check_apart(folders: Sequence[str | Path]) -> None:
    """Refuse a folder inside another: its photos would be labeled and not, or in two stages."""
    places = [Path(folder).resolve() for folder in folders]
    for i, place in enumerate(places):
        for j, other in enumerate(places):
            if i != j and place.is_relative_to(other):
                raise InputError(
                    f"{folders[i]} lies in {folders[j]}, or is the same; wanted folders apart from "
                    "each other in scenario.labeled and scenario.stages: move one of them"
                )


def _fronts(folders: Sequence[str | Path]) -> list[str]:
    """What the names of each folder's photos begin with: its own name where that tells it apart."""
    places = [Path(os.path.abspath(folder)) for folder in folders]
    own = [place.name for place in places]
    if len(set(own)) == len(own):
        return own
    shared = os.path.commonpath([place.parent for place in places])
    return [place.relative_to(shared).as_posix() for place in places]
