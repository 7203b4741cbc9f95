"""How well a clustering and the true classes agree, without matching rows to classes.

Everywhere `predictions` and `targets` are (N,) integers >= 0, N >= 1, arrays or tensors.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from sklearn.metrics import adjusted_rand_score, normalized_mutual_info_score

from cgcd.discovery.matching import contingency, paired_ids


def normalized_mutual_information(predictions: Any, targets: Any) -> float:
    """Mutual information over the arithmetic mean of both entropies, in [0, 1]; 1 is the same."""
    rows, classes = paired_ids(predictions, targets)
    return float(normalized_mutual_info_score(classes, rows))


def adjusted_rand_index(predictions: Any, targets: Any) -> float:
    """Agreement on pairs of samples beyond chance, in [-0.5, 1]; 0 is chance, 1 the same."""
    rows, classes = paired_ids(predictions, targets)
    return float(adjusted_rand_score(classes, rows))


def purity(predictions: Any, targets: Any) -> float:
    """Share of samples in the majority class of their row, in (0, 1]; one row a sample gives 1."""
    rows, classes = paired_ids(predictions, targets)
    rows = np.unique(rows, return_inverse=True)[1]
    return float(contingency(rows, classes).max(1).sum() / len(classes))
