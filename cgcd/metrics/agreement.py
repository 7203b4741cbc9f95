"""How well a clustering and the true classes agree, without matching rows to classes.

Everywhere `predictions` and `targets` are (N,) integers >= 0, N >= 1, arrays or tensors.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from scipy.sparse import csr_array

from cgcd.discovery.matching import count_cells, paired_ids
from cgcd.metrics.tables import mutual_information, rand_index


def normalized_mutual_information(predictions: Any, targets: Any) -> float:
    """Mutual information over the arithmetic mean of both entropies, in [0, 1]; 1 is the same."""
    return mutual_information(_table(predictions, targets))


def adjusted_rand_index(predictions: Any, targets: Any) -> float:
    """Agreement on pairs of samples beyond chance, in [-0.5, 1]; 0 is chance, 1 the same."""
    return rand_index(_table(predictions, targets))


def purity(predictions: Any, targets: Any) -> float:
    """Share of samples in the majority class of their row, in (0, 1]; one row a sample gives 1."""
    counts = _table(predictions, targets)
    return float(counts.max(axis=1).sum() / counts.sum())


def _table(predictions: Any, targets: Any) -> csr_array:
    """Samples by row and class, both renumbered without gaps."""
    ids = paired_ids(predictions, targets)
    return count_cells(*(np.unique(values, return_inverse=True)[1] for values in ids))
