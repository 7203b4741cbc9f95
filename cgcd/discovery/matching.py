"""Which predicted row stands for which class: one optimal one-to-one assignment.

A discovered class has no name, so its row is credited with the class that lets the most samples
count as right over all rows together (Kuhn, The Hungarian method, 1955).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.optimize import linear_sum_assignment
from scipy.sparse import coo_array, csr_array, eye, hstack, issparse
from scipy.sparse.csgraph import min_weight_full_bipartite_matching

UNMATCHED = -1
"""The class of a row that stands for none."""

Counts = np.ndarray | csr_array
"""Samples by row and class, (R, C) integers >= 0: as an array, or its cells above 0 alone."""

_DENSE_CELLS = 2**20
"""Of a table; in larger ones most cells are 0, and only the others are looked at."""


@dataclass(frozen=True)
class Matching:
    """A one-to-one assignment of predicted rows to classes.

    Attributes:
        class_of_row: the class each row stands for, (R,) int64; `UNMATCHED` where it has none.
    """

    class_of_row: np.ndarray

    def classes(self, predictions: Any) -> np.ndarray:
        """The class each prediction stands for, (N,) int64.

        Rows without a class, and rows that came after the matching was made, give `UNMATCHED`.
        """
        rows = integer_ids("predictions", predictions)
        known = rows < len(self.class_of_row)
        found = np.full(len(rows), UNMATCHED, dtype=np.int64)
        found[known] = self.class_of_row[rows[known]]
        return found

    def hits(self, counts: Counts) -> np.ndarray:
        """Samples of each class that lie in the row standing for it, (C,) int64.

        Args:
            counts: the table the matching was made from, (R, C).
        """
        hits = np.zeros(counts.shape[1], dtype=np.int64)
        if issparse(counts):
            cells = counts.tocoo()
            right = self.class_of_row[cells.row] == cells.col
            hits[cells.col[right]] = cells.data[right]
            return hits
        rows = np.flatnonzero(self.class_of_row != UNMATCHED)
        classes = self.class_of_row[rows]
        hits[classes] = counts[rows, classes]
        return hits


def contingency(
    predictions: Any,
    targets: Any,
    num_rows: int | None = None,
    num_classes: int | None = None,
) -> np.ndarray:
    """How many samples of each class were predicted as each row, (R, C) int64.

    Args:
        predictions: predicted rows, (N,) integers >= 0, array or tensor.
        targets: true classes, (N,) integers >= 0, array or tensor.
        num_rows: R, larger than every prediction; the largest prediction plus one when None.
        num_classes: C, larger than every target; the largest target plus one when None.

    Raises:
        ValueError: if the input is empty, of unequal length, not one-dimensional integers, negative
            (a hidden label has no place in a metric) or beyond the given size.
    """
    return count_cells(predictions, targets, num_rows, num_classes).toarray()


def count_cells(
    predictions: Any,
    targets: Any,
    num_rows: int | None = None,
    num_classes: int | None = None,
) -> csr_array:
    """`contingency`, but only the cells above 0: at most as many as there are samples."""
    rows, classes = paired_ids(predictions, targets, num_rows, num_classes)
    num_rows = num_rows if num_rows is not None else int(rows.max()) + 1
    num_classes = num_classes if num_classes is not None else int(classes.max()) + 1
    ones = np.ones(len(rows), dtype=np.int64)
    return coo_array((ones, (rows, classes)), shape=(num_rows, num_classes)).tocsr()


def match(counts: Counts) -> Matching:
    """The assignment of rows to classes under which the most samples are right.

    Rows and classes may differ in number: what is left over stays unmatched, as does a row whose
    partner would share no sample with it. Where several assignments are optimal, the choice does
    not depend on the order of the rows, so renaming predicted ids changes no metric.

    Args:
        counts: samples by row and class, (R, C), >= 0.
    """
    if not issparse(counts):
        counts = np.asarray(counts)
        counts = csr_array(counts) if counts.size > _DENSE_CELLS else counts
    class_of_row = np.full(counts.shape[0], UNMATCHED, dtype=np.int64)
    rows, classes = np.flatnonzero(counts.sum(1)), np.flatnonzero(counts.sum(0))
    if rows.size:
        used = counts[rows][:, classes]
        if rows.size * classes.size <= _DENSE_CELLS:
            i, j = _pairs(used.toarray() if issparse(used) else used)
        else:
            i, j = _pairs_of_cells(used)
        class_of_row[rows[i]] = classes[j]
    class_of_row.setflags(write=False)
    return Matching(class_of_row)


def integer_ids(name: str, values: Any, limit: int | None = None) -> np.ndarray:
    """`values` as a (N,) int64 array of ids in [0, limit), N >= 1.

    Raises:
        ValueError: if they are anything else; the message begins with `name`.
    """
    ids = np.asarray(values)
    if ids.ndim != 1 or ids.size == 0:
        raise ValueError(f"{name}: shape {ids.shape} given, (N,) with N >= 1 wanted")
    if not np.issubdtype(ids.dtype, np.integer):
        raise ValueError(f"{name}: {ids.dtype} given, integers wanted; take the argmax of logits")
    num_negative = int((ids < 0).sum())
    if num_negative:
        raise ValueError(
            f"{name}: {num_negative} of {ids.size} are negative; leave out samples without a class"
        )
    if limit is not None and ids.max() >= limit:
        raise ValueError(f"{name}: {ids.max()} given, ids below {limit} wanted")
    return ids.astype(np.int64, copy=False)


def paired_ids(
    predictions: Any,
    targets: Any,
    num_rows: int | None = None,
    num_classes: int | None = None,
) -> tuple[np.ndarray, np.ndarray]:
    """Predictions and targets as (N,) int64 arrays of one length; see `contingency`."""
    rows = integer_ids("predictions", predictions, num_rows)
    classes = integer_ids("targets", targets, num_classes)
    if len(rows) != len(classes):
        raise ValueError(
            f"{len(rows)} predictions for {len(classes)} targets; give one prediction a sample"
        )
    return rows, classes


def _pairs(counts: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Rows and classes of an optimal assignment that share a sample."""
    order = _canonical_order(counts)
    counts = counts[order]
    i, j = linear_sum_assignment(counts, maximize=True)
    shared = counts[i, j] > 0
    return order[i[shared]], j[shared]


