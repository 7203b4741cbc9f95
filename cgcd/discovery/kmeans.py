"""k-means: plain, beside centers that stay, and with labels.

All three take the best of several starts: greedy k-means++, tried swaps, Lloyd's iteration; where
there are many samples, the starts compete on a part of them and only the best goes on with all.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from cgcd.discovery.lloyd import KMeansResult, squared_error, sums_of_clusters
from cgcd.discovery.starts import best_start
from cgcd.vocabulary import UNLABELED

MAX_ITERATIONS = 300
"""Lloyd steps at most; scikit-learn's default."""
TOLERANCE = 1e-4
"""Stop when the squared shifts of all centers sum to this share of the mean variance of a feature;
scikit-learn's definition and default."""


def kmeans(
    features: Any,
    num_clusters: int,
    seed: int = 0,
    num_starts: int = 1,
    max_iterations: int = MAX_ITERATIONS,
    tolerance: float = TOLERANCE,
) -> KMeansResult:
    """Clusters of the samples: the best of `num_starts` k-means++ starts.

    Args:
        features: finite, array or tensor on any device, (N, D); results lie on the same device.
        num_clusters: 1 <= K <= N.
        seed: decides the starts; the same seed gives the same bits.
        num_starts: >= 1; published code often leaves it to scikit-learn, whose default fell from
            10 to 1 in version 1.4.
        max_iterations: Lloyd steps at most, >= 1.
        tolerance: see `TOLERANCE`; 0 goes on until no sample changes its cluster.
    """
    points, origin, device = _centered(features)
    if not 1 <= num_clusters <= len(points):
        raise ValueError(
            f"{num_clusters} clusters from {len(points)} samples; "
            "ask for at least one cluster and no more than there are samples"
        )
    found = best_start(
        points,
        points[:0],
        num_clusters,
        seed=seed,
        num_starts=num_starts,
        max_iterations=max_iterations,
        tolerance=tolerance,
    )
    return _finished(found, origin, device)


def pinned_kmeans(
    features: Any,
    pinned: Any,
    num_new: int,
    seed: int = 0,
    num_starts: int = 10,
    max_iterations: int = 100,
    tolerance: float = TOLERANCE,
) -> Tensor:
    """New centers beside centers that stay: k-means on what the known classes do not explain.

    Args:
        features: finite, array or tensor on any device, (N, D), N >= num_new.
        pinned: centers of known classes, (K, D); they take samples and never move.
        num_new: centers to find, >= 0.
        seed: decides the starts, which are k-means++ draws given all centers so far.
        num_starts: starts, of which the one with the least inertia is kept, >= 1.
        max_iterations: Lloyd steps at most, >= 1.
        tolerance: see `TOLERANCE`.

    Returns:
        New centers, (num_new, D) float32 on the device of `features`.
    """
    points, origin, device = _centered(features)
    given = torch.as_tensor(pinned).detach().to(origin)
    if given.ndim != 2 or given.shape[1] != points.shape[1]:
        raise ValueError(f"pinned: shape {tuple(given.shape)} given, (K, {points.shape[1]}) wanted")
    stay = (given - origin).float()
    _refuse_overflow("pinned", stay)
    if not 0 <= num_new <= len(points):
        raise ValueError(f"{num_new} new centers from {len(points)} samples; ask for 0 to all")
    if num_new == 0:
        return given[:0].float().to(device)
    found = best_start(
        points,
        stay,
        num_new,
        seed=seed,
        num_starts=num_starts,
        max_iterations=max_iterations,
        tolerance=tolerance,
        num_pinned=len(stay),
    )
    return _finished(found, origin, device).centroids[len(stay) :]


