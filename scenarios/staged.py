"""What every protocol of stages says: which classes there are, and in which order they come.

How many images of which class a stage holds is a family's own; `compose` draws them.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from scenarios.fields import CheckedFields, refuse, shortened
from scenarios.targets import listed_classes


@dataclass(frozen=True, eq=False)
class Schedule:
    """How many images of each class each stage holds; T continual stages, K classes.

    Attributes:
        first: stage that each class is first met at, 0 for the base classes, which come first, (K,)
            int64. Novel classes get their rows in this order.
        taken: images of each class, (K',) int64 for stage 0, 1, ..., T; classes beyond K' have
            none. At stage 0 they are labeled.
        once: no image is in two continual stages; otherwise each stage draws anew from all images
            that stage 0 does not label.
    """

    first: np.ndarray
    taken: Sequence[np.ndarray]
    once: bool


@dataclass(frozen=True, kw_only=True)
class StagedProtocol(CheckedFields, ABC):
    """Which classes are labeled and which come later; a family adds how many images.

    Attributes:
        num_base: classes of stage 0, >= 1, labeled.
        num_stages: continual stages after stage 0, >= 1.
        base_classes: "natural" (the first `num_base` ids), "shuffled" (`num_base` ids drawn by
            `order_seed`), or the ids in the order of their rows.
        novel_order: "natural" (ascending), "shuffled" (by `order_seed`, as the authors' code of
            Happy does), or the ids in the order in which they come.
        order_seed: seed of both shuffles and of the ranks of a long tail, in [0, 2**32).
        subset_size: use only so many of the data set's classes, drawn by `subset_seed` and sorted;
            ids stay those of the data set. None: use all.
        subset_seed: in [0, 2**32).
        shown_fraction: share in [0, 1] of each base class's images outside stage 0 that show their
            label at every stage that holds them, which makes these stages mixed; rounded, at least
            1 where the share is above 0. Which images they are depends on the seed alone, so that
            none is seen with its label once and without later.
        imbalance_labeled: most frequent over rarest base class at stage 0, >= 1. Of the base
            classes in random order (by `order_seed`) the one of rank k keeps
            imbalance ** (-k / (num_base - 1)) of its images, rounded down, at least 1; the others
            are not used. 1: all.
        imbalance_unlabeled: the same for the numbers of each class at each continual stage, with
            the ranks of all classes used. Test images stay as they are.

    Raises:
        InputError: if a value is none of the above; what depends on the data is checked by
            `compose`.
    """

    num_base: int
    num_stages: int
    base_classes: str | Sequence[int] = "natural"
    novel_order: str | Sequence[int] = "natural"
    order_seed: int = 0
    subset_size: int | None = None
    subset_seed: int = 0
    shown_fraction: float = 0.0
    imbalance_labeled: float = 1.0
    imbalance_unlabeled: float = 1.0

    def __post_init__(self) -> None:
        self.check_whole("num_base", 1, "at least 1 base class", "50")
        self.check_whole("num_stages", 1, "at least 1 continual stage", "5")
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
        self.check_range("shown_fraction", 0, 1, "a share from 0 to 1", "0.5")
        for field in ("imbalance_labeled", "imbalance_unlabeled"):
            self.check_range(field, 1, np.inf, "a ratio of at least 1", "10")

    @abstractmethod
    def schedule(self, classes: np.ndarray, counts: np.ndarray, seed: int) -> Schedule:
        """How many images of each class each stage holds.

        Args:
            classes: original ids as `class_order` gives them, for messages, (K,).
            counts: training images of each, >= 1, (K,).
            seed: of the run.
        """

    def num_used(self, num_novel: int) -> int:
        """How many of the novel classes are used, in their order; the others stay out."""
        return num_novel

    def class_order(self, num_classes: int) -> np.ndarray:
        """Original ids of all classes used, the base classes first, (K,)."""
        classes = np.arange(num_classes)
        if self.subset_size is not None:
            if self.subset_size > num_classes:
                self.refuse("subset_size", f"at most the data's {num_classes} classes", "null")
            draw = np.random.RandomState(self.subset_seed)
            classes = np.sort(draw.choice(num_classes, self.subset_size, replace=False))
        if self.num_base > len(classes) - self.num_stages:
            self.refuse(
                "num_base",
                f"at least 1 of the {len(classes)} classes left for each of {self.num_stages}"
                " continual stages",
                max(1, len(classes) // 2),
            )
        if self.base_classes == "natural":
            base = classes[: self.num_base]
        elif self.base_classes == "shuffled":
            drawn = np.random.RandomState(self.order_seed).permutation(classes)
            base = drawn[: self.num_base]
        else:
            base = listed_classes(self, "base_classes", classes)

        rest = np.setdiff1d(classes, base)  # ascending
        if self.novel_order == "natural":
            novel = rest
        elif self.novel_order == "shuffled":
            novel = rest.copy()
            np.random.RandomState(self.order_seed).shuffle(novel)
        else:
            novel = listed_classes(self, "novel_order", rest, "that are no base classes")
        return np.concatenate((base, novel[: self.num_used(len(novel))]))


@dataclass(frozen=True, kw_only=True)
class SizedProtocol(StagedProtocol):
    """A staged protocol that says how many classes each stage brings.

    Attributes: those of `StagedProtocol`, and
        novel_per_stage: novel classes of each continual stage, >= 1: one number for all, or one
            for each; the classes beyond them stay unused. None: equal shares of all that are left,
            the last stage takes the remainder.
    """

    novel_per_stage: int | Sequence[int] | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
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

    def num_used(self, num_novel: int) -> int:
        return int(self.stage_sizes(num_novel).sum())

    def first_stages(self, num_classes: int) -> np.ndarray:
        """Stage that each of the used classes is first met at, (K,)."""
        sizes = [self.num_base, *self.stage_sizes(num_classes - self.num_base)]
        return np.repeat(np.arange(len(sizes)), sizes)

    def stage_sizes(self, num_novel: int) -> np.ndarray:
        """Novel classes of each continual stage, out of `num_novel` that are left, (T,)."""
        share = self.novel_per_stage
        if share is None:
            sizes = np.full(self.num_stages, num_novel // self.num_stages)
            sizes[-1] += num_novel % self.num_stages
            if not sizes[0]:
                self.refuse(
                    "num_stages", f"at most the {num_novel} novel classes there are", num_novel
                )
            return sizes
        sizes = np.broadcast_to(share, self.num_stages)
        if sizes.sum() > num_novel:
            self.refuse(
                "novel_per_stage",
                f"at most {num_novel} novel classes in all stages together",
                "null",
            )
        return sizes


def labeled_counts(
    protocol: StagedProtocol, fraction: float, classes: np.ndarray, counts: np.ndarray
) -> np.ndarray:
    """int(fraction * n) of each base class's n images, (num_base,).

    Raises:
        InputError: if that labels none of some class, naming `labeled_fraction`.
    """
    of_base = counts[: protocol.num_base]
    num_labeled = (fraction * of_base).astype(np.int64)
    if not num_labeled.all():
        row = int(np.argmin(num_labeled))
        refuse(
            "labeled_fraction",
            f"{fraction}, which labels none of the {of_base[row]} training"
            f" images of base class {classes[row]}",
            "at least 1 labeled image of each",
            "raise scenario.protocol.labeled_fraction, or leave the class out of the base classes",
        )
    return num_labeled
