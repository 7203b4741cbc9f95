"""Random draws that depend on their key alone."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

# Second halves of keys: numbers from 0 on are stages, what is drawn once for all has its own.
SHOWN_DRAW = 2**63  # images that show their label at continual stages
DIVISION_DRAW = 2**63 + 1  # which image of a class goes to which stage
RANK_DRAW = 2**63 + 2  # which class is the rarest
CLASS_DRAW = 2**63 + 3  # which classes are disjoint, and in which order they come
DISJOINT_CUT_DRAW = 2**63 + 4  # where the disjoint classes are cut into stages
BLURRY_CUT_DRAW = 2**63 + 5  # the same of the blurry ones
SCATTER_DRAW = 2**63 + 6  # how many scattered images of a class each stage gets
BASE_DRAW = 2**63 + 7  # how many of the base classes' rest each stage gets
HELD_OUT_DRAW = 2**63 + 8  # which labeled samples nobody trains on

_MARGIN = 2.0  # of candidates over what is taken, in standard deviations


def draw_without_replacement(
    counts: np.ndarray, taken: np.ndarray, seed: int, stream: int
) -> np.ndarray:
    """Random members of every group at once, from groups that lie one after another.

    Every member gets one word of a counter-based generator, and one sort of (group, word, place)
    ranks all groups; words too large to be chosen are left out before. The raw
    words are used because NumPy keeps them, unlike the draws made from them, the same in all
    versions.

    Args:
        counts: members of each group, (G,).
        taken: how many to draw of each group, at most its count, (G,).
        seed: first half of the generator's key, in [0, 2**64).
        stream: second half of the key, in [0, 2**64).

    Returns:
        Places drawn, group after group, in random order within a group, (sum(taken),) int64.
    """
    counts, taken = np.asarray(counts), np.asarray(taken)
    total = int(counts.sum())
    place_bits = np.uint64(total.bit_length())
    group_bits = len(counts).bit_length()
    words = _words(total, seed, stream) >> (place_bits + np.uint64(group_bits))
    places, sizes = _candidates(words, counts, taken, 64 - group_bits - int(place_bits))
    words = words[places] << place_bits
    words |= np.repeat(np.arange(len(counts), dtype=np.uint64) << np.uint64(64 - group_bits), sizes)
    words |= places.astype(np.uint64)
    words.sort()  # a group keeps its range, its members are now in random order
    chosen = words[first_of_each(sizes, taken)]
    return (chosen & ((np.uint64(1) << place_bits) - np.uint64(1))).astype(np.int64)


def divided(
    counts: np.ndarray, parts: Sequence[np.ndarray], seed: int, stream: int = DIVISION_DRAW
) -> list[np.ndarray]:
    """Random members of every group for several parts, no member in two of them.

    Args:
        counts: members of each group, the groups one after another, (G,).
        parts: how many of each group a part gets, (G,) each; together at most the counts.
        seed, stream: key of the generator.

    Returns:
        Places of each part, int64.
    """
    sizes = np.column_stack([*parts, counts - np.sum(parts, axis=0)])  # (G, P + 1), last: nowhere
    number = np.arange(sizes.shape[1], dtype=np.min_scalar_type(sizes.shape[1]))
    part_of = np.repeat(np.tile(number, len(sizes)), sizes.ravel())
    shuffled = draw_without_replacement(counts, counts, seed, stream)
    by_part = shuffled[np.argsort(part_of, kind="stable")]
    return np.split(by_part, np.cumsum(sizes.sum(0))[:-1])[:-1]


def cut_at_random(totals: np.ndarray, num_parts: int, seed: int, stream: int) -> np.ndarray:
    """Each total as a sum of `num_parts` numbers >= 0, cut at uniformly drawn points.

    Args:
        totals: whole numbers >= 0, (R,).
        num_parts: P >= 1.
        seed, stream: key of the generator.

    Returns:
        Parts of each total, (R, P) int64.
    """
    totals = np.asarray(totals, dtype=np.int64)
    num_cuts = num_parts - 1
    words = _words(len(totals) * num_cuts, seed, stream).reshape(len(totals), num_cuts)
    uniforms = (words >> np.uint64(11)) * 2.0**-53  # in [0, 1)
    cuts = np.sort((uniforms * (totals[:, None] + 1)).astype(np.int64), axis=1)
    ends = np.column_stack((np.minimum(cuts, totals[:, None]), totals))
    return np.diff(ends, prepend=0, axis=1)


def first_of_each(counts: np.ndarray, taken: np.ndarray) -> np.ndarray:
    """Places of the first `taken[g]` members of groups that lie one after another, int64."""
    gaps = (np.cumsum(counts) - counts) - (np.cumsum(taken) - taken)
    return np.repeat(gaps, taken) + np.arange(int(np.sum(taken)))


def _words(count: int, seed: int, stream: int) -> np.ndarray:
    key = np.array([seed, stream], dtype=np.uint64)
    return np.random.Philox(key=key).random_raw(count)


def _candidates(
    words: np.ndarray, counts: np.ndarray, taken: np.ndarray, bits: int
) -> tuple[np.ndarray, np.ndarray]:
    """Places, ascending, that hold the `taken[g]` smallest words of each group, and how many.

    The smallest words of a group mostly lie below a bound somewhat above the share that is taken; a
    group that falls short of it gives all its places: no draw hangs on the bound.
    """
    if 2 * taken.sum() > len(words):
        return np.arange(len(words)), counts
    wanted = np.where(taken > 0, taken + _MARGIN * np.sqrt(taken) + 2 * _MARGIN, 0.0)
    shares = np.minimum(wanted / np.maximum(counts, 1), 1.0)
    bounds = (shares * 2.0**bits).astype(np.uint64)  # at a share of 1 no word is as large
    places, sizes = _below(words, bounds, counts)
    short = sizes < taken
    if short.any():
        bounds[short] = np.uint64(1) << np.uint64(bits)
        places, sizes = _below(words, bounds, counts)
    return places, sizes


def _below(
    words: np.ndarray, bounds: np.ndarray, counts: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Places of the words below the bound of their group, and how many each group has."""
    places = np.flatnonzero(words < np.repeat(bounds, counts))
    return places, np.diff(np.searchsorted(places, np.concatenate(([0], np.cumsum(counts)))))
