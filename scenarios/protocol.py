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


class CheckedFields:
    """A dataclass of a protocol whose values are checked field by field, each message by name."""

    def check_whole(
        self, field: str, low: int, wanted: str, example: str, below: int | None = None
    ) -> None:
        """Refuses what is no whole number in [low, below)."""
        value = getattr(self, field)
        if not is_whole(value) or value < low or (below is not None and value >= below):
            self.refuse(field, wanted, example)
        object.__setattr__(self, field, int(value))

    def check_seed(self, field: str) -> None:
        """Refuses what is no seed of NumPy's legacy generator."""
        self.check_whole(field, 0, "a seed from 0 to 2**32 - 1", "0", below=2**32)

    def check_share(self, field: str, example: str) -> None:
        """Refuses what is no share in (0, 1]."""
        value = getattr(self, field)
        is_number = isinstance(value, Real) and not isinstance(value, bool)
        if not is_number or not 0 < float(value) <= 1:
            self.refuse(field, "a share above 0 and at most 1", example)

    def check_word(self, field: str, words: Sequence[str]) -> None:
        """Refuses what is none of `words`."""
        if getattr(self, field) not in words:
            self.refuse(field, " or ".join(words), words[0])

    def check_list(self, field: str, low: int, wanted: str, example: str) -> None:
        """Refuses what is no list of whole numbers >= low, and makes it a tuple."""
        value = getattr(self, field)
        is_list = isinstance(value, Sequence | np.ndarray) and not isinstance(value, str)
        if not is_list or not len(value) or not all(is_whole(v) and v >= low for v in value):
            self.refuse(field, wanted, example)
        object.__setattr__(self, field, tuple(int(v) for v in value))

    def check_classes(self, field: str, words: Sequence[str]) -> None:
        """Refuses what is neither one of `words` nor a list of different class ids."""
        value = getattr(self, field)
        if isinstance(value, str) and value in words:
            return
        wanted = f"{', '.join(words)}, or a list of different class ids, 0 or more"
        self.check_list(field, 0, wanted, words[0])
        if len(set(getattr(self, field))) != len(value):
            self.refuse(field, wanted, words[0])

    def refuse(self, field: str, wanted: str, example: object) -> NoReturn:
        """Raises the InputError that names the field, its value and a value that would do."""
        given = shortened(getattr(self, field))
        refuse(field, given, wanted, f"set scenario.protocol.{field}={example}")


