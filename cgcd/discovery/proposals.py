"""Which samples of a stage may be of new classes: four proposals by name, from features alone."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from cgcd.discovery.directions import least_familiar
from cgcd.discovery.kmeans import kmeans, pinned_kmeans

PROPOSALS = ("pinned", "cluster_all", "reject", "farthest")


@dataclass(frozen=True)
class Proposal:
    """A class for every sample, to be looked at again by a classifier.

    Attributes:
        labels: (N,) int64; below K the nearest known class, from K on a new one. Each new
            class has a sample.
        centers: of the new classes, (M, D) float32.
    """

    labels: Tensor
    centers: Tensor


@torch.no_grad()
def propose(
    points: Tensor,
    known_centers: Tensor,
    num_new: int,
    proposal: str = "pinned",
    *,
    rejected: Tensor | None = None,
    seed: int = 0,
    num_starts: int = 10,
    max_iterations: int = 50,
) -> Proposal:
    """A first guess at the new classes of a stage.

    - `pinned`: k-means beside the known means, which take samples and never move.
    - `cluster_all`: k-means of the whole stage into M clusters, all of them new; without another
      look that leaves nothing to the known classes.
    - `reject`: k-means of what a novelty score rejects; `pinned` where that is too little.
    - `farthest`: k-means into K + M clusters; the M least like a known mean are new. A start for
      rows of a head; as a guess at members it misses those whose class was cut in parts.

    Args:
        points: features of the stage, (N, D).
        known_centers: means of the known classes, (K, D), K >= 1.
        num_new: M, in [0, N].
        proposal: one of `PROPOSALS`.
        rejected: for `reject`, whether a sample looks novel, (N,) bool.
        seed, num_starts, max_iterations: of k-means.

    Raises:
        ValueError: for an unknown name, too few samples, or `reject` without `rejected`.

    Source: `cluster_all`: VB-CGCD, ICML 2025, arXiv 2507.17382; `farthest`: Happy, NeurIPS 2024,
    arXiv 2410.06535; the others are ours.
    """
    if proposal not in PROPOSALS:
        raise ValueError(f"proposal is {proposal!r}; wanted one of {', '.join(PROPOSALS)}")
    if not 0 <= num_new <= len(points):
        raise ValueError(f"{num_new} new classes among {len(points)} samples; ask for 0 to all")
    if proposal == "reject" and rejected is None:
        raise ValueError("proposal is 'reject' and rejected is missing; say which samples look new")
    known = known_centers.to(points)
    labels = _nearest(points, known)
    if num_new == 0:
        return Proposal(labels, points[:0].float())
    runs = {"seed": seed, "num_starts": num_starts, "max_iterations": max_iterations}
    if proposal == "cluster_all":
        found = kmeans(points, num_new, **runs)
        labels, centers = len(known) + found.labels, found.centroids
    elif proposal == "reject" and rejected is not None and int(rejected.sum()) >= num_new:
        found = kmeans(points[rejected], num_new, **runs)
        labels[rejected] = len(known) + found.labels
        centers = found.centroids
    elif proposal == "farthest" and len(known) + num_new <= len(points):
        found = kmeans(points, len(known) + num_new, **runs)
        chosen = least_familiar(found.centroids, known.float(), num_new)
        for place, cluster in enumerate(chosen.tolist()):
            labels[found.labels == cluster] = len(known) + place
        centers = found.centroids[chosen]
    else:
        centers = pinned_kmeans(points, known, num_new, **runs)
        labels = _nearest(points, torch.cat([known, centers.to(known)]))
    return Proposal(_with_members(labels, points, centers, len(known)), centers)


def _with_members(labels: Tensor, points: Tensor, centers: Tensor, known: int) -> Tensor:
    """Labels in which a center that lost its samples to an equal one has the nearest of them."""
    counts = labels.bincount(minlength=known + len(centers))
    for c in (counts[known:] == 0).nonzero()[:, 0].tolist():
        away = (points - centers[c].to(points)).square().sum(1)
        can_go = (labels < known) | (counts[labels] > 1)
        nearest = int(torch.where(can_go, away, torch.inf).argmin())
        counts[labels[nearest]] -= 1
        labels[nearest] = known + c
        counts[known + c] = 1
    return labels


def _nearest(points: Tensor, centers: Tensor) -> Tensor:
    rows, centers = points.double(), centers.double()
    return (centers.square().sum(1) / 2 - rows @ centers.T).argmin(1)
