"""Cuts a labeled data set into the stages of continual category discovery.

Targets, a protocol and a seed in; indices per stage out. Row k is the k-th class in the order in
which the stages bring classes: the base classes first, then the novel classes stage by stage.

Source: Ma et al., Happy, NeurIPS 2024, arXiv 2410.06535, section 4 and the authors' code: which
classes come when follows the released lists exactly. Which images are drawn does not (the released
draw hangs on the iteration order of hash sets); here a draw hangs on seed and stage alone.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from cgcd.vocabulary import UNLABELED
from scenarios.composition import Composition, StagePlan
from scenarios.draws import SHOWN_DRAW, divided, draw_without_replacement, first_of_each
from scenarios.long_tail import class_ranks, tail_factors, thinned
from scenarios.staged import Schedule, SizedProtocol, StagedProtocol, labeled_counts
from scenarios.targets import check_not_empty, check_run_seed, checked_targets, grouped


@dataclass(frozen=True, kw_only=True)
class Protocol(SizedProtocol):
    """Which classes and how many images each stage holds, in numbers; each stage draws anew.

    Attributes: those of `SizedProtocol`, and
        labeled_fraction: share in (0, 1] of each base class's n images that stage 0 labels,
            int(share * n); the rest is what later stages draw this class from, so that a labeled
            image never comes back.
        samples_per_novel: images of each novel class at its first stage, >= 1; None, or more than
            there are: all.
        samples_per_known: images of each base and earlier class at each continual stage, >= 0, or
            as many as there are. An earlier class is drawn from all its images again.

    Raises:
        InputError: if a value is none of the above; what depends on the data is checked by
            `compose`.
    """

    labeled_fraction: float = 0.8
    samples_per_novel: int | None
    samples_per_known: int

    def __post_init__(self) -> None:
        super().__post_init__()
        self.check_share("labeled_fraction", "0.8")
        if self.samples_per_novel is not None:
            self.check_whole("samples_per_novel", 1, "at least 1 image, or null for all", "400")
        self.check_whole("samples_per_known", 0, "0 images or more", "25")

    def schedule(self, classes: np.ndarray, counts: np.ndarray, seed: int) -> Schedule:
        first = self.first_stages(len(counts))
        num_labeled = labeled_counts(self, self.labeled_fraction, classes, counts)
        supply = counts.copy()
        supply[: self.num_base] -= num_labeled
        most = int(counts.sum())
        per_known = min(self.samples_per_known, most)
        per_novel = min(self.samples_per_novel or most, most)
        taken = [num_labeled]
        for stage in range(1, self.num_stages + 1):
            met = first[: np.searchsorted(first, stage, side="right")]
            limits = np.where(met < stage, per_known, per_novel)
            taken.append(np.minimum(supply[: len(met)], limits))
        return Schedule(first, taken, once=False)


def compose(
    train_targets: np.ndarray, test_targets: np.ndarray, protocol: StagedProtocol, seed: int
) -> Composition:
    """The stages of a stream over one data set.

    At each continual stage the images of a base class come from its unlabeled rest, those of an
    earlier class from the whole class. Where the protocol lets stages draw anew, the draw of a
    stage depends on seed and stage alone, whatever other stages exist; where every image comes once
    (`Schedule.once`), one order of each class's images, which depends on the seed alone, is cut
    into stages.

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

    classes = protocol.class_order(1 + int(max(train_targets.max(), test_targets.max())))
    members, counts = grouped(train_targets, classes)
    check_not_empty(classes, counts, "training")
    schedule = protocol.schedule(classes, counts, seed)
    taken = _with_long_tail(schedule, protocol)
    drawn, labels = _drawn(members, counts, schedule, taken, protocol, seed)

    # Rows in the order in which classes are first met; base classes keep theirs.
    turn = np.argsort(schedule.first, kind="stable")
    classes = classes[turn]
    ends = np.cumsum(np.bincount(schedule.first, minlength=len(taken))).tolist()
    tests, test_counts = grouped(test_targets, classes)
    check_not_empty(classes, test_counts, "test")
    test_ends = np.concatenate(([0], np.cumsum(test_counts)))
    stages = []
    for index, indices in enumerate(drawn):
        start, stop = ends[index - 1] if index else 0, ends[index]
        every = np.zeros(len(classes), dtype=np.int64)
        every[: len(taken[index])] = taken[index]
        stages.append(
            StagePlan(
                index=index,
                indices=indices,
                labels=labels[indices],
                novel_rows=range(start, stop),
                num_known=start,
                class_counts=every[turn[:stop]],
                test_indices=np.sort(tests[test_ends[start] : test_ends[stop]]),
            )
        )
    return Composition(tuple(stages), classes, protocol.num_base)


def _drawn(
    members: np.ndarray,
    counts: np.ndarray,
    schedule: Schedule,
    taken: list[np.ndarray],
    protocol: StagedProtocol,
    seed: int,
) -> tuple[list[np.ndarray], np.ndarray]:
    """Images of each stage, ascending, and the visible label of every image by its number.

    `members` are the images, class after class; `supply` what stage 0 does not label of them.
    """
    num_base = protocol.num_base
    labeled = draw_without_replacement(counts[:num_base], schedule.taken[0], seed, stream=0)
    supply = np.delete(members, labeled)
    supply_counts = counts.copy()
    supply_counts[:num_base] -= schedule.taken[0]
    labels = np.full(members.max() + 1, UNLABELED)
    base = members[labeled[first_of_each(schedule.taken[0], taken[0])]]
    labels[base] = np.repeat(np.arange(num_base), taken[0])
    shown, rows = _shown(supply_counts, protocol, seed)
    labels[supply[shown]] = rows
    drawn = [np.sort(base)]
    is_drawn = np.zeros(len(labels), dtype=bool)
    for places in _places(supply_counts, taken, schedule.once, seed):
        is_drawn[supply[places]] = True
        drawn.append(np.flatnonzero(is_drawn))  # ascending
        is_drawn[drawn[-1]] = False
    return drawn, labels


def _with_long_tail(schedule: Schedule, protocol: StagedProtocol) -> list[np.ndarray]:
    """The schedule's numbers, with the profile of the protocol laid over them."""
    labeled, *others = schedule.taken
    ranks = class_ranks(len(schedule.first), protocol.order_seed)
    of_base = tail_factors(ranks[: protocol.num_base], protocol.imbalance_labeled)
    of_all = tail_factors(ranks, protocol.imbalance_unlabeled)
    return [thinned(labeled, of_base), *(thinned(t, of_all[: len(t)]) for t in others)]


def _places(
    counts: np.ndarray, taken: list[np.ndarray], once: bool, seed: int
) -> Iterable[np.ndarray]:
    """Places in the supply of the images of stage 1, 2, ..."""
    if once:
        return divided(counts, taken[1:], seed)
    return (
        draw_without_replacement(counts[: len(part)], part, seed, stream=stage)
        for stage, part in enumerate(taken[1:], start=1)
    )


def _shown(
    counts: np.ndarray, protocol: StagedProtocol, seed: int
) -> tuple[np.ndarray, np.ndarray]:
    """Places in the supply of the images that show their label, and their labels."""
    of_base = counts[: protocol.num_base]
    least = 1 if protocol.shown_fraction else 0
    wanted = np.floor(protocol.shown_fraction * of_base + 0.5).astype(np.int64)
    num_shown = np.minimum(np.maximum(wanted, least), of_base)
    places = draw_without_replacement(of_base, num_shown, seed, SHOWN_DRAW)
    return places, np.repeat(np.arange(protocol.num_base), num_shown)
