"""Which classes are known and which of their images are labeled; all others are unlabeled.

What becomes of the two sets is for others to say: a base stage and a stream, or one mixed stage.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from cgcd.vocabulary import UNLABELED, InputError
from scenarios.draws import draw_without_replacement
from scenarios.fields import CheckedFields, refuse, shortened
from scenarios.targets import (
    check_not_empty,
    check_run_seed,
    checked_targets,
    listed_classes,
    rows_of,
)

_LABELED_DRAW = 0  # a stream of the generator


@dataclass(frozen=True, kw_only=True)
class KnownNovelProtocol(CheckedFields):
    """Known and novel classes, and which images of the known ones are labeled.

    Attributes:
        num_known: labeled classes, >= 1.
        num_novel: classes without labels; the classes beyond them stay unused. None: all that are
            left, or all that `novel_classes` lists.
        labeled_fraction: share in (0, 1] of the known classes' images that is labeled.
        labeled_draw: one of `draws`. "per_class" labels int(share * n) of each known class's n
            images; the other word labels int(share * n) of the n images of all known classes
            together, drawn as the released code does, so that classes get unequal shares.
        split_seed: of the draw of labeled images, in [0, 2**32); None: the run's seed.
        known_classes: "natural" (the first `num_known` ids), or the ids in the order of their rows.
        novel_classes: "natural" (the rest, ascending), or ids in the order of their rows, of which
            the first `num_novel` are used.

    Raises:
        InputError: if a value is none of the above; what depends on the data is checked by `cut`.
    """

    draws = ("per_class", "uniform")  # no annotation: these two are no fields
    fewest_novel = 0

    num_known: int
    num_novel: int | None = None
    labeled_fraction: float = 0.5
    labeled_draw: str = "per_class"
    split_seed: int | None = None
    known_classes: str | Sequence[int] = "natural"
    novel_classes: str | Sequence[int] = "natural"

    def __post_init__(self) -> None:
        self.check_whole("num_known", 1, "at least 1 known class", "50")
        if self.num_novel is not None:
            wanted = f"{self.fewest_novel} novel classes or more, or null for all"
            self.check_whole("num_novel", self.fewest_novel, wanted, "null")
        self.check_share("labeled_fraction", "0.5")
        self.check_word("labeled_draw", self.draws)
        if self.split_seed is not None:
            self.check_seed("split_seed")
        for field in ("known_classes", "novel_classes"):
            self.check_classes(field, ("natural",))
        if not isinstance(self.known_classes, str) and len(self.known_classes) != self.num_known:
            self.refuse(
                "num_known",
                f"as many as the {len(self.known_classes)} of known_classes",
                len(self.known_classes),
            )


@dataclass(frozen=True, eq=False)
class Cut:
    """Labeled and unlabeled images; n labeled ones, N others.

    Attributes:
        labeled: labeled images, ascending, no two alike, (n,) int64.
        labels: row of each labeled image's class, (n,) int64.
        unlabeled: all other images of the classes used, ascending, (N,) int64.
        truth: row of each unlabeled image's class, (N,) int64.
        class_order: original class id of row k, (K,) int64.
    """

    labeled: np.ndarray
    labels: np.ndarray
    unlabeled: np.ndarray
    truth: np.ndarray
    class_order: np.ndarray


def cut(targets: np.ndarray, protocol: KnownNovelProtocol, seed: int) -> Cut:
    """The labeled and the unlabeled images of one data set, a function of the arguments alone.

    Args:
        targets: original class ids >= 0 of the training images, (N,) integers.
        protocol: classes and labels.
        seed: of the run, in [0, 2**64); for a draw that has no seed of its own.

    Raises:
        InputError: if targets are no class ids, the protocol wants more classes than there are, a
            class it uses has no image, a known class no labeled one, or every image is labeled.

    Source: the draw over all known classes together is that of the released code of GCD, SimGCD,
    SMILE and PHE (legacy generator, over their images in the order of the data set); "per_class" is
    ours.
    """
    targets = checked_targets(targets, "targets")
    check_run_seed(seed)
    class_order = _class_order(protocol, 1 + int(targets.max()))
    rows = rows_of(targets, class_order)
    counts = np.bincount(rows[rows != UNLABELED], minlength=len(class_order))
    check_not_empty(class_order, counts, "training", ("known_classes", "novel_classes"))

    known = np.flatnonzero((rows != UNLABELED) & (rows < protocol.num_known))
    labeled = np.sort(_labeled(known, rows, counts[: protocol.num_known], protocol, seed))
    labels = rows[labeled]
    bare = set(range(protocol.num_known)) - set(np.unique(labels).tolist())
    if bare:
        row = min(bare)
        refuse(
            "labeled_fraction",
            f"{protocol.labeled_fraction}, which labels none of the {counts[row]} training images"
            f" of known class {class_order[row]}",
            "at least 1 labeled image of each",
            "raise scenario.protocol.labeled_fraction"
            + (
                " or leave the class out of scenario.protocol.known_classes"
                if protocol.labeled_draw == "per_class"
                else " or set another scenario.protocol.split_seed"
            ),
        )
    others = rows != UNLABELED
    others[labeled] = False
    unlabeled = np.flatnonzero(others)
    if not len(unlabeled):
        protocol.refuse("labeled_fraction", "at least 1 image that is not labeled", "0.5")
    return Cut(labeled, labels, unlabeled, rows[unlabeled], class_order)


def _class_order(protocol: KnownNovelProtocol, num_classes: int) -> np.ndarray:
    """Original class of every row used."""
    classes = np.arange(num_classes)
    if protocol.num_known > num_classes:
        protocol.refuse("num_known", f"at most the data's {num_classes} classes", num_classes)
    known = (
        classes[: protocol.num_known]
        if protocol.known_classes == "natural"
        else listed_classes(protocol, "known_classes", classes)
    )
    novel = np.setdiff1d(classes, known)  # ascending
    if protocol.novel_classes != "natural":
        novel = listed_classes(protocol, "novel_classes", novel, "that are no known classes")
    if protocol.num_novel is not None and protocol.num_novel > len(novel):
        protocol.refuse("num_novel", f"at most the {len(novel)} novel classes there are", "null")
    return np.concatenate((known, novel[: protocol.num_novel]))


def _labeled(
    known: np.ndarray, rows: np.ndarray, counts: np.ndarray, protocol: KnownNovelProtocol, seed: int
) -> np.ndarray:
    """Images that are labeled, in any order, out of those of the known classes."""
    split_seed = seed if protocol.split_seed is None else protocol.split_seed
    if protocol.labeled_draw == "per_class":
        taken = (protocol.labeled_fraction * counts).astype(np.int64)
        by_class = known[np.argsort(rows[known], kind="stable")]
        return by_class[draw_without_replacement(counts, taken, split_seed, _LABELED_DRAW)]
    if split_seed >= 2**32:
        raise InputError(
            f"seed is {shortened(seed)}; wanted 0 to 2**32 - 1 for a {protocol.labeled_draw} draw"
            " of labels: set scenario.protocol.split_seed=0"
        )
    size = int(protocol.labeled_fraction * len(known))
    drawn = np.random.RandomState(int(split_seed)).choice(len(known), size=size, replace=False)
    return known[drawn]
