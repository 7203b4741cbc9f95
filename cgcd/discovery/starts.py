"""The best of several k-means starts, found on a part of the samples where there are many."""

from __future__ import annotations

import math

import numpy as np
import torch
from torch import Tensor

from cgcd.discovery.lloyd import Held, KMeansResult, lloyd
from cgcd.discovery.plus_plus import SampleDistances, num_candidates, plus_plus
from cgcd.discovery.swaps import swapped

SAMPLES_PER_CENTER = 25
"""Samples for each center on which the starts compete."""
SMALLEST_PART = 4096
"""The starts compete on no fewer samples; with less than twice as many, on all."""


def best_start(
    points: Tensor,
    first: Tensor,
    num_new: int,
    *,
    seed: int,
    num_starts: int,
    max_iterations: int,
    tolerance: float,
    num_pinned: int = 0,
    held: Held | None = None,
) -> KMeansResult:
    """The partition of least inertia, from `first` centers and `num_new` drawn ones.

    A start is greedy k-means++, one tried swap for each new center, then Lloyd's iteration. Among
    many samples all that happens on a random part of them, and only the best start goes on with
    all; starts differ more than parts do, and a start on a part costs a fraction.

    Args:
        points: samples that may move, about their mean, (N, D), N >= max(num_new, 1).
        first: centers that are there already, (K, D).
        num_new: centers to draw, >= 0, K + num_new >= 1.
        seed: of all draws.
        num_starts: >= 1.
        max_iterations: of Lloyd on the part and on all, >= 1.
        tolerance: share of the mean variance of a feature, see `cgcd.discovery.kmeans.TOLERANCE`.
        num_pinned: how many of `first` never move.
        held: samples that count in the means, see `lloyd`.
    """
    if num_starts < 1 or max_iterations < 1 or not tolerance >= 0:
        raise ValueError(
            f"num_starts is {num_starts}, max_iterations {max_iterations}, tolerance {tolerance}; "
            "wanted at least 1, 1 and 0"
        )
    generator = np.random.default_rng(seed)
    limit = tolerance * float(points.square().mean(dtype=torch.float64))

    def settle(samples: Tensor, centers: Tensor, weights: Held | None) -> KMeansResult:
        return lloyd(
            samples,
            centers,
            num_pinned=num_pinned,
            held=weights,
            max_iterations=max_iterations,
            tolerance=limit,
        )

    if num_new == 0:
        return settle(points, first, held)
    size = max(SMALLEST_PART, SAMPLES_PER_CENTER * (len(first) + num_new))
    is_part = len(points) >= 2 * size
    part, held_there = points, held
    if is_part:
        rows = np.sort(generator.choice(len(points), size, replace=False))
        part = points[torch.as_tensor(rows, device=points.device)]
        if held is not None:
            share = size / len(points)
            held_there = Held(held.sums * share, held.counts * share)

    shape = (2, num_new, num_candidates(num_new))
    distances = SampleDistances(part, first, num_starts * math.prod(shape))

    def started() -> KMeansResult:
        draws = generator.random(shape)
        centers = torch.cat([first, part[plus_plus(distances, draws[0])]])
        return settle(part, swapped(distances, centers, len(first), draws[1]), held_there)

    best = min((started() for _ in range(num_starts)), key=lambda found: found.inertia)
    return settle(points, best.centroids, held) if is_part else best
