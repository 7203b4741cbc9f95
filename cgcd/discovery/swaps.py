"""Better first centers by local search: swap a center for a drawn sample where that helps.

k-means++ leaves two centers in one class and none in another more often than Lloyd's iteration can
mend; a swap mends it at the price of one more draw.

Source: Lattanzi and Sohler, A better k-means++ algorithm via local search, ICML 2019. Several
candidates a step, of which the best is tried, are ours.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from cgcd.discovery.plus_plus import SampleDistances, drawn


@torch.no_grad()
def swapped(
    distances: SampleDistances, centers: Tensor, num_fixed: int, draws: np.ndarray
) -> Tensor:
    """Centers after as many tried swaps as there are rows of draws, (K, D).

    Args:
        distances: among the samples.
        centers: (K, D).
        num_fixed: the first so many centers are never given up.
        draws: in [0, 1), (S, T): T candidate samples in each of S steps, by squared distance to the
            nearest center. The candidate and the center whose swap leaves the smallest sum of
            squared distances are taken if that is less than before.
    """
    centers = centers.clone()
    if num_fixed == len(centers):
        return centers
    to_centers = distances.of_centers(centers)  # (K, N)
    nearest, second, members = _two_nearest(to_centers)
    total = float(nearest.sum(dtype=torch.float64))
    for row in draws:
        candidates = drawn(nearest, row)
        added = distances(candidates)  # (T, N)
        kept = torch.minimum(added, nearest)
        # what the samples of a center lose when it goes, (T, K)
        lost = (torch.minimum(added, second) - kept) @ members[:, num_fixed:]
        left = kept.sum(1, keepdim=True, dtype=torch.float64) + lost
        place = int(left.argmin())
        if not float(left.flatten()[place]) < total * (1 - 1e-6):
            continue
        candidate, center = divmod(place, len(centers) - num_fixed)
        center += num_fixed
        gone = to_centers[center].clone()
        centers[center] = distances.points[candidates[candidate]]
        to_centers[center] = added[candidate]
        # the others have the same two nearest as before
        touched = (torch.minimum(gone, to_centers[center]) <= second).nonzero()[:, 0]
        nearest[touched], second[touched], members[touched] = _two_nearest(to_centers[:, touched])
        total = float(nearest.sum(dtype=torch.float64))
    return centers


def _two_nearest(distances: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Smallest and second smallest of each column, (N,), and which row is the smallest, (N, K)."""
    nearest, owner = distances.min(0)
    members = torch.zeros_like(distances.T, memory_format=torch.contiguous_format)
    members.scatter_(1, owner[:, None], 1.0)
    second = distances.scatter(0, owner[None], torch.inf).amin(0)  # infinite where K = 1
    return nearest, second, members
