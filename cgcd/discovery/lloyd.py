"""Lloyd's iteration from given centers, some of which may stay and some samples of which may stay.

Source: Lloyd, Least squares quantization in PCM, IEEE Transactions on Information Theory, 1982.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from cgcd.discovery.nearest import CHUNK, WORTHWHILE, NearestBesidePinned, NearestCenters


@dataclass(frozen=True)
class KMeansResult:
    """A partition of N samples into K clusters.

    Attributes:
        centroids: means of the clusters, (K, D) float32.
        labels: cluster of each sample, (N,) int64 in [0, K).
        inertia: sum of squared distances of the samples to the centroid of their cluster, >= 0.
        num_iterations: Lloyd steps over all samples that the kept start took.
    """

    centroids: Tensor
    labels: Tensor
    inertia: float
    num_iterations: int


class Held(NamedTuple):
    """Samples that never leave their cluster, as the means see them.

    Attributes:
        sums: of the held samples of each cluster, (K, D) float64.
        counts: how many they are, (K,) float64, >= 0.
    """

    sums: Tensor
    counts: Tensor


@torch.no_grad()
def lloyd(
    points: Tensor,
    centers: Tensor,
    *,
    num_pinned: int = 0,
    held: Held | None = None,
    max_iterations: int,
    tolerance: float = 0.0,
) -> KMeansResult:
    """Nearest center, mean of the members, and again, until no sample changes its cluster.

    On equal distances the first center takes the sample. A cluster without members takes the sample
    farthest from its own center, out of a cluster that is pinned or keeps others; if every sample
    lies on its center, it stays empty where it is.

    Args:
        points: samples that may move, (N, D) float.
        centers: first centers, (K, D).
        num_pinned: the first so many centers take samples and never move.
        held: samples that count in the means of their clusters and are not in `points`.
        max_iterations: steps at most, >= 1.
        tolerance: stop also when the squared shifts of all centers sum to no more than this, in
            squared units of the features.

    Returns:
        `labels` and `inertia` are those of `points` alone.
    """
    centers = centers.clone()
    if num_pinned and len(points) * (len(centers) - num_pinned) < WORTHWHILE:
        nearest = NearestBesidePinned(points, centers[:num_pinned])
    else:
        nearest = NearestCenters(points, len(centers))
    labels = torch.full((len(points),), -1, device=points.device)
    sums = torch.zeros(centers.shape, dtype=torch.float64, device=points.device)
    num_held = torch.zeros(len(centers), dtype=torch.float64, device=points.device)
    if held is not None:
        sums, num_held = held.sums.clone(), held.counts
    num_iterations = 0
    while num_iterations < max_iterations:
        num_iterations += 1
        old_labels, labels = labels, nearest(centers)
        counts = torch.bincount(labels, minlength=len(centers)) + num_held
        if bool((counts[num_pinned:] == 0).any()):
            _fill(points, centers, labels, counts, num_pinned)
        moved = torch.nonzero(labels != old_labels)[:, 0]
        if not len(moved):
            break
        came = moved[labels[moved] >= num_pinned]  # a mean that never moves needs no sum
        sums += _sums(points[came], labels[came], len(centers))
        if num_iterations > 1:
            left = moved[old_labels[moved] >= num_pinned]
            sums -= _sums(points[left], old_labels[left], len(centers))
        means = (sums / counts.where(counts > 0, 1.0)[:, None]).to(points)
        stays = (counts == 0)[:, None]
        stays[:num_pinned] = True
        old_centers, centers = centers, torch.where(stays, centers, means)
        if float((centers - old_centers).square().sum()) <= tolerance:
            break
    return KMeansResult(centers, labels, squared_error(points, centers, labels), num_iterations)


def squared_error(points: Tensor, centers: Tensor, labels: Tensor) -> float:
    """Sum of squared distances of samples to the centers they belong to."""
    parts = zip(points.split(CHUNK), labels.split(CHUNK), strict=True)
    return sum(float((x - centers[c]).square().sum(dtype=torch.float64)) for x, c in parts)


def sums_of_clusters(points: Tensor, labels: Tensor, num_clusters: int) -> Held:
    """Samples as held ones of the clusters that `labels` names, (N,) int64."""
    counts = torch.bincount(labels, minlength=num_clusters).double()
    return Held(_sums(points, labels, num_clusters), counts)


def _sums(points: Tensor, labels: Tensor, num_clusters: int) -> Tensor:
    sums = torch.zeros(num_clusters, points.shape[1], dtype=torch.float64, device=points.device)
    for x, c in zip(points.split(CHUNK), labels.split(CHUNK), strict=True):
        if x.is_cuda:  # index_add_ sums there in an order that changes from run to run
            chosen = torch.nn.functional.one_hot(c, num_clusters).double()
            sums += chosen.T @ x.double()
        else:
            sums.index_add_(0, c, x.double())
    return sums


def _fill(points: Tensor, centers: Tensor, labels: Tensor, counts: Tensor, num_pinned: int) -> None:
    """Moves the farthest samples to the empty clusters, in place."""
    distances = (points - centers[labels]).square().sum(1)
    empty = torch.nonzero(counts[num_pinned:] == 0)[:, 0] + num_pinned
    for cluster in empty.tolist():
        can_spare = (counts > 1)[labels] | (labels < num_pinned)
        left = torch.where(can_spare, distances, -1.0)
        farthest = int(left.argmax())
        if not float(left[farthest]) > 0:
            return
        counts[labels[farthest]] -= 1
        labels[farthest] = cluster
        counts[cluster] = 1
        distances[farthest] = 0.0
