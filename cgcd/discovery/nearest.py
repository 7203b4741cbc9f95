"""Nearest centers of the same samples again and again, while the centers settle.

After some steps most samples cannot change their cluster, and distances that the triangle
inequality rules out need no computing.

Source: Elkan, Using the triangle inequality to accelerate k-means, ICML 2003; here a sample whose
bounds fail is compared with all centers, in one matrix product with all such samples.
"""

from __future__ import annotations

import torch
from torch import Tensor

CHUNK = 8192
"""Samples whose distances to all centers are computed at once."""
WORTHWHILE = 1 << 22
"""With fewer pairs of sample and center, keeping bounds costs more than it saves."""
LARGEST = 1 << 28
"""With more pairs, bounds are not kept: they would take more than a GiB."""
SLACK = 1e-4
"""By how much bounds must differ to be trusted, in root mean square norms of the samples."""


def nearest(points: Tensor, centers: Tensor) -> Tensor:
    """The nearest center of each sample, the first of equals, (N,) int64."""
    half_norms = centers.square().sum(1) / 2
    parts = [torch.addmm(half_norms, x, centers.T, alpha=-1).argmin(1) for x in points.split(CHUNK)]
    return torch.cat(parts)


class NearestBesidePinned:
    """As `nearest`, where the first centers never move: those are looked at once.

    Args:
        points: (N, D) float.
        pinned: centers that stay, (P, D), P >= 1.
    """

    def __init__(self, points: Tensor, pinned: Tensor) -> None:
        self.points, self.num_pinned = points, len(pinned)
        self.least, self.labels = _least(points, pinned)

    def __call__(self, centers: Tensor) -> Tensor:
        """The nearest center of each sample, the first of equals, (N,) int64, for all (K, D)."""
        if len(centers) == self.num_pinned:
            return self.labels.clone()
        least, labels = _least(self.points, centers[self.num_pinned :])
        return torch.where(least < self.least, self.num_pinned + labels, self.labels)


def _least(points: Tensor, centers: Tensor) -> tuple[Tensor, Tensor]:
    """Half the squared distance to the nearest center less what all have in common, and which."""
    half_norms = centers.square().sum(1) / 2
    parts = [torch.addmm(half_norms, x, centers.T, alpha=-1).min(1) for x in points.split(CHUNK)]
    return torch.cat([part.values for part in parts]), torch.cat([part.indices for part in parts])


class NearestCenters:
    """As `nearest`, up to rounding, for centers that move a little from call to call.

    Keeps bounds, (N, K), only on the processor and only for `WORTHWHILE` to `LARGEST` pairs; an
    accelerator computes all distances sooner than it picks the needed ones.

    Args:
        points: (N, D) float.
        num_centers: K.
    """

    def __init__(self, points: Tensor, num_centers: int) -> None:
        self.points = points
        pairs = len(points) * num_centers
        self.keeps_bounds = points.device.type == "cpu" and WORTHWHILE <= pairs <= LARGEST
        self.centers: Tensor | None = None
        if self.keeps_bounds:
            self.norms = points.square().sum(1)
            self.slack = SLACK * float(self.norms.mean().sqrt())
            self.labels = torch.zeros(len(points), dtype=torch.int64)
            self.upper = torch.zeros(len(points))  # not below the distance to the own center
            self.lower = torch.zeros(len(points), num_centers)  # not above those to the others

    def __call__(self, centers: Tensor) -> Tensor:
        """The nearest center of each sample, (N,) int64, for centers (K, D)."""
        if not self.keeps_bounds:
            return nearest(self.points, centers)
        if self.centers is None:
            doubtful = torch.arange(len(self.points))
        else:
            doubtful = self._doubtful(centers, (centers - self.centers).norm(dim=1))
        self.centers = centers
        for rows in doubtful.split(CHUNK):
            self._compare(rows, centers)
        return self.labels.clone()

    def _doubtful(self, centers: Tensor, shifts: Tensor) -> Tensor:
        self.lower -= shifts
        self.upper += shifts[self.labels]
        next_best = self.lower.amin(1) - self.slack
        rows = (next_best <= self.upper).nonzero()[:, 0]
        if 2 * len(rows) > len(self.points):  # to sharpen the bounds would cost as much
            return rows
        parts = [
            (self.points[part] - centers[self.labels[part]]).norm(dim=1)
            for part in rows.split(CHUNK)
        ]
        self.upper[rows] = torch.cat(parts)
        return rows[next_best[rows] <= self.upper[rows]]

    def _compare(self, rows: Tensor, centers: Tensor) -> None:
        squares = torch.addmm(centers.square().sum(1), self.points[rows], centers.T, alpha=-2)
        least, labels = squares.min(1)
        norms = self.norms[rows]
        self.labels[rows] = labels
        self.upper[rows] = (least + norms).clamp_(min=0).sqrt_()
        distances = squares.add_(norms[:, None]).clamp_(min=0).sqrt_()
        self.lower[rows] = distances.scatter_(1, labels[:, None], torch.inf)
