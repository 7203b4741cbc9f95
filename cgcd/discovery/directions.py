"""First directions for the rows of novel classes: the clusters least like any known class.

Source: Ma et al., Happy, NeurIPS 2024, arXiv 2410.06535, equation 3, clustering-guided
initialization.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from cgcd.discovery.kmeans import kmeans

DUPLICATE_COSINE = 0.9
"""Two centroids with a larger cosine are taken for parts of one class."""


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


def _distinct(directions: Tensor, num_chosen: int, duplicate_cosine: float) -> list[int]:
    """The first unit rows that are no duplicate of an earlier choice, then the rest, ascending."""
    cosines = directions @ directions.T
    chosen: list[int] = []
    skipped: list[int] = []
    for row in range(len(directions)):
        is_duplicate = bool((cosines[row, chosen] > duplicate_cosine).any())
        (skipped if is_duplicate else chosen).append(row)
    return sorted((chosen + skipped)[:num_chosen])