@dataclass(frozen=True, kw_only=True)
class Protocol(CheckedFields):
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
        self.check_whole("num_base", 1, "at least 1 base class", "50")
        self.check_whole("num_stages", 1, "at least 1 continual stage", "5")
        if isinstance(self.novel_per_stage, Sequence) and not isinstance(self.novel_per_stage, str):
            self.check_list("novel_per_stage", 1, "whole numbers of novel classes", "[10,10]")
            if len(self.novel_per_stage) != self.num_stages:
                refuse(
                    "novel_per_stage",
                    f"{shortened(self.novel_per_stage)}, {len(self.novel_per_stage)} numbers",
                    f"one for each of {self.num_stages} stages",
                    "set scenario.protocol.novel_per_stage=null for equal shares",
                )
        elif self.novel_per_stage is not None:
            self.check_whole("novel_per_stage", 1, "at least 1 novel class a stage", "10")
        self.check_share("labeled_fraction", "0.8")
        if self.samples_per_novel is not None:
            self.check_whole("samples_per_novel", 1, "at least 1 image, or null for all", "400")
        self.check_whole("samples_per_known", 0, "0 images or more", "25")
        for field in ("base_classes", "novel_order"):
            self.check_classes(field, ("natural", "shuffled"))
        if not isinstance(self.base_classes, str) and len(self.base_classes) != self.num_base:
            self.refuse(
                "num_base",
                f"as many as the {len(self.base_classes)} of base_classes",
                len(self.base_classes),
            )
        for field in ("order_seed", "subset_seed"):
            self.check_seed(field)
        if self.subset_size is not None:
            self.check_whole("subset_size", 1, "at least 1 class, or null for all", "100")


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
    train_targets = checked_targets(train_targets, "train_targets")
    test_targets = checked_targets(test_targets, "test_targets")
    check_run_seed(seed)

    num_classes = 1 + int(max(train_targets.max(), test_targets.max()))
    class_order, bounds = _class_order(protocol, num_classes)
    members, counts = grouped(train_targets, class_order)
    tests, test_counts = grouped(test_targets, class_order)
    check_not_empty(class_order, counts, "training")
    check_not_empty(class_order, test_counts, "test")

    # Stage 0, and what is left for later: `supply` holds, class after class in the order of rows,
    # the rest of each base class and all of each other class.
    base_counts = counts[: protocol.num_base]
    num_labeled = (protocol.labeled_fraction * base_counts).astype(np.int64)
    if not num_labeled.all():
        row = int(np.argmin(num_labeled))
        refuse(
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


def checked_targets(targets: np.ndarray, name: str) -> np.ndarray:
    """Class ids of images as int64, (N,).

    Raises:
        InputError: if they are no integers from 0 on, naming them `name`.
    """
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


def check_run_seed(seed: object) -> None:
    """Refuses what is no key of `draw_without_replacement`."""
    if not is_whole(seed) or not 0 <= seed < 2**64:  # type: ignore[operator]
        raise InputError(f"seed is {shortened(seed)}; wanted 0 to 2**64 - 1: set seed=0")


def listed_classes(
    protocol: CheckedFields, field: str, classes: np.ndarray, which: str = "of the data set"
) -> np.ndarray:
    """The ids a field lists, in its order.

    Raises:
        InputError: if one of them is none of `classes`.
    """
    listed = np.array(getattr(protocol, field))
    foreign = listed[~np.isin(listed, classes)]
    if len(foreign):
        refuse(
            field,
            f"{shortened(listed.tolist())}, with class {foreign[0]}",
            f"only classes {which} (and of its subset, where one is drawn)",
            f"leave class {foreign[0]} out of scenario.protocol.{field}",
        )
    return listed


def grouped(targets: np.ndarray, class_order: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Indices of the images of used classes, row after row, and how many each row has."""
    rows = rows_of(targets, class_order)
    used = np.flatnonzero(rows != UNLABELED)
    members = used[np.argsort(rows[used], kind="stable")]
    return members, np.bincount(rows[used], minlength=len(class_order))


def rows_of(targets: np.ndarray, class_order: np.ndarray) -> np.ndarray:
    """Row of each image's class, `UNLABELED` where the class is not used, (N,) int64."""
    table = row_table(class_order)
    rows = np.full(len(targets), UNLABELED)
    inside = targets < len(table)
    rows[inside] = table[targets[inside]]
    return rows


def check_not_empty(
    class_order: np.ndarray,
    counts: np.ndarray,
    part: str,
    fields: tuple[str, str] = ("base_classes", "novel_order"),
) -> None:
    """Refuses a class without images; `fields` are those in which it could be left out."""
    if not counts.all():
        empty = class_order[counts == 0]
        raise InputError(
            f"class {empty[0]} has 0 {part} images ({len(empty)} such classes); wanted at least 1:"
            f" list the other classes in scenario.protocol.{fields[0]}=[...] or"
            f" scenario.protocol.{fields[1]}=[...], or look into data_root"
        )


def is_whole(value: object) -> bool:
    """An integer of any kind that is no truth value."""
    return isinstance(value, Integral) and not isinstance(value, bool)


def shortened(value: object) -> str:
    """A value for a message, at most 60 characters."""
    text = repr(value) if not isinstance(value, tuple) else repr(list(value))
    return text if len(text) <= 60 else f"{text[:57]}..."


def refuse(field: str, given: str, wanted: str, mend: str) -> NoReturn:
    """Raises the InputError about a field of a protocol."""
    raise InputError(f"protocol.{field} is {given}; wanted {wanted}: {mend}")


def _class_order(protocol: Protocol, num_classes: int) -> tuple[np.ndarray, list[int]]:
    """Original class of every row used, and where the rows of each stage start and end."""
    classes = np.arange(num_classes)
    if protocol.subset_size is not None:
        if protocol.subset_size > num_classes:
            protocol.refuse("subset_size", f"at most the data's {num_classes} classes", "null")
        draw = np.random.RandomState(protocol.subset_seed)
        classes = np.sort(draw.choice(num_classes, protocol.subset_size, replace=False))
    if protocol.num_base > len(classes) - protocol.num_stages:
        protocol.refuse(
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
        base = listed_classes(protocol, "base_classes", classes)

    rest = np.setdiff1d(classes, base)  # ascending
    if protocol.novel_order == "natural":
        novel = rest
    elif protocol.novel_order == "shuffled":
        novel = rest.copy()
        np.random.RandomState(protocol.order_seed).shuffle(novel)
    else:
        novel = listed_classes(protocol, "novel_order", rest, "that are no base classes")

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
            protocol.refuse(
                "num_stages", f"at most the {num_novel} novel classes there are", num_novel
            )
        return sizes
    sizes = np.broadcast_to(share, protocol.num_stages)
    if sizes.sum() > num_novel:
        protocol.refuse(
            "novel_per_stage", f"at most {num_novel} novel classes in all stages together", "null"
        )
    return sizes