def semi_supervised_kmeans(
    features: Any,
    labels: Any,
    num_clusters: int,
    seed: int = 0,
    num_starts: int = 10,
    max_iterations: int = 100,
    tolerance: float = TOLERANCE,
) -> KMeansResult:
    """k-means in which a labeled sample stays in the cluster of its class.

    Cluster c is class c, so the clusters of labeled classes need no matching; all centroids are
    means of all their members, labeled or not. The first centers are the labeled class means, then
    k-means++ draws among the unlabeled samples.

    Args:
        features: finite, array or tensor on any device, (N, D).
        labels: classes in [0, num_clusters), `UNLABELED` where hidden, (N,). A class below
            `num_clusters` without a labeled sample is found like a new one.
        num_clusters: labeled and new classes together; no more new ones than unlabeled samples.
        seed: decides the starts; the same seed gives the same bits.
        num_starts: starts, of which the one with the least inertia is kept, >= 1.
        max_iterations: Lloyd steps at most, >= 1.
        tolerance: see `TOLERANCE`.

    Returns:
        Clusters of all samples; the inertia is that of labeled and unlabeled together.

    Source: Vaze et al., Generalized Category Discovery, CVPR 2022, arXiv 2201.02609, section 4.2.
    The authors' code draws one candidate a center and leaves an empty cluster without a center;
    here it is taken up again at the farthest sample.
    """
    points, origin, device = _centered(features)
    owners = _checked_labels(labels, num_clusters, len(points)).to(points.device)
    hidden = owners == UNLABELED
    classes = owners[~hidden].unique()
    num_new = num_clusters - len(classes)
    if num_new > int(hidden.sum()):
        raise ValueError(
            f"{num_new} clusters without a labeled sample from {int(hidden.sum())} unlabeled ones; "
            "ask for fewer clusters"
        )
    # labeled classes first: cluster of each place, and the place of each cluster
    is_new = torch.ones(num_clusters, dtype=torch.bool, device=points.device)
    is_new[classes] = False
    cluster = torch.cat([classes, is_new.nonzero()[:, 0]])
    place = cluster.argsort()
    held = sums_of_clusters(points[~hidden], place[owners[~hidden]], num_clusters)
    means = (held.sums / held.counts.clamp_min(1)[:, None]).float()[: len(classes)]
    free = points[hidden]
    if len(free):
        found = best_start(
            free,
            means,
            num_new,
            seed=seed,
            num_starts=num_starts,
            max_iterations=max_iterations,
            tolerance=tolerance,
            held=held,
        )
        owners[hidden] = cluster[found.labels]
        means, steps = found.centroids, found.num_iterations
    else:
        steps = 0
    centers = means[place]
    inertia = squared_error(points, centers, owners)
    return _finished(KMeansResult(centers, owners, inertia, steps), origin, device)


def _centered(features: Any) -> tuple[Tensor, Tensor, torch.device]:
    """Samples about their mean, (N, D) float32, the mean, (D,) float64, and their own device.

    Around zero, the expanded square |x|^2 - 2 x c + |c|^2 loses the fewest digits.
    """
    given = torch.as_tensor(features).detach()
    if given.ndim != 2 or not given.numel():
        raise ValueError(f"features: shape {tuple(given.shape)} given, (N, D) wanted")
    device = given.device
    if device.type == "mps":  # which has no float64
        given = given.cpu()
    if not given.is_floating_point() or given.element_size() < 4:
        given = given.float()
    origin = given.mean(0, dtype=torch.float64)
    points = (given - origin.to(given)).float()
    _refuse_overflow("features", points)
    return points, origin, device


def _refuse_overflow(name: str, rows: Tensor) -> None:
    bad = int((~rows.square().sum(1).isfinite()).sum())
    if bad:
        raise ValueError(
            f"{name}: NaN, infinite or huge values, {bad} of {len(rows)} rows about their mean are "
            "not usable; mend or leave out the samples they come from"
        )


def _checked_labels(labels: Any, num_clusters: int, num_points: int) -> Tensor:
    given = torch.as_tensor(labels).detach()
    if given.shape != (num_points,) or given.is_floating_point() or given.dtype == torch.bool:
        raise ValueError(
            f"labels: shape {tuple(given.shape)} of {given.dtype} given, ({num_points},) integers "
            "wanted"
        )
    given = given.long().clone()
    low, high = int(given.min()), int(given.max())
    if low < UNLABELED or high >= num_clusters:
        raise ValueError(
            f"labels from {low} to {high} given; classes in [0, {num_clusters}) and {UNLABELED} "
            "for hidden ones wanted"
        )
    return given


def _finished(found: KMeansResult, origin: Tensor, device: torch.device) -> KMeansResult:
    """The same partition where the features are."""
    centroids = (found.centroids.double() + origin).float().to(device)
    return KMeansResult(centroids, found.labels.to(device), found.inertia, found.num_iterations)
