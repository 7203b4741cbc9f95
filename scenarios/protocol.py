"""Cuts a labeled data set into the stages of continual category discovery.

Targets, a protocol and a seed in; indices per stage out. Row k is the k-th class in the order in
which the stages bring classes: the base classes first, then the novel classes stage by stage.

Source: Ma et al., Happy, NeurIPS 2024, arXiv 2410.06535, section 4 and the authors' code: which
classes come when follows the released lists exactly. Which images are drawn does not (the released
draw hangs on the iteration order of hash sets); here a draw hangs on seed and stage alone.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from numbers import Integral, Real
from typing import NoReturn

import numpy as np

from cgcd.vocabulary import UNLABELED, InputError
from scenarios.composition import Composition, StagePlan, row_table
from scenarios.draws import draw_without_replacement

_MAX_CLASS_ID = 10**7  # tables are as long as the largest class id


@dataclass(frozen=True, kw_only=True)
class Protocol:
    """Which classes and how many images each stage holds.

    Attributes:
        num_base: classes of stage 0, >= 1, labeled.
        num_stages: continual stages after stage 0, >= 1, without labels.
        novel_per_stage: novel classes of each continual stage, >= 1: one number for all, or one
            for each; the classes beyond them stay unused. None: equal shares of all that are left,
            the last stage takes the remainder.
        labeled_fraction: share in (0, 1] of each base class's n images that stage 0 labels,
            int(share * n); the rest is what later stages draw this class from, so that a labeled
            image never comes back.
        samples_per_novel: images of each novel class at its first stage, >= 1; None, or more than
            there are: all.
        samples_per_known: images of each base and earlier class at each continual stage, >= 0, or
            as many as there are. An earlier class is drawn from all its images again.
        base_classes: "natural" (the first `num_base` ids), "shuffled" (`num_base` ids drawn by
            `order_seed`), or the ids in the order of their rows.
        novel_order: "natural" (ascending), "shuffled" (by `order_seed`, as the authors' code
            does), or the ids in the order in which they come.
        order_seed: seed of both shuffles, in [0, 2**32).
        subset_size: use only so many of the data set's classes, drawn by `subset_seed` and sorted;
            ids stay those of the data set. None: use all.
        subset_seed: in [0, 2**32).

    Raises:
        InputError: if a value is none of the above; what depends on the data is checked by
            `compose`.
    """

    num_base: int
    num_stages: int
    novel_per_stage: int | Sequence[int] | None = None
    labeled_fraction: float = 0.8
    samples_per_novel: int | None
    samples_per_known: int
    base_classes: str | Sequence[int] = "natural"
    novel_order: str | Sequence[int] = "natural"
    order_seed: int = 0
    subset_size: int | None = None
    subset_seed: int = 0

    def __post_init__(self) -> None:
        self._check_whole("num_base", 1, "at least 1 base class", "50")
        self._check_whole("num_stages", 1, "at least 1 continual stage", "5")
        if isinstance(self.novel_per_stage, Sequence) and not isinstance(self.novel_per_stage, str):
            self._check_list("novel_per_stage", 1, "whole numbers of novel classes", "[10,10]")
            if len(self.novel_per_stage) != self.num_stages:
                _refuse(
                    "novel_per_stage",
                    f"{_short(self.novel_per_stage)}, {len(self.novel_per_stage)} numbers",
                    f"one for each of {self.num_stages} stages",
                    "set scenario.protocol.novel_per_stage=null for equal shares",
                )
        elif self.novel_per_stage is not None:
            self._check_whole("novel_per_stage", 1, "at least 1 novel class a stage", "10")
        fraction = self.labeled_fraction
        if not isinstance(fraction, Real) or isinstance(fraction, bool) or not 0 < fraction <= 1:
            self._refuse("labeled_fraction", "a share above 0 and at most 1", "0.8")
        if self.samples_per_novel is not None:
            self._check_whole("samples_per_novel", 1, "at least 1 image, or null for all", "400")
        self._check_whole("samples_per_known", 0, "0 images or more", "25")
        for field in ("base_classes", "novel_order"):
            value = getattr(self, field)
            if isinstance(value, str) and value in ("natural", "shuffled"):
                continue
            wanted = "natural, shuffled, or a list of different class ids, 0 or more"
            self._check_list(field, 0, wanted, "natural")
            if len(set(getattr(self, field))) != len(value):
                self._refuse(field, wanted, "natural")
        if not isinstance(self.base_classes, str) and len(self.base_classes) != self.num_base:
            self._refuse(
                "num_base",
                f"as many as the {len(self.base_classes)} of base_classes",
                len(self.base_classes),
            )
        for field in ("order_seed", "subset_seed"):
            self._check_whole(field, 0, "a seed from 0 to 2**32 - 1", "0", below=2**32)
        if self.subset_size is not None:
            self._check_whole("subset_size", 1, "at least 1 class, or null for all", "100")

    def _check_whole(
        self, field: str, low: int, wanted: str, example: str, below: int | None = None
    ) -> None:
        value = getattr(self, field)
        if not _is_whole(value) or value < low or (below is not None and value >= below):
            self._refuse(field, wanted, example)
        object.__setattr__(self, field, int(value))

    def _check_list(self, field: str, low: int, wanted: str, example: str) -> None:
        value = getattr(self, field)
        is_list = isinstance(value, Sequence | np.ndarray) and not isinstance(value, str)
        if not is_list or not len(value) or not all(_is_whole(v) and v >= low for v in value):
            self._refuse(field, wanted, example)
        object.__setattr__(self, field, tuple(int(v) for v in value))

    def _refuse(self, field: str, wanted: str, example: object) -> NoReturn:
        given = _short(getattr(self, field))
        _refuse(field, given, wanted, f"set scenario.protocol.{field}={example}")


def compose(
    train_targets: np.ndarray, test_targets: np.ndarray, protocol: Protocol, seed: int
) -> Composition:
    """The stages of a stream over one data set.

    At each continual stage the images of a base class are drawn from its unlabeled rest, those of
    an earlier class from the whole class, without replacement within the stage and independently of
    other stages. The draw of a stage depends on seed and stage alone, whatever other stages exist.

    Args:
        train_targets: original class ids >= 0 of the training images, (N,) integers.
        test_targets: the same for the test images, an index space of its own.
        protocol: classes and numbers of images.
        seed: of the draws of images, in [0, 2**64); the order of classes has its own.

    Raises:
        InputError: if targets are no class ids, the protocol wants more classes than there are,
            or a class it uses has no training, no labeled or no test image.
    """
    train_targets = _checked_targets(train_targets, "train_targets")
    test_targets = _checked_targets(test_targets, "test_targets")
    if not _is_whole(seed) or not 0 <= seed < 2**64:
        raise InputError(f"seed is {_short(seed)}; wanted 0 to 2**64 - 1: set seed=0")

    num_classes = 1 + int(max(train_targets.max(), test_targets.max()))
    class_order, bounds = _class_order(protocol, num_classes)
    members, counts = _grouped(train_targets, class_order)
    tests, test_counts = _grouped(test_targets, class_order)
    _check_not_empty(class_order, counts, "training")
    _check_not_empty(class_order, test_counts, "test")

    # Stage 0, and what is left for later: `supply` holds, class after class in the order of rows,
    # the rest of each base class and all of each other class.
    base_counts = counts[: protocol.num_base]
    num_labeled = (protocol.labeled_fraction * base_counts).astype(np.int64)
    if not num_labeled.all():
        row = int(np.argmin(num_labeled))
        _refuse(
            "labeled_fraction",
            f"{protocol.labeled_fraction}, which labels none of the {base_counts[row]} training"
            f" images of base class {class_order[row]}",
            "at least 1 labeled image of each",
            "raise scenario.protocol.labeled_fraction or leave the class out of"
            " scenario.protocol.base_classes",
        )
    labeled = draw_without_replacement(base_counts, num_labeled, seed, stream=0)
    supply = np.delete(members, labeled)
    supply_counts = np.concatenate((base_counts - num_labeled, counts[protocol.num_base :]))

    most = len(train_targets)
    per_known = min(protocol.samples_per_known, most)
    per_novel = min(protocol.samples_per_novel or most, most)
    test_ends = np.concatenate(([0], np.cumsum(test_counts)))
    stages = []
    for index, (start, stop) in enumerate(pairwise(bounds)):
        if index == 0:
            taken, drawn = num_labeled, members[labeled]
            order = np.argsort(drawn)
            indices, labels = drawn[order], np.repeat(np.arange(stop), taken)[order]
        else:
            limits = np.where(np.arange(stop) < start, per_known, per_novel)
            taken = np.minimum(supply_counts[:stop], limits)
            drawn = draw_without_replacement(supply_counts[:stop], taken, seed, stream=index)
            indices, labels = np.sort(supply[drawn]), np.full(len(drawn), UNLABELED)
        stages.append(
            StagePlan(
                index=index,
                indices=indices,
                labels=labels,
                novel_rows=range(start, stop),
                num_known=start,
                class_counts=taken,
                test_indices=np.sort(tests[test_ends[start] : test_ends[stop]]),
            )
        )
    return Composition(tuple(stages), class_order, protocol.num_base)


def _class_order(protocol: Protocol, num_classes: int) -> tuple[np.ndarray, list[int]]:
    """Original class of every row used, and where the rows of each stage start and end."""
    classes = np.arange(num_classes)
    if protocol.subset_size is not None:
        if protocol.subset_size > num_classes:
            protocol._refuse("subset_size", f"at most the data's {num_classes} classes", "null")
        draw = np.random.RandomState(protocol.subset_seed)
        classes = np.sort(draw.choice(num_classes, protocol.subset_size, replace=False))
    if protocol.num_base > len(classes) - protocol.num_stages:
        protocol._refuse(
            "num_base",
            f"at least 1 of the {len(classes)} classes left for each of {protocol.num_stages}"
            " continual stages",
            max(1, len(classes) // 2),
        )
    if protocol.base_classes == "natural":
        base = classes[: protocol.num_base]
    elif protocol.base_classes == "shuffled":
        drawn = np.random.RandomState(protocol.order_seed).permutation(classes)
        base = drawn[: protocol.num_base]
    else:
        base = _listed(protocol, "base_classes", classes)

    rest = np.setdiff1d(classes, base)  # ascending
    if protocol.novel_order == "natural":
        novel = rest
    elif protocol.novel_order == "shuffled":
        novel = rest.copy()
        np.random.RandomState(protocol.order_seed).shuffle(novel)
    else:
        novel = _listed(protocol, "novel_order", rest, "that are no base classes")

    sizes = _stage_sizes(protocol, len(novel))
    bounds = np.concatenate(([0, len(base)], len(base) + np.cumsum(sizes))).tolist()
    return np.concatenate((base, novel))[: bounds[-1]], bounds


def _stage_sizes(protocol: Protocol, num_novel: int) -> np.ndarray:
    """Novel classes of each continual stage, out of `num_novel` that are left."""
    share = protocol.novel_per_stage
    if share is None:
        sizes = np.full(protocol.num_stages, num_novel // protocol.num_stages)
        sizes[-1] += num_novel % protocol.num_stages
        if not sizes[0]:
            protocol._refuse(
                "num_stages", f"at most the {num_novel} novel classes there are", num_novel
            )
        return sizes
    sizes = np.broadcast_to(share, protocol.num_stages)
    if sizes.sum() > num_novel:
        protocol._refuse(
            "novel_per_stage", f"at most {num_novel} novel classes in all stages together", "null"
        )
    return sizes


def _listed(
    protocol: Protocol, field: str, classes: np.ndarray, which: str = "of the data set"
) -> np.ndarray:
    listed = np.array(getattr(protocol, field))
    foreign = listed[~np.isin(listed, classes)]
    if len(foreign):
        _refuse(
            field,
            f"{_short(listed.tolist())}, with class {foreign[0]}",
            f"only classes {which} (and of its subset, where one is drawn)",
            f"leave class {foreign[0]} out of scenario.protocol.{field}",
        )
    return listed


def _grouped(targets: np.ndarray, class_order: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Indices of the images of used classes, row after row, and how many each row has."""
    table = row_table(class_order)
    rows = np.full(len(targets), UNLABELED)
    inside = targets < len(table)
    rows[inside] = table[targets[inside]]
    used = np.flatnonzero(rows != UNLABELED)
    members = used[np.argsort(rows[used], kind="stable")]
    return members, np.bincount(rows[used], minlength=len(class_order))


