"""Random draws that depend on their key alone."""

from __future__ import annotations

import numpy as np


def draw_without_replacement(
    counts: np.ndarray, taken: np.ndarray, seed: int, stream: int
) -> np.ndarray:
    """Random members of every group at once, from groups that lie one after another.

    Every member gets one word of a counter-based generator, and one sort of (group, word, place)
    ranks all groups. The raw words are used because NumPy keeps them, unlike the draws made from
    them, the same in all versions.

    Args:
        counts: members of each group, (G,).
        taken: how many to draw of each group, at most its count, (G,).
        seed: first half of the generator's key, in [0, 2**64).
        stream: second half of the key, in [0, 2**64).

    Returns:
        Places drawn, group after group, in random order within a group, (sum(taken),) int64.
    """
    total = int(counts.sum())
    place_bits = total.bit_length()
    group_bits = len(counts).bit_length()
    words = np.random.Philox(key=np.array([seed, stream], dtype=np.uint64)).random_raw(total)
    words >>= np.uint64(place_bits + group_bits)
    words <<= np.uint64(place_bits)
    groups = np.arange(len(counts), dtype=np.uint64) << np.uint64(64 - group_bits)
    words |= np.repeat(groups, counts)
    words |= np.arange(total, dtype=np.uint64)
    words.sort()  # a group keeps its range of places, its members are now in random order
    gaps = (np.cumsum(counts) - counts) - (np.cumsum(taken) - taken)
    chosen = words[np.repeat(gaps, taken) + np.arange(int(taken.sum()))]
    return (chosen & np.uint64((1 << place_bits) - 1)).astype(np.int64)
