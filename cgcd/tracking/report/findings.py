"""What a run found, mixed up and forgot, from its answers by plain rules.

Rules, all on the test samples of one evaluation:

- found: more than half of a category's samples are of the class, and it holds at least half of the
  class;
- merged: classes whose largest part lies in the same category, each with at least a quarter of it;
- split: at least two categories hold a quarter of the class each;
- forgotten: a base class whose accuracy is at least 20 points below that of stage 0.

Accuracies of classes are those of the joint match: one category for one class, so that the most
samples count as right.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from scipy.optimize import linear_sum_assignment

from cgcd.tracking.report.answers import Answers
from cgcd.vocabulary import UNLABELED

RULES = (
    "found: more than half of a category's samples are of the class, and it holds at least half "
    "of the class",
    "merged: classes whose largest part lies in the same category, each with at least a quarter "
    "of its samples",
    "split: at least two categories hold a quarter of the class each",
    "forgotten: a base class whose accuracy is at least 20 points below that of stage 0; told "
    "where that happens first, and again with every further 20 points",
)

FALL = 0.2
"""From which on a base class counts as forgotten, as a fraction of its samples."""

_MAJORITY = 0.5
_PART = 0.25


@dataclass(frozen=True, eq=False)
class CrossTable:
    """Samples of each class in each category.

    Attributes:
        counts: (R categories, C classes) int64.
        categories: ids of the rows, ascending.
        classes: names of the columns.
    """

    counts: np.ndarray
    categories: list[int]
    classes: list[str]

    @classmethod
    def of(cls, answers: Answers, classes: Sequence[str] | None = None) -> CrossTable:
        """Table of the samples that show their class.

        Args:
            answers: to one evaluation.
            classes: columns, in order; those that occur, when None.
        """
        columns = list(answers.classes if classes is None else classes)
        truth = answers.truth(columns)
        shown = truth != UNLABELED
        categories, rows = np.unique(answers.categories[shown], return_inverse=True)
        counts = np.zeros((len(categories), len(columns)), dtype=np.int64)
        np.add.at(counts, (rows, truth[shown]), 1)
        return cls(counts, categories.tolist(), columns)

    @cached_property
    def row_of_class(self) -> np.ndarray:
        """Row matched with each class, (C,) int64, -1 where none is left."""
        rows, columns = linear_sum_assignment(self.counts, maximize=True)
        matched = np.full(len(self.classes), -1, dtype=np.int64)
        matched[columns] = rows
        return matched

    @cached_property
    def accuracies(self) -> np.ndarray:
        """Of each class under the joint match, (C,) in [0, 1]; nan without samples."""
        total = self.counts.sum(0)
        rows = self.row_of_class
        hits = np.where(rows >= 0, self.counts[rows, np.arange(len(rows))], 0)
        found = np.full(len(rows), np.nan)
        np.divide(hits, total, out=found, where=total > 0)
        return found

    def is_found(self) -> np.ndarray:
        """Which classes were found, (C,) bool."""
        inside = 2 * self.counts > self.counts.sum(1, keepdims=True)  # (R, C)
        held = self.counts >= np.maximum(_MAJORITY * self.counts.sum(0), 1)
        return (inside & held).any(0)

    def merged(self) -> list[frozenset[str]]:
        """Groups of two or more classes that lie in one category."""
        total = self.counts.sum(0)
        groups: dict[int, list[str]] = {}
        if not len(self.categories):
            return []
        for column, row in enumerate(self.counts.argmax(0)):
            if total[column] and self.counts[row, column] >= _PART * total[column]:
                groups.setdefault(int(row), []).append(self.classes[column])
        return [frozenset(group) for group in groups.values() if len(group) > 1]

    def split(self) -> dict[str, int]:
        """Classes in pieces, with the number of their large pieces."""
        large = self.counts >= np.maximum(_PART * self.counts.sum(0), 1)
        pieces = large.sum(0).tolist()
        return {name: n for name, n in zip(self.classes, pieces, strict=True) if n > 1}


def forgotten(before: CrossTable, after: CrossTable) -> dict[str, float]:
    """Base classes that fell, with how far, as a fraction of their samples.

    Args:
        before: of stage 0.
        after: of a later stage.
    """
    now = dict(zip(after.classes, after.accuracies.tolist(), strict=True))
    falls = {
        name: old - now.get(name, float("nan"))
        for name, old in zip(before.classes, before.accuracies.tolist(), strict=True)
    }
    return {name: fall for name, fall in falls.items() if fall >= FALL - 1e-9}


def shares_old(answers: Answers, classes: Sequence[str]) -> float | None:
    """Share of the samples of some classes that were put in categories of stage 0; None if none."""
    chosen = answers.truth(classes) != UNLABELED
    if not chosen.any():
        return None
    old = [category not in answers.is_new for category in answers.categories[chosen].tolist()]
    return float(np.mean(old))
