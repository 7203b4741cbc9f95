"""Clusters for many numbers of classes at the price of a few, and the search over those numbers.

A partition into k + 1 clusters starts from the one into k and one more center, so that the curve
of an index over k is smooth and each k costs a few Lloyd steps instead of several starts. The
search is coarse to fine.

Source: ours, after Likas, Vlassis and Verbeek, The global k-means algorithm, Pattern Recognition,
2003, with greedy k-means++ draws (Arthur and Vassilvitskii, 2007) in place of trying every sample.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from cgcd.discovery.lloyd import lloyd
from cgcd.discovery.plus_plus import num_candidates

GRID = 25
"""Candidates of the coarse search."""
EVERY = 40
"""So many candidates are few enough to try them all."""
LLOYD_STEPS = 10
"""Steps at most after each growth."""


@dataclass(frozen=True)
class Partition:
    """N points at their nearest of K centers.

    Attributes:
        centers: (K, D).
        labels: nearest center of each point, (N,) int64.
        distances: squared distance to it, (N,), >= 0.
    """

    centers: Tensor
    labels: Tensor
    distances: Tensor

    @property
    def inertia(self) -> float:
        return float(self.distances.double().sum())


class GrowingClusters:
    """Partitions of the same points into ever more clusters, each grown from a smaller one.

    Args:
        points: (N, D).
        centers: the first centers, (S, D), S >= 1.
        num_pinned: the first so many of them never move.
        seed: decides the draws.
        stride: clusters are grown from S, S + stride, S + 2 stride ..., whichever is next below; so
            a partition never depends on what was asked for before.
    """

    def __init__(
        self,
        points: Tensor,
        centers: Tensor,
        num_pinned: int = 0,
        seed: int = 0,
        stride: int = 1,
    ) -> None:
        self.points = points
        self.num_pinned = num_pinned
        self.seed = seed
        self.stride = stride
        self._start = len(centers)
        self._partitions = {len(centers): self._settled(centers)}

    def at(self, num_centers: int) -> Partition:
        """The partition into `num_centers`, not below the number of the first centers."""
        partition = self._partitions[self._start]
        for size in [*range(self._start, num_centers, self.stride), num_centers]:
            if size not in self._partitions:
                self._partitions[size] = self._grown(partition, size)
            partition = self._partitions[size]
        return partition

    def _grown(self, partition: Partition, num_centers: int) -> Partition:
        centers, distances = partition.centers, partition.distances
        for size in range(len(centers), num_centers):
            generator = np.random.default_rng([self.seed, size])
            center = _greedy_draw(self.points, distances, size + 1, generator)
            centers = torch.cat([centers, center[None]])
            distances = torch.minimum(distances, (self.points - center).square().sum(1))
        return self._settled(centers)

    def _settled(self, centers: Tensor) -> Partition:
        found = lloyd(self.points, centers, num_pinned=self.num_pinned, max_iterations=LLOYD_STEPS)
        return nearest(self.points, found.centroids)


def nearest(points: Tensor, centers: Tensor) -> Partition:
    """The points at their nearest centers."""
    distances, labels = squared_distances(points, centers).min(1)
    return Partition(centers, labels, distances)


def squared_distances(points: Tensor, centers: Tensor) -> Tensor:
    """Of each point to each center, (N, K), >= 0."""
    distances = torch.addmm(centers.square().sum(1)[None], points, centers.T, alpha=-2)
    return distances.add_(points.square().sum(1)[:, None]).clamp_min_(0)


def coarse_step(count: int) -> int:
    """Distance of the candidates of the coarse search over 0 .. count; 1 for few of them."""
    return 1 if count < EVERY else -(-count // GRID)


def coarse_to_fine(
    score: Callable[[int], float], low: int, high: int, step: int
) -> dict[int, float]:
    """Scores of the candidates tried in low .. high, ascending; the best one is among them.

    First every `step`-th and both ends, then ever finer ones around the best until its neighbors
    are known.
    """
    scores = {k: score(k) for k in [*range(low, high, step), high]}
    while step > 1:
        best, width = best_candidate(scores), step
        step = -(-step // 4)
        around = range(max(low, best - width), min(high, best + width) + 1)
        for k in sorted({*around[::step], best - 1, best + 1} & set(around)):
            if k not in scores:
                scores[k] = score(k)
    return dict(sorted(scores.items()))


def best_candidate(scores: dict[int, float]) -> int:
    """The candidate of the largest score, the smallest of equal ones."""
    return min(scores, key=lambda k: (-scores[k], k))


def _greedy_draw(
    points: Tensor, distances: Tensor, num_centers: int, generator: np.random.Generator
) -> Tensor:
    """A point drawn by squared distance: of a few draws the one that lowers the inertia most."""
    weight = distances.double().numpy()
    total = weight.sum()
    weight = weight / total if total > 0 else np.full(len(weight), 1 / len(weight))
    drawn = points[generator.choice(len(points), size=num_candidates(num_centers), p=weight)]
    gained = torch.minimum(squared_distances(points, drawn), distances[:, None]).sum(0)
    return drawn[int(gained.argmin())]
