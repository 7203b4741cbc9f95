"""k-means, and first directions for the rows of novel classes.

Source: Ma et al., Happy, NeurIPS 2024, arXiv 2410.06535, equation 3, clustering-guided
initialization.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from sklearn.cluster import KMeans
from torch import Tensor
from torch.nn import functional as F

DUPLICATE_COSINE = 0.9
"""Two centroids with a larger cosine are taken for parts of one class."""


@dataclass(frozen=True)
class KMeansResult:
    """A partition of N samples into K clusters.

    Attributes:
        centroids: means of the clusters, (K, D) float32.
        labels: cluster of each sample, (N,) int64 in [0, K).
        inertia: sum of squared distances to the nearest centroid, >= 0.
    """

    centroids: Tensor
    labels: Tensor
    inertia: float


def kmeans(features: Any, num_clusters: int, seed: int = 0, num_starts: int = 1) -> KMeansResult:
    """Lloyd's k-means from k-means++ starts, the best of `num_starts`, by scikit-learn.

    Args:
        features: array or tensor on any device, (N, D); results lie on the same device.
        num_clusters: 1 <= K <= N.
        seed: decides the starts.
        num_starts: named because scikit-learn's own default fell from 10 to 1 in version 1.4, and
            with it the result of code that leaves it out.
    """
    points = torch.as_tensor(features).detach().float()
    if points.ndim != 2:
        raise ValueError(f"features: shape {tuple(points.shape)} given, (N, D) wanted")
    if not 1 <= num_clusters <= len(points):
        raise ValueError(
            f"{num_clusters} clusters from {len(points)} samples; "
            "ask for at least one cluster and no more than there are samples"
        )
    fitted = KMeans(
        num_clusters, init="k-means++", n_init=num_starts, algorithm="lloyd", random_state=seed
    ).fit(points.cpu().numpy())
    return KMeansResult(
        torch.as_tensor(fitted.cluster_centers_, device=points.device),
        torch.as_tensor(fitted.labels_, device=points.device).long(),
        float(fitted.inertia_),
    )


def familiarity(centroids: Tensor, known_directions: Tensor) -> Tensor:
    """Largest cosine of each centroid with any known direction, (M,) in [-1, 1].

    Args:
        centroids: (M, D), of any length > 0.
        known_directions: rows of the head before it grows, (K, D), K >= 1, of any length > 0.
    """
    if len(known_directions) == 0 or centroids.shape[1:] != known_directions.shape[1:]:
        raise ValueError(
            f"known_directions: shape {tuple(known_directions.shape)} given, "
            f"(K, {centroids.shape[-1]}) with K >= 1 wanted"
        )
    return (F.normalize(centroids, dim=1) @ F.normalize(known_directions, dim=1).T).amax(1)


def least_familiar(centroids: Tensor, known_directions: Tensor, num_novel: int) -> Tensor:
    """Indices of the centroids least like any known direction, least first, (num_novel,) int64.

    Args:
        centroids: (M, D).
        known_directions: (K, D), K >= 1.
        num_novel: how many to choose, 0 <= num_novel <= M.
    """
    if not 0 <= num_novel <= len(centroids):
        raise ValueError(f"{num_novel} of {len(centroids)} centroids asked for; choose 0 to all")
    return familiarity(centroids, known_directions).argsort(stable=True)[:num_novel]


@torch.no_grad()
def novel_directions(
    features: Tensor,
    known_directions: Tensor,
    num_novel: int,
    seed: int = 0,
    num_starts: int = 10,
    deduplicate: bool = False,
    duplicate_cosine: float = DUPLICATE_COSINE,
) -> Tensor:
    """First directions of novel classes: the clusters of a stage least like any known class.

    Args:
        features: all samples of the stage by the previous model, (N, D), N >= K + num_novel.
        known_directions: rows of the head before it grows, (K, D), K >= 1.
        num_novel: >= 0.
        seed: decides the starts of k-means.
        num_starts: starts of k-means; the paper does not say. 10 was the default of the
            scikit-learn versions before 1.4, 1 is that of later ones.
        deduplicate: pass over a cluster that looks like part of one already chosen; with many
            samples a novel class and few a known one, several of the least familiar clusters can
            lie in the same novel class. A cluster passed over is taken after all if the rest do
            not suffice. Since the rest includes the clusters of known classes, keep it off unless
            novel classes are missed.
        duplicate_cosine: the cosine above which two centroids are such parts, in [-1, 1].

    Returns:
        Unit rows in ascending familiarity, (num_novel, D) float32 on the device of `features`.

    Source: Ma et al., Happy, NeurIPS 2024, arXiv 2410.06535, equation 3. Deduplication is ours.
    """
    features = torch.as_tensor(features).float()
    known_directions = torch.as_tensor(known_directions).to(features)
    if num_novel == 0:
        return features.new_empty(0, known_directions.shape[1])
    num_clusters = len(known_directions) + num_novel
    clusters = kmeans(F.normalize(features, dim=1), num_clusters, seed, num_starts)
    centroids = F.normalize(clusters.centroids, dim=1)
    if not deduplicate:
        return centroids[least_familiar(centroids, known_directions, num_novel)]
    ranked = centroids[least_familiar(centroids, known_directions, num_clusters)]
    return ranked[_distinct(ranked, num_novel, duplicate_cosine)]


@torch.no_grad()
def pinned_kmeans(
    features: Tensor,
    pinned: Tensor,
    num_new: int,
    seed: int = 0,
    num_starts: int = 10,
    max_iterations: int = 100,
) -> Tensor:
    """New centers beside centers that stay: k-means on what the known classes do not explain.

    Args:
        features: (N, D), N >= num_new.
        pinned: centers of known classes, (K, D); they take samples and never move.
        num_new: centers to find, >= 0.
        seed: decides the starts, which are k-means++ draws given all centers so far.
        num_starts: starts, of which the one with the least inertia is kept.
        max_iterations: Lloyd steps at most.

    Returns:
        New centers, (num_new, D) on the device of `features`.
    """
    features = torch.as_tensor(features).float()
    pinned = torch.as_tensor(pinned).to(features)
    if not 0 <= num_new <= len(features):
        raise ValueError(f"{num_new} new centers from {len(features)} samples; ask for 0 to all")
    if num_new == 0:
        return pinned[:0]
    generator = np.random.default_rng(seed)
    best, least = pinned[:0], float("inf")
    for _ in range(num_starts):
        centers = _spread_out(features, pinned, num_new, generator)
        owner = None
        for _ in range(max_iterations):
            distances, nearest = _squared_distances(features, centers).min(1)
            if owner is not None and torch.equal(nearest, owner):
                break
            owner = nearest
            for c in range(len(pinned), len(centers)):
                members = features[owner == c]
                if len(members):
                    centers[c] = members.mean(0)
        inertia = float(distances.sum())
        if inertia < least:
            best, least = centers[len(pinned) :], inertia
    return best


def _spread_out(
    features: Tensor, pinned: Tensor, num_new: int, generator: np.random.Generator
) -> Tensor:
    """The pinned centers, then samples drawn by squared distance to the centers so far."""
    centers = pinned.clone()
    for _ in range(num_new):
        if len(centers):
            weight = _squared_distances(features, centers).amin(1).double().cpu().numpy()
        else:
            weight = np.ones(len(features))
        total = weight.sum()
        weight = weight / total if total > 0 else np.full(len(features), 1 / len(features))
        centers = torch.cat([centers, features[generator.choice(len(features), p=weight)][None]])
    return centers


def _squared_distances(features: Tensor, centers: Tensor) -> Tensor:
    return torch.cdist(features, centers).square()


def _distinct(directions: Tensor, num_chosen: int, duplicate_cosine: float) -> list[int]:
    """The first unit rows that are no duplicate of an earlier choice, then the rest, ascending."""
    cosines = directions @ directions.T
    chosen: list[int] = []
    skipped: list[int] = []
    for row in range(len(directions)):
        is_duplicate = bool((cosines[row, chosen] > duplicate_cosine).any())
        (skipped if is_duplicate else chosen).append(row)
    return sorted((chosen + skipped)[:num_chosen])
