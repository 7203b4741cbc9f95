"""k-means++: first centers far from one another, drawn by squared distance.

Source: Arthur and Vassilvitskii, k-means++, SODA 2007; several candidates a center, of which the
best is kept ("greedy"), are section 5 of the technical report and scikit-learn's choice.
"""

from __future__ import annotations

import math

import numpy as np
import torch
from torch import Tensor


def num_candidates(num_clusters: int) -> int:
    """Candidates a center in the greedy variant, 2 + ln K rounded down; scikit-learn's number."""
    return 2 + int(math.log(max(num_clusters, 1)))


@torch.no_grad()
def plus_plus(points: Tensor, centers: Tensor, draws: np.ndarray) -> Tensor:
    """Samples to be the next centers, each far from the centers so far, (M,) int64.

    A draw u takes the first sample at which the running sum of squared distances to the nearest
    center, divided by the total, reaches u. Of the candidates of one center, the one that leaves
    the smallest total is kept, the first of equals. Where there is no center yet, or every sample
    lies on one, all samples weigh the same; a very first center is its first candidate.

    Args:
        points: (N, D) float, N >= 1.
        centers: that are there already, (K, D), K >= 0.
        draws: in [0, 1), (M, T): T candidates for each of M new centers; T = 1 is the plain rule.
    """
    norms = points.square().sum(1)
    nearest = torch.full_like(norms, torch.inf)
    for center in centers:
        nearest = torch.minimum(nearest, squared_distances(points, norms, center[None])[0])
    chosen: list[int] = []
    for row in draws:
        is_first = not (len(centers) or chosen)
        candidates = drawn(torch.ones_like(nearest), row[:1]) if is_first else drawn(nearest, row)
        left = squared_distances(points, norms, points[candidates]).minimum(nearest)  # (T, N)
        best = int(left.sum(1, dtype=torch.float64).argmin())
        chosen.append(int(candidates[best]))
        nearest = left[best]
        nearest[chosen[-1]] = 0.0  # else rounding could draw it again
    return torch.as_tensor(chosen, dtype=torch.int64, device=points.device)


def drawn(weights: Tensor, draws: np.ndarray) -> Tensor:
    """The first samples at which the running share of the weights reaches the draws, (T,) int64.

    Weights of zero in all, (N,), count as equal ones.
    """
    # on the processor and in order: a parallel running sum differs from run to run on some devices
    running = weights.double().cpu().numpy().cumsum()
    if not running[-1] > 0:
        running = np.arange(1.0, len(weights) + 1)
    places = np.searchsorted(running, draws * running[-1]).clip(max=len(weights) - 1)
    return torch.as_tensor(places, device=weights.device)


def squared_distances(points: Tensor, norms: Tensor, centers: Tensor) -> Tensor:
    """From each center to each sample, (K, N), given the squared norms of the samples, (N,)."""
    cross = torch.addmm(norms, centers, points.T, alpha=-2)
    return cross.add_(centers.square().sum(1, keepdim=True)).clamp_(min=0)
