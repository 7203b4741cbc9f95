"""What a category holds: its majority class, its nearest neighbor, samples worth looking at."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

NONE = -1
"""No class, no category."""

_SPARE, _ROUNDS = 8, 4  # of the subspace iteration
_MULTIPLIERS = (np.uint64(0xBF58476D1CE4E5B9), np.uint64(0x94D049BB133111EB))


def majority(counts: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The class that most samples of a category are of, and their share of it.

    Args:
        counts: samples by category and class, (K, C).

    Returns:
        Classes (K,), `NONE` for an empty category, and shares (K,) in (0, 1], nan for an empty one.
    """
    if not counts.shape[1]:
        return np.full(len(counts), NONE), np.full(len(counts), np.nan)
    sizes = counts.sum(1)
    best = np.where(sizes > 0, counts.argmax(1), NONE)
    return best, np.where(sizes > 0, counts.max(1) / np.maximum(sizes, 1), np.nan)


def nearest_rows(means: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The other row of the largest cosine, and that cosine.

    Args:
        means: any scale, (K, D); a row of zeros is nobody's neighbor and has none.

    Returns:
        Rows (K,), `NONE` where there is none, and cosines (K,), nan there.
    """
    lengths = np.linalg.norm(means, axis=1, keepdims=True)
    units = means / np.where(lengths > 0, lengths, 1.0)
    cosines = units @ units.T
    empty = lengths[:, 0] == 0
    cosines[:, empty] = -np.inf
    np.fill_diagonal(cosines, -np.inf)
    if not len(means):
        return np.zeros(0, np.int64), np.zeros(0)
    best = cosines.max(1)
    alone = empty | ~np.isfinite(best)
    return np.where(alone, NONE, cosines.argmax(1)), np.where(alone, np.nan, best)


def hashes(ids: np.ndarray) -> np.ndarray:
    """A well-mixed number of each id, (N,) uint64: an order that depends on the ids alone.

    Source: the finalizer of splitmix64, Steele, Lea and Flood, OOPSLA 2014.
    """
    mixed = np.asarray(ids, dtype=np.int64).astype(np.uint64) + np.uint64(0x9E3779B97F4A7C15)
    mixed = (mixed ^ (mixed >> np.uint64(30))) * _MULTIPLIERS[0]
    mixed = (mixed ^ (mixed >> np.uint64(27))) * _MULTIPLIERS[1]
    return mixed ^ (mixed >> np.uint64(31))


def galleries(
    categories: np.ndarray,
    keys: Mapping[str, np.ndarray],
    wanted: Mapping[str, int],
    number: int,
) -> list[dict[str, list[int]]]:
    """Places of a few samples of each category, in several orders; no place twice a category.

    Args:
        categories: of each sample, (N,) in [0, number).
        keys: by name the order in which samples are taken, smallest first, (N,) each; samples with
            an infinite key are not taken by it.
        wanted: how many to take by each name, in this order.
        number: of categories K.

    Returns:
        For each category the places by name.
    """
    order = np.argsort(categories, kind="stable")
    bounds = np.searchsorted(categories[order], np.arange(number + 1))
    found: list[dict[str, list[int]]] = []
    for category in range(number):
        members = order[bounds[category] : bounds[category + 1]]
        taken: set[int] = set()
        chosen: dict[str, list[int]] = {}
        for name, most in wanted.items():
            values = keys[name][members]
            few = most + len(taken)  # enough, whatever was taken before
            if few < len(members):
                candidates = np.argpartition(values, few - 1)[:few]
            else:
                candidates = np.arange(len(members))
            ranked = candidates[np.lexsort((members[candidates], values[candidates]))]
            places = [int(members[i]) for i in ranked if values[i] < np.inf]
            chosen[name] = [place for place in places if place not in taken][:most]
            taken.update(chosen[name])
        found.append(chosen)
    return found


def principal_components(features: np.ndarray, most: int) -> tuple[np.ndarray, float]:
    """Centered features in the directions of their largest variance, and the share they explain.

    Good to look at and cheap: a few rounds of subspace iteration from a fixed start, not the exact
    decomposition. Signs are fixed: the largest entry of a direction is positive. Nothing is turned
    where the features have no more than `most` columns.

    Args:
        features: (M, D), M >= 1.
        most: columns wanted, >= 1.

    Returns:
        (M, min(D, most)) float32, and a share in [0, 1].

    Source: Halko, Martinsson and Tropp, SIAM Review 2011, randomized subspace iteration.
    """
    if features.shape[1] <= most:
        return features.astype(np.float32), 1.0
    centered = (features - features.mean(0)).astype(np.float32)
    start = np.random.default_rng(0).standard_normal((features.shape[1], most + _SPARE))
    basis = np.linalg.qr(start.astype(np.float32))[0]
    for _ in range(_ROUNDS):
        basis = np.linalg.qr(centered.T @ (centered @ basis))[0]
    projected = (centered @ basis).astype(np.float64)
    variances, turns = np.linalg.eigh(projected.T @ projected)
    kept = turns[:, ::-1][:, :most]
    directions = basis @ kept
    tips = np.abs(directions).argmax(0)
    signs = np.where(directions[tips, np.arange(most)] < 0, -1.0, 1.0)
    total = float(np.einsum("md,md->", centered, centered, dtype=np.float64))
    share = float(variances[::-1][:most].sum()) / max(total, np.finfo(np.float64).tiny)
    return (projected @ kept * signs).astype(np.float32), float(np.clip(share, 0.0, 1.0))
