"""The stages of one stream as plain indices, whatever they were composed from."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from cgcd.vocabulary import UNLABELED


@dataclass(frozen=True, eq=False)
class StagePlan:
    """What one stage holds, as indices; N images.

    Attributes:
        index: stage, 0 is the base stage.
        indices: training images, ascending, no two alike, (N,) int64.
        labels: row of each image's class where labeled (stage 0), else `UNLABELED`, (N,) int64.
        novel_rows: rows of the classes first met at this stage; at stage 0 the base classes.
        num_known: rows met before this stage, equal to `novel_rows.start`; 0 at stage 0.
        class_counts: images of each row among `indices`, (novel_rows.stop,) int64. Truth: for the
            scenario and its report, not for a strategy.
        test_indices: test images of the classes first met at this stage, ascending, int64; the
            test set at stage t is that of all plans 0..t together.
    """

    index: int
    indices: np.ndarray
    labels: np.ndarray
    novel_rows: range
    num_known: int
    class_counts: np.ndarray
    test_indices: np.ndarray


@dataclass(frozen=True, eq=False)
class Composition:
    """The stages of one stream and what its rows mean.

    Attributes:
        stages: plans of stage 0, 1, ...
        class_order: original class id of row k, (K,) int64.
        num_base: rows labeled at stage 0.
    """

    stages: tuple[StagePlan, ...]
    class_order: np.ndarray
    num_base: int

    @cached_property
    def row_of_class(self) -> dict[int, int]:
        """Row of each original class id that is used."""
        return {int(original): row for row, original in enumerate(self.class_order)}

    def rows(self, targets: np.ndarray) -> np.ndarray:
        """Rows of original class ids, `UNLABELED` for ids that are not used; same shape, int64."""
        targets = np.asarray(targets)
        table = row_table(self.class_order)
        inside = (targets >= 0) & (targets < len(table))
        return np.where(inside, table[np.where(inside, targets, 0)], UNLABELED)

    @cached_property
    def hash(self) -> str:
        """SHA-256 of every index, label and class, the same on every platform; 64 hex digits."""
        digest = hashlib.sha256()
        for plan in self.stages:
            bounds = np.array([plan.index, plan.novel_rows.start, plan.novel_rows.stop])
            for part in (bounds, plan.indices, plan.labels, plan.test_indices):
                _feed(digest, part)
        _feed(digest, self.class_order)
        _feed(digest, np.array([self.num_base]))
        return digest.hexdigest()

    def describe(self) -> list[dict[str, Any]]:
        """Counts of each stage as plain numbers, lists and dictionaries, for logs and reports.

        Returns:
            Per stage `stage`, `num_known`, `novel_classes` (original ids), `labeled`, `unlabeled`
            and `test` (images; `test` of all classes so far), `images_per_class` (original id to
            training images).
        """
        table, num_test = [], 0
        for plan in self.stages:
            num_test += len(plan.test_indices)
            num_labeled = int((plan.labels != UNLABELED).sum())
            classes = self.class_order[: plan.novel_rows.stop].tolist()
            table.append(
                {
                    "stage": plan.index,
                    "num_known": plan.num_known,
                    "novel_classes": classes[plan.novel_rows.start :],
                    "labeled": num_labeled,
                    "unlabeled": len(plan.labels) - num_labeled,
                    "test": num_test,
                    "images_per_class": dict(zip(classes, plan.class_counts.tolist(), strict=True)),
                }
            )
        return table


def row_table(class_order: np.ndarray) -> np.ndarray:
    """Row of each original class id up to the largest used, `UNLABELED` where it is not used."""
    table = np.full(class_order.max() + 1, UNLABELED)
    table[class_order] = np.arange(len(class_order))
    return table


def _feed(digest: Any, array: np.ndarray) -> None:
    digest.update(len(array).to_bytes(8, "little"))
    digest.update(np.ascontiguousarray(array, dtype="<i8").tobytes())