def _pairs_of_cells(counts: csr_array) -> tuple[np.ndarray, np.ndarray]:
    """The same, from the cells above 0.

    Each row gets a column of its own beside them, worth no sample, so that all rows find a partner.
    Time grows with the number of rows, so the side of which there are fewer plays the rows.
    """
    order = _canonical_order_of_cells(counts)
    counts = counts[order]
    is_tall = counts.shape[0] > counts.shape[1]
    few = (counts.T if is_tall else counts).tocsr()
    few.data = few.data + 1  # against the 1 of a column of its own, for a 0 would be no choice
    choices = hstack([few, eye(few.shape[0], dtype=np.int64)], format="csr")
    i, j = min_weight_full_bipartite_matching(choices, maximize=True)
    shared = j < few.shape[1]
    i, j = i[shared], j[shared]
    rows, classes = (j, i) if is_tall else (i, j)
    return order[rows], classes


def _canonical_order(counts: np.ndarray) -> np.ndarray:
    """An order of the rows that depends on their contents alone; equal rows keep theirs."""
    # big-endian bytes of counts >= 0 sort like the numbers, a whole row in one comparison
    as_bytes = np.ascontiguousarray(counts, dtype=">i8")
    return np.argsort(as_bytes.view(np.dtype((np.void, 8 * counts.shape[1])))[:, 0], kind="stable")


def _canonical_order_of_cells(counts: csr_array) -> np.ndarray:
    """The same kind of order, from the cells above 0."""
    counts.sort_indices()
    bounds = zip(counts.indptr[:-1], counts.indptr[1:], strict=True)
    contents = [(counts.indices[a:b].tobytes(), counts.data[a:b].tobytes()) for a, b in bounds]
    return np.array(sorted(range(len(contents)), key=contents.__getitem__))
