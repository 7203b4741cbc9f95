"""Classes of unequal frequency: an exponential profile laid over the numbers of a schedule."""

from __future__ import annotations

import numpy as np

from scenarios.draws import RANK_DRAW, draw_without_replacement


def class_ranks(num_classes: int, seed: int) -> np.ndarray:
    """A random rank of each class, 0 for the most frequent, (K,) int64."""
    everything = np.array([num_classes])
    return draw_without_replacement(everything, everything, seed, RANK_DRAW)


def tail_factors(ranks: np.ndarray, imbalance: float) -> np.ndarray:
    """Share of its images that a class keeps: imbalance ** (-rank / (K - 1)).

    Args:
        ranks: different whole numbers, of which only the order counts, (K,).
        imbalance: most frequent over rarest class, >= 1; at 1 every class keeps all.

    Returns:
        In [1 / imbalance, 1], (K,); 1 for a single class.

    Source: the exponential profile n_k = n_max * ratio ** (-k / (K - 1)) of Cui et al.,
    Class-Balanced Loss, CVPR 2019, arXiv 1901.05555.
    """
    places = np.argsort(np.argsort(ranks))
    return float(imbalance) ** (-places / max(len(ranks) - 1, 1))


def thinned(taken: np.ndarray, factors: np.ndarray) -> np.ndarray:
    """floor(taken * factor) images, at least 1 where there was one; same shape, int64."""
    kept = np.floor(taken * factors * (1 + 1e-12)).astype(np.int64)  # 400 / 100 is 4, not 3.99...
    return np.minimum(np.maximum(kept, 1), taken)
