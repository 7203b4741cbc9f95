"""What happened to each class: order of a confusion matrix, shares of groups, histograms, drift."""

from __future__ import annotations

import numpy as np

from cgcd.discovery.matching import UNMATCHED, Matching


def hungarian_order(counts: np.ndarray, matching: Matching) -> tuple[np.ndarray, np.ndarray]:
    """Rows and classes in an order that puts matched pairs on the diagonal of their table.

    Classes keep their order, so that base classes come first; classes without a row come last, and
    rows without a class behind all others, the largest first.

    Args:
        counts: samples by row and class, (R, C).
        matching: of these rows and classes.

    Returns:
        Places of all rows (R,) and of all classes (C,).
    """
    class_of_row = matching.class_of_row
    row_of_class = np.full(counts.shape[1], UNMATCHED)
    matched = np.flatnonzero(class_of_row != UNMATCHED)
    row_of_class[class_of_row[matched]] = matched
    has_row = row_of_class != UNMATCHED
    classes = np.concatenate([np.flatnonzero(has_row), np.flatnonzero(~has_row)])
    others = np.setdiff1d(np.arange(len(counts)), matched)
    others = others[np.argsort(-counts[others].sum(1), kind="stable")]
    return np.concatenate([row_of_class[has_row], others]), classes


def matched_class_accuracy(counts: np.ndarray, matching: Matching) -> np.ndarray:
    """Share of each class's samples in the row that stands for it, (C,); nan without a sample."""
    totals = counts.sum(0)
    rates = matching.hits(counts) / np.maximum(totals, 1)
    return np.where(totals > 0, rates, np.nan)


def own_row_accuracy(predictions: np.ndarray, targets: np.ndarray, num_base: int) -> np.ndarray:
    """Share of each base class's shown samples in its own row, (num_base,); nan without a sample.

    Args:
        predictions: rows, (N,).
        targets: true classes, negative where hidden, (N,).
        num_base: rows and classes that are the same.
    """
    shown = (targets >= 0) & (targets < num_base)
    totals = np.bincount(targets[shown], minlength=num_base)
    right = shown & (predictions == targets)
    hits = np.bincount(targets[right], minlength=num_base)
    return np.where(totals > 0, hits / np.maximum(totals, 1), np.nan)


def group_shares(groups: np.ndarray, num_groups: int = 3) -> np.ndarray:
    """Share of samples in each group, (num_groups,), sums to 1.

    Args:
        groups: number of each sample's group, (N,), N >= 1, in [0, num_groups).
    """
    return np.bincount(groups, minlength=num_groups) / len(groups)


def mean_by_group(values: np.ndarray, counts: np.ndarray, groups: np.ndarray, number: int):
    """Count-weighted mean of class values in each group of classes, (number,); nan for none.

    Args:
        values: of each class, (C,); nan where its count is 0.
        counts: samples of each class, (C,).
        groups: group of each class, (C,), in [0, number).
        number: of groups.
    """
    totals = np.bincount(groups, counts, minlength=number)
    sums = np.bincount(groups, np.where(counts > 0, values, 0.0) * counts, minlength=number)
    return np.where(totals > 0, sums / np.maximum(totals, 1), np.nan)


def cosine_rows(rows: np.ndarray, others: np.ndarray) -> np.ndarray:
    """Cosine of each row with the row of the same place, (R,); nan where one is all zeros or nan.

    Args:
        rows, others: (R, D) each.
    """
    products = np.einsum("rd,rd->r", rows, others, dtype=np.float64)
    lengths = np.linalg.norm(rows, axis=1).astype(np.float64) * np.linalg.norm(others, axis=1)
    valid = lengths > 0
    return np.where(valid, products / np.where(valid, lengths, 1.0), np.nan)
