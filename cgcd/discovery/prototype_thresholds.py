"""How similar a sample must be to a known class, to a category, and two categories to each other.

All of it is found on the labeled samples of the known classes alone, by hiding some of them. What
is looked for are not cosines but numbers of deviations, which mean the same for any set of classes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from cgcd.discovery.hidden_folds import NUM_FOLDS, hidden_folds
from cgcd.discovery.matching import contingency, match
from cgcd.discovery.rejection import best_threshold
from cgcd.memory import PrototypeBook

SPREADS = (0.0, 0.5, 1.0, 1.5, 2.5, 4.0, 6.0, 9.0)
"""Deviations below the mean that are tried, for known classes and for opened categories."""
MOST_OF_A_CLASS = 20
"""Samples of one class in a stream that is tried."""


@dataclass(frozen=True)
class Spreads:
    """Where thresholds lie: deviations below the mean cosine of a class's own samples.

    Attributes:
        known: of a known class, by its own mean and deviation, see `soft_thresholds`.
        opened: of every category the stream opens, by the average over the known classes.
        score: mean over the folds of what `hidden_score` gave; 1 is perfect.
    """

    known: float
    opened: float
    score: float = 0.0


@dataclass(frozen=True, eq=False)
class KnownClasses:
    """What a prototype memory needs of labeled features; make one by `of`.

    Attributes:
        origin: mean of the means of each class's unit features, (D,): a class of many samples does
            not become the origin, from which it would have no direction.
        directions: mean of each class's unit features about the origin, (K, D).
        cosines: mean over a class of each sample's cosine to the mean of the others, (K,).
        deviations: standard deviations of the same, (K,).
        alike: threshold that tells best whether two prototypes are of one class.
    """

    origin: np.ndarray
    directions: np.ndarray
    cosines: np.ndarray
    deviations: np.ndarray
    alike: float

    @classmethod
    def of(cls, features: np.ndarray, labels: np.ndarray) -> KnownClasses:
        """From labeled features.

        A sample is left out of the mean it is compared with, for that would know it. A class of one
        sample has the average cosine and deviation of the others.

        Args:
            features: (N, D).
            labels: 0 .. K-1, each at least once, (N,).

        Raises:
            ValueError: if no class has two samples.
        """
        rows = unit_rows(features.astype(np.float64))
        counts = np.bincount(labels)
        if counts.max() < 2:
            raise ValueError(
                f"{len(labels)} samples of {len(counts)} classes; wanted two of at least one "
                "class: how wide it is cannot be told from one"
            )
        origin = (_sums(rows, labels, len(counts)) / counts[:, None]).mean(0)
        rows = unit_rows(rows - origin)
        sums = _sums(rows, labels, len(counts))
        own = (unit_rows(sums[labels] - rows) * rows).sum(1)
        several = counts > 1
        cosines = np.bincount(labels, own) / counts
        deviations = np.sqrt(np.bincount(labels, (own - cosines[labels]) ** 2) / counts)
        cosines[~several] = cosines[several].mean()
        deviations[~several] = deviations[several].mean()
        alike = _alike(rows, labels, several)
        return cls(origin, sums / counts[:, None], cosines, deviations, alike)

    def book(self, spreads: Spreads, blend: float, **settings: int | bool) -> PrototypeBook:
        """A book that knows these classes; `settings` are arguments of `PrototypeBook`."""
        opened = soft_thresholds(self.cosines, self.deviations, spreads.opened, blend)
        book = PrototypeBook(len(self.origin), **settings)  # type: ignore[arg-type]
        book.add_known(
            self.directions,
            soft_thresholds(self.cosines, self.deviations, spreads.known, blend),
            join_threshold=float(opened.mean()),
            merge_threshold=self.alike,
            origin=self.origin,
        )
        return book


def soft_thresholds(
    cosines: np.ndarray, deviations: np.ndarray, spread: float, blend: float
) -> np.ndarray:
    """Cosines from which on a sample is a class's, (K,): its own, drawn toward the average.

    Args:
        cosines: mean cosine of each class's own samples, (K,).
        deviations: standard deviations of the same, (K,).
        spread: deviations below the mean.
        blend: weight of the class's own value, in [0, 1]; the rest is the average's.

    Source: AGE, ICLR 2026, for confidences, with spread 0.8 and blend 0.5; here for cosines.
    """
    own = cosines - spread * deviations
    return blend * own + (1 - blend) * own.mean()


def calibrated_spreads(
    features: np.ndarray,
    labels: np.ndarray,
    blend: float,
    seed: int = 0,
    candidates: Sequence[float] = SPREADS,
) -> Spreads:
    """The spreads with which streams of hidden and visible known classes are answered best.

    Each fold of the labeled classes is hidden once, two classes or more at a time where there are
    four, and two stay visible: a single one would be the origin and have no direction. Half of the
    others' samples make a book, which answers a shuffle of the other half and of the hidden classes
    by the rule itself. The pair of largest mean `hidden_score` is taken. Features that were tuned
    on the labels of hidden classes too show these narrower than a novel class is, so what is found
    for them is an optimist's, and of several pairs the widest is taken.

    Args:
        features: labeled, (N, D).
        labels: 0 .. K-1, each at least once, K >= 3, (N,).
        blend: see `soft_thresholds`.
        seed: deals classes and samples.
        candidates: values to try for each of the two, ascending.

    Raises:
        ValueError: for fewer than three classes, or if no fold leaves a class of four samples.

    Source: ours; PACO, arXiv 2604.11484, too simulates discovery on the labeled classes.
    """
    num_classes = int(labels.max()) + 1
    if num_classes < 3:
        raise ValueError(
            f"{num_classes} classes; wanted at least three: one is hidden and two stay visible"
        )
    num_folds = 3 if num_classes == 3 else min(NUM_FOLDS, num_classes // 2)
    pairs = [Spreads(known, opened) for known in candidates for opened in candidates]
    generator = np.random.default_rng(seed)
    scores = []
    for fold in hidden_folds(labels, generator, num_folds):
        place = np.full(num_classes, -1)
        place[fold.visible] = np.arange(len(fold.visible))
        hidden = np.flatnonzero(place < 0)
        place[hidden] = len(fold.visible) + np.arange(len(hidden))
        truth = place[labels]
        stream = _shortened(np.concatenate([fold.held, fold.away]), truth, generator)
        if len(fold.held) == 0 or np.bincount(truth[fold.support]).max() < 2:
            continue
        known = KnownClasses.of(features[fold.support], truth[fold.support])
        answers = [known.book(pair, blend).observe(features[stream]).ids for pair in pairs]
        scores.append([hidden_score(ids, truth[stream], len(fold.visible)) for ids in answers])
    if not scores:
        raise ValueError(
            f"{len(labels)} samples of {num_classes} classes; wanted four of at least two "
            "classes: some are held out, some tell how wide a class is"
        )
    mean = np.mean(scores, axis=0)
    best = np.flatnonzero(mean >= mean.max() - 1e-12)[-1]
    return Spreads(pairs[best].known, pairs[best].opened, float(mean[best]))


def hidden_score(ids: np.ndarray, truth: np.ndarray, num_visible: int) -> float:
    """Harmonic mean of how often known samples get their name and hidden ones find together.

    Args:
        ids: answers, those below `num_visible` are names, (N,).
        truth: classes; those from `num_visible` on are hidden, at least one sample of either, (N,).
        num_visible: V.

    Returns:
        In [0, 1]. The second part is the share of hidden samples in the category that stands for
        their class under one matching; a sample under a known name is in none.
    """
    hidden = truth >= num_visible
    named = float((ids[~hidden] == truth[~hidden]).mean())
    away = ids >= num_visible
    if not (away & hidden).any():
        return 0.0
    counts = contingency(ids[away & hidden] - num_visible, truth[away & hidden] - num_visible)
    found = match(counts).hits(counts).sum() / hidden.sum()
    return float(2 * named * found / (named + found)) if named + found else 0.0


def unit_rows(rows: np.ndarray) -> np.ndarray:
    """Rows (N, D) at length 1; 0 stays 0."""
    lengths = np.linalg.norm(rows, axis=1, keepdims=True)
    return rows / np.where(lengths > 0, lengths, 1.0)


def _sums(rows: np.ndarray, groups: np.ndarray, number: int) -> np.ndarray:
    sums = np.zeros((number, rows.shape[1]))
    np.add.at(sums, groups, rows)
    return sums


def _alike(rows: np.ndarray, labels: np.ndarray, several: np.ndarray) -> float:
    """The cosine that tells two halves of a class best from one half and the nearest other's.

    Args:
        rows: unit, (N, D).
        labels: (N,).
        several: classes of at least two samples, (K,) bool.
    """
    turn = np.zeros(len(labels), np.int64)
    order = np.argsort(labels, kind="stable")
    starts = np.searchsorted(labels[order], labels[order])
    turn[order] = (np.arange(len(labels)) - starts) % 2
    halves = [
        unit_rows(_sums(rows[turn == side], labels[turn == side], len(several)))[several]
        for side in (0, 1)
    ]
    cosines = halves[0] @ halves[1].T
    if len(cosines) < 2:
        return 1.0
    same = cosines.diagonal()
    other = np.where(np.eye(len(cosines), dtype=bool), -np.inf, cosines).max(1)
    return -best_threshold([(-same, -other)])


def _shortened(places: np.ndarray, truth: np.ndarray, generator: np.random.Generator) -> np.ndarray:
    """Places in a random order, of each class no more than `MOST_OF_A_CLASS`."""
    order = generator.permutation(places)
    by_class = np.argsort(truth[order], kind="stable")
    classes = truth[order][by_class]
    rank = np.arange(len(order)) - np.searchsorted(classes, classes)
    return order[np.sort(by_class[rank < MOST_OF_A_CLASS])]
