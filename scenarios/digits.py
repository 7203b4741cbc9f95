"""Scikit-learn's handwritten digits: a real data set that needs no download.

Source: E. Alpaydin and C. Kaynak, Optical Recognition of Handwritten Digits, UCI, 1998, of which
`sklearn.datasets.load_digits` carries 1797 images.
"""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

import numpy as np
from sklearn.datasets import load_digits

from cgcd.vocabulary import UNLABELED, InputError
from scenarios.arrays import ImageArrays, read_npz
from scenarios.composition import Composition, StagePlan
from scenarios.draws import draw_without_replacement
from scenarios.known_novel import Cut
from scenarios.online import OnlineComposition
from scenarios.single_stage import SingleStageComposition

_SPLIT_STREAM = 2**64 - 1  # a stream of the generator that no stage uses
_IMAGES_FILE = "digits_stages.npz"
_INSIDE = "images"  # a file that has them needs no other beside it
_CLASSES = ("known_classes", "novel_order")
_CUT = (*_CLASSES, "gcd_labelled", "gcd_unlabelled")
_MEND = "give the path of a file of digit stages"
_REWRITE = "write the file again"
_NAMES = tuple(str(digit) for digit in range(10))


def read_digits() -> ImageArrays:
    """The 1797 digits, 8 x 8, grey copied to RGB; 1258 to train and 539 to test.

    Of each class's n images int(0.7 n + 0.5) are for training, drawn with a key of their own: the
    split belongs to the data set and is the same whatever the seed of a run.
    """
    digits = load_digits()
    targets = digits.target.astype(np.int64)
    counts = np.bincount(targets)
    by_class = np.argsort(targets, kind="stable")
    places = draw_without_replacement(counts, (7 * counts + 5) // 10, seed=0, stream=_SPLIT_STREAM)
    train = np.sort(by_class[places])
    test = np.setdiff1d(np.arange(len(targets)), train)
    images = _rgb(digits.images)
    return ImageArrays(images[train], targets[train], images[test], targets[test], _NAMES)


def composition_from_file(path: str | os.PathLike[str]) -> tuple[ImageArrays, Composition]:
    """A stream of digits stored image by image, such as the baseline runs were made with.

    Args:
        path: an `.npz` with `known_classes`, `novel_order`, `stage0_labelled`, `stage0_test` and,
            for k = 1, 2, ..., `stage{k}_old_unlabelled`, `stage{k}_novel_unlabelled` and
            `stage{k}_test`, the test images of all classes so far: indices into `images`
            (N, 8, 8), 0 to 16, and `labels` (N,). A file without images is read with those of
            `digits_stages.npz` beside it. The training images are `train_index`.

    Returns:
        The images, and the stages: rows in the order `known_classes`, `novel_order`.

    Raises:
        InputError: if a file or member is missing or damaged, or the members contradict each other.
    """
    path = Path(path)
    members = (*_CLASSES, "stage0_labelled", "stage0_test")
    plan = read_npz(path, members, _MEND, (_INSIDE, "stage*_*"))
    arrays, train, test = _stored_images(path, _INSIDE in plan)
    class_order, num_base = _stored_classes(plan, path)
    stream = Composition((), class_order, num_base)
    seen = np.empty(0, dtype=np.int64)  # test images of the stages so far
    while f"stage{len(stream.stages)}_test" in plan:
        stage, seen = _stored_stage(plan, stream, arrays, train, test, seen, path)
        stream = replace(stream, stages=(*stream.stages, stage))
    return arrays, stream


def online_composition_from_file(
    path: str | os.PathLike[str],
) -> tuple[ImageArrays, OnlineComposition]:
    """A stream of single digits stored image by image, as the baseline runs read it.

    Args:
        path: an `.npz` with `known_classes`, `novel_order`, `gcd_labelled` (images of known classes
            with labels) and `gcd_unlabelled` (the stream in the order of arrival), indices into
            images that are stored as `composition_from_file` says.

    Returns:
        The images, and who is where: rows in the order `known_classes`, `novel_order`.

    Raises:
        InputError: if a file or member is missing or damaged, or the members contradict each other.
    """
    path = Path(path)
    plan = read_npz(path, _CUT, _MEND, (_INSIDE,))
    arrays, found, _ = _stored_cut(plan, path)
    return arrays, OnlineComposition(
        found.labeled,
        found.labels,
        found.unlabeled,
        found.truth,
        found.class_order,
        _num_known(plan),
    )


def single_stage_composition_from_file(
    path: str | os.PathLike[str],
) -> tuple[ImageArrays, SingleStageComposition]:
    """One stage of digits stored image by image, as the baseline runs read it.

    Args:
        path: an `.npz` as `online_composition_from_file` reads it, with `gcd_test`, the test
            images; the order of the unlabeled ones has no meaning here.

    Returns:
        The images, and who is where: rows in the order `known_classes`, `novel_order`.

    Raises:
        InputError: if a file or member is missing or damaged, or the members contradict each other.
    """
    path = Path(path)
    plan = read_npz(path, (*_CUT, "gcd_test"), _MEND, (_INSIDE,))
    arrays, found, among = _stored_cut(plan, path)
    num_known = _num_known(plan)
    order = np.argsort(found.unlabeled)
    test = np.sort(_places(plan, ["gcd_test"], among, path))
    rows = Composition((), found.class_order, num_known).rows(arrays.test_targets[test])
    if (rows == UNLABELED).any():
        raise InputError(
            f"{path}: gcd_test holds a class that is neither in known_classes nor in novel_order;"
            f" {_REWRITE}"
        )
    return arrays, SingleStageComposition(
        labeled=found.labeled,
        labels=found.labels,
        unlabeled=found.unlabeled[order],
        truth=found.truth[order],
        test=test,
        test_rows=rows,
        class_order=found.class_order,
        num_known=num_known,
    )


def _num_known(plan: dict[str, np.ndarray]) -> int:
    return len(plan[_CLASSES[0]])


def _stored_cut(plan: dict[str, np.ndarray], path: Path) -> tuple[ImageArrays, Cut, np.ndarray]:
    """Images, who is labeled, the others in the order of the file, and which are for tests."""
    arrays, train, test = _stored_images(path, _INSIDE in plan)
    class_order, num_known = _stored_classes(plan, path)
    places = _places(plan, list(_CUT[2:]), train, path)  # together: no image is in both
    num_labeled = len(plan["gcd_labelled"])
    labeled, unlabeled = np.sort(places[:num_labeled]), places[num_labeled:]
    rows = Composition((), class_order, num_known).rows(arrays.train_targets)
    labels, truth = rows[labeled], rows[unlabeled]
    if set(labels.tolist()) != set(range(num_known)) or (truth == UNLABELED).any():
        raise InputError(
            f"{path}: gcd_labelled is not of all known_classes and of them alone, or gcd_unlabelled"
            f" holds a class that is neither in known_classes nor in novel_order; {_REWRITE}"
        )
    return arrays, Cut(labeled, labels, unlabeled, truth, class_order), test


def _stored_classes(plan: dict[str, np.ndarray], path: Path) -> tuple[np.ndarray, int]:
    """Original class of every row, and how many of them are labeled."""
    known, novel = (_integers(plan, name, len(_NAMES), path) for name in _CLASSES)
    class_order = np.concatenate((known, novel))
    if len(np.unique(class_order)) < len(class_order):
        raise InputError(f"{path}: known_classes and novel_order share a class; {_REWRITE}")
    return class_order, len(known)


def _stored_images(path: Path, are_inside: bool) -> tuple[ImageArrays, np.ndarray, np.ndarray]:
    """Images of the file or of the one beside it, and which of them are for training and test."""
    source = path if are_inside else path.with_name(_IMAGES_FILE)
    members = ("images", "labels", "train_index", "test_index")
    data = read_npz(source, members, f"put {_IMAGES_FILE} beside {path.name}")
    images, num_images = data["images"], len(np.atleast_1d(data["images"]))
    targets = _integers(data, "labels", len(_NAMES), source)
    if images.shape != (len(targets), 8, 8) or images.dtype.kind not in "iuf":
        raise InputError(
            f"{source}: 'images' is {images.dtype} of shape {images.shape} for {len(targets)}"
            f" labels; wanted numbers (N, 8, 8); {_REWRITE}"
        )
    train, test = (np.sort(_integers(data, name, num_images, source)) for name in members[2:])
    if (np.diff(np.sort(np.concatenate((train, test)))) == 0).any():
        raise InputError(f"{source}: train_index and test_index share an image; {_REWRITE}")
    images = _rgb(images)
    arrays = ImageArrays(images[train], targets[train], images[test], targets[test], _NAMES)
    return arrays, train, test


def _stored_stage(
    plan: dict[str, np.ndarray],
    stream: Composition,
    arrays: ImageArrays,
    train: np.ndarray,
    test: np.ndarray,
    seen: np.ndarray,
    path: Path,
) -> tuple[StagePlan, np.ndarray]:
    """The stage after those of `stream`, and the test images of all stages up to it."""
    index = len(stream.stages)
    start = stream.stages[-1].novel_rows.stop if index else 0
    parts = ("old_unlabelled", "novel_unlabelled") if index else ("labelled",)
    drawn = np.sort(_places(plan, [f"stage{index}_{part}" for part in parts], train, path))
    test_so_far = np.sort(_places(plan, [f"stage{index}_test"], test, path))
    new = np.setdiff1d(test_so_far, seen)
    rows = stream.rows(arrays.train_targets[drawn])
    novel = np.unique(stream.rows(arrays.test_targets[new]))
    stop = start + len(novel)
    contradictions = {
        "test images of an earlier stage are missing": len(new) + len(seen) != len(test_so_far),
        "its new test classes are not the next in order": (
            not len(novel) or novel.tolist() != list(range(start, stop))
        ),
        "its training images are of other classes": ((rows < 0) | (rows >= stop)).any(),
        "it is not of known_classes": not index and stop != stream.num_base,
    }
    if any(contradictions.values()):
        found = ", ".join(text for text, holds in contradictions.items() if holds)
        raise InputError(f"{path}, stage {index}: {found}; {_REWRITE}")
    stage = StagePlan(
        index=index,
        indices=drawn,
        labels=np.full(len(drawn), UNLABELED) if index else rows,
        novel_rows=range(start, stop),
        num_known=start,
        class_counts=np.bincount(rows, minlength=stop),
        test_indices=new,
    )
    return stage, test_so_far


def _integers(members: dict[str, np.ndarray], name: str, limit: int, path: Path) -> np.ndarray:
    if name not in members:
        raise InputError(f"{path} lacks '{name}' (it has {sorted(members)}); {_REWRITE}")
    array = members[name]
    if (
        array.ndim != 1
        or array.dtype.kind not in "iu"
        or not ((array >= 0) & (array < limit)).all()
    ):
        raise InputError(
            f"{path}: '{name}' is {array.dtype} of shape {array.shape}; wanted a row of integers"
            f" from 0 to {limit - 1}; {_REWRITE}"
        )
    return array.astype(np.int64)


def _places(
    plan: dict[str, np.ndarray], names: list[str], among: np.ndarray, path: Path
) -> np.ndarray:
    """Where the named images stand in the ascending list `among`, in the order of the file."""
    limit = np.iinfo(np.int64).max
    images = np.concatenate([_integers(plan, name, limit, path) for name in names])
    if not np.isin(images, among).all() or (np.diff(np.sort(images)) == 0).any():
        raise InputError(
            f"{path}: {' and '.join(names)} name an image twice or mix training and test images;"
            f" wanted training images out of train_index, test images out of test_index; {_REWRITE}"
        )
    return np.searchsorted(among, images)


def _rgb(grey: np.ndarray) -> np.ndarray:
    """Values 0 to 16, (N, 8, 8), as uint8 images min(16 * value, 255), (N, 8, 8, 3)."""
    levels = np.minimum(16 * grey.astype(np.int64), 255).astype(np.uint8)
    return np.repeat(levels[..., None], 3, axis=-1)
