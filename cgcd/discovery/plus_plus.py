"""k-means++: first centers far from one another, drawn by squared distance.

Source: Arthur and Vassilvitskii, k-means++, SODA 2007; several candidates a center, of which the
best is kept ("greedy"), are section 5 of the technical report and scikit-learn's choice.
"""

from __future__ import annotations

import math

import numpy as np
import torch
from torch import Tensor

TABLE_ROWS = 8
"""In a product of all samples with all, a row costs about so many times less than by itself."""
LARGEST_TABLE = 1 << 26
"""With more pairs of samples, no table is made: it would take more than 256 MiB."""
AT_ONCE = 64
"""Centers that are compared with all samples at once where there is a table."""


class SampleDistances:
    """Squared distances from samples to all samples, for the starts that compete on these samples.

    Starts ask for thousands of rows. Where enough are expected for so many samples, one product
    makes a table of all pairs, and rows are looked up, equal to rounding.

    Args:
        points: the samples, (N, D) float, N >= 1.
        given: centers that are there before any start, (K, D), K >= 0.
        num_rows: how many rows will be asked for in all, about.

    Attributes:
        to_given: from each sample to the nearest of the centers that are there, (N,); infinite
            where there is none.
    """

    def __init__(self, points: Tensor, given: Tensor, num_rows: int = 0) -> None:
        self.points, self.num_given = points, len(given)
        self._norms = points.square().sum(1)
        pays = TABLE_ROWS * num_rows >= len(points)
        fits = len(points) ** 2 <= LARGEST_TABLE
        self._table = self.of_centers(points) if pays and fits else None
        self.to_given = torch.full_like(self._norms, torch.inf)
        step = 1 if self._table is None else AT_ONCE
        for first in range(0, len(given), step):
            nearest = self.of_centers(given[first : first + step]).amin(0)
            self.to_given = torch.minimum(self.to_given, nearest)

    def __call__(self, rows: Tensor) -> Tensor:
        """From samples, (T,) int64, to each sample, (T, N)."""
        if self._table is not None:
            return self._table[rows]
        return self.of_centers(self.points[rows])

    def of_centers(self, centers: Tensor) -> Tensor:
        """From centers (K, D) to each sample, (K, N)."""
        return squared_distances(self.points, self._norms, centers)


def num_candidates(num_clusters: int) -> int:
    """Candidates a center in the greedy variant, 2 + ln K rounded down; scikit-learn's number."""
    return 2 + int(math.log(max(num_clusters, 1)))


@torch.no_grad()
def plus_plus(distances: SampleDistances, draws: np.ndarray) -> Tensor:
    """Samples to be the next centers, each far from the centers so far, (M,) int64.

    A draw u takes the first sample at which the running sum of squared distances to the nearest
    center, divided by the total, reaches u. Of the candidates of one center, the one that leaves
    the smallest total is kept, the first of equals. Where there is no center yet, or every sample
    lies on one, all samples weigh the same; a very first center is its first candidate.

    Args:
        distances: among the samples, and to the centers that are there already.
        draws: in [0, 1), (M, T): T candidates for each of M new centers; T = 1 is the plain rule.
    """
    nearest = distances.to_given.clone()
    chosen: list[int] = []
    for row in draws:
        is_first = not (distances.num_given or chosen)
        candidates = drawn(torch.ones_like(nearest), row[:1]) if is_first else drawn(nearest, row)
        left = distances(candidates).minimum(nearest)  # (T, N)
        best = int(left.sum(1, dtype=torch.float64).argmin())
        chosen.append(int(candidates[best]))
        nearest = left[best]
        nearest[chosen[-1]] = 0.0  # else rounding could draw it again
    return torch.as_tensor(chosen, dtype=torch.int64, device=distances.points.device)


def drawn(weights: Tensor, draws: np.ndarray) -> Tensor:
    """The first samples at which the running share of the weights reaches the draws, (T,) int64.

    Weights of zero in all, (N,), count as equal ones.
    """
    # on the processor and in order: a parallel running sum differs from run to run on some devices
    running = weights.double().cpu().numpy().cumsum()
    if not running[-1] > 0:
        running = np.arange(1.0, len(weights) + 1)
    places = np.minimum(np.searchsorted(running, draws * running[-1]), len(weights) - 1)
    return torch.from_numpy(places).to(weights.device)


def squared_distances(points: Tensor, norms: Tensor, centers: Tensor) -> Tensor:
    """From each center to each sample, (K, N), given the squared norms of the samples, (N,)."""
    cross = torch.addmm(norms, centers, points.T, alpha=-2)
    return cross.add_(centers.square().sum(1, keepdim=True)).clamp_(min=0)