def _check_not_empty(class_order: np.ndarray, counts: np.ndarray, part: str) -> None:
    if not counts.all():
        empty = class_order[counts == 0]
        raise InputError(
            f"class {empty[0]} has 0 {part} images ({len(empty)} such classes); wanted at least 1:"
            f" list the other classes in scenario.protocol.base_classes=[...] or"
            f" scenario.protocol.novel_order=[...], or look into data_root"
        )


def _checked_targets(targets: np.ndarray, name: str) -> np.ndarray:
    targets = np.asarray(targets)
    if targets.ndim != 1 or targets.dtype.kind not in "iu" or not len(targets):
        raise InputError(
            f"{name} is {targets.dtype} of shape {targets.shape}; wanted one integer class id for"
            " each image, and at least one image"
        )
    if targets.min() < 0 or targets.max() >= _MAX_CLASS_ID:
        raise InputError(
            f"{name} run from {targets.min()} to {targets.max()}; wanted class ids from 0 to"
            f" {_MAX_CLASS_ID - 1}: number the classes 0, 1, 2, ..."
        )
    return targets.astype(np.int64, copy=False)


def _is_whole(value: object) -> bool:
    return isinstance(value, Integral) and not isinstance(value, bool)


def _short(value: object) -> str:
    text = repr(value) if not isinstance(value, tuple) else repr(list(value))
    return text if len(text) <= 60 else f"{text[:57]}..."


def _refuse(field: str, given: str, wanted: str, mend: str) -> NoReturn:
    raise InputError(f"protocol.{field} is {given}; wanted {wanted}: {mend}")
