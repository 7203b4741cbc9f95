"""Count, mean and scatter of every class: what is left of samples whose features never change."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from cgcd.memory.rows import check_rows, make_room
from cgcd.vocabulary import UNLABELED


class ClassStatistics(nn.Module):
    """Count, mean and scatter a class, exact under any order, any cut into parts and any weights.

    The scatter of a class is the sum of w (x - mean) (x - mean)', so divided by the count it is the
    covariance. Starts without classes and grows to an absolute number of them; a class without a
    sample has count 0, mean 0 and scatter 0. The buffers, all float64, hold `counts` (K,), sums of
    weights, `means` (K, D) and `scatters` (K, D, D). A state dict of any number of classes loads.

    Args:
        dim: D, the width of the features.
        keep_scatter: without it `scatters` stays (0, D, D).

    Source: the parallel form of the update, Chan, Golub and LeVeque, 1979. Weights grow with the
    count of the class; a global count would mix the mean's own path into the covariance.
    """

    counts: Tensor
    means: Tensor
    scatters: Tensor

    def __init__(self, dim: int, keep_scatter: bool = True) -> None:
        super().__init__()
        self.keep_scatter = keep_scatter
        kind = {"dtype": torch.float64}
        self.register_buffer("counts", torch.zeros(0, **kind))
        self.register_buffer("means", torch.zeros(0, dim, **kind))
        self.register_buffer("scatters", torch.zeros(0, dim, dim, **kind))

    def __len__(self) -> int:
        """Number of classes, with a sample or without."""
        return len(self.means)

    @torch.no_grad()
    def remember(self, features: Tensor, labels: Tensor, num_classes: int | None = None) -> None:
        """Starts anew from labeled features (N, D) and labels (N,), `UNLABELED` ones left out.

        Args:
            num_classes: K afterwards; None takes the largest label.
        """
        if num_classes is None:
            num_classes = int(labels.max()) + 1 if len(labels) else 0
        self._keep(*(rows[:0] for rows in (self.counts, self.means, self.scatters)))
        self.grow(num_classes)
        self.add(features, labels)

    @torch.no_grad()
    def grow(self, num_classes: int) -> None:
        """Adds classes without a sample, up to the absolute number; what is there keeps its bits.

        Raises:
            ValueError: if there are more already.
        """
        extra = num_classes - len(self)
        if extra < 0:
            raise ValueError(
                f"num_classes is {num_classes}, but statistics of {len(self)} classes are kept and "
                "none can be forgotten; give the number of all classes, not of the novel ones"
            )
        dim = self.means.shape[1]
        self._keep(
            torch.cat([self.counts, self.counts.new_zeros(extra)]),
            torch.cat([self.means, self.means.new_zeros(extra, dim)]),
            torch.cat([self.scatters, self.scatters.new_zeros(self._num_scatters(extra), dim, dim)])
            if self.keep_scatter
            else self.scatters,
        )

    @torch.no_grad()
    def add(self, features: Tensor, labels: Tensor, weights: Tensor | None = None) -> None:
        """Takes in samples of classes that are there, one or many.

        Args:
            features: (N, D).
            labels: classes in [0, K), (N,); `UNLABELED` rows are left out.
            weights: of each sample, (N,) > 0; None: 1. Weight 2 is the sample twice.

        Raises:
            ValueError: if a shape or a label does not fit, or a weight is not above 0.
        """
        part = ClassStatistics(self.means.shape[1], self.keep_scatter).to(self.means.device)
        part.grow(len(self))
        part._take(*self._checked(features, labels, weights))
        self.merge(part)

    @torch.no_grad()
    def merge(self, other: ClassStatistics) -> None:
        """Takes in the statistics of other samples of the same classes.

        Raises:
            ValueError: if they are of another number of classes or another width.
        """
        if other.means.shape != self.means.shape or other.keep_scatter != self.keep_scatter:
            raise ValueError(
                f"statistics {tuple(other.means.shape)} (scatter: {other.keep_scatter}) do not go "
                f"with {tuple(self.means.shape)} (scatter: {self.keep_scatter}); merge the same "
                "classes of the same features"
            )
        counts = self.counts + other.counts
        share = other.counts / counts.where(counts > 0, 1.0)
        apart = other.means - self.means
        if self.keep_scatter:
            # in place, class by class: K D D may be hundreds of megabytes
            for c in (other.counts > 0).nonzero()[:, 0].tolist():
                between = self.counts[c] * share[c] * torch.outer(apart[c], apart[c])
                self.scatters[c] += other.scatters[c] + between
        self.means = self.means + share[:, None] * apart
        self.counts = counts

    def covariances(self, ddof: int = 0) -> Tensor:
        """Scatter over count - `ddof`, (K, D, D); zero for a class of no more than `ddof`."""
        left = self.counts - ddof
        return self.scatters / left.where(left > 0, 1.0)[:, None, None]

    def pooled_covariance(self, by: str = "samples") -> Tensor:
        """The covariance within classes, (D, D), each about its own mean.

        Args:
            by: "samples" adds the scatters and divides by all counts; "classes" averages the
                covariances of the classes that have a sample.
        """
        if by == "samples":
            return self.scatters.sum(0) / self.counts.sum().clamp_min(1e-300)
        if by == "classes":
            return self.covariances()[self.counts > 0].mean(0)
        raise ValueError(f"pooling is by {by!r}; wanted 'samples' or 'classes'")

    def _checked(
        self, features: Tensor, labels: Tensor, weights: Tensor | None
    ) -> tuple[Tensor, Tensor, Tensor]:
        check_rows(features, labels, self.means.shape[1])
        weights = torch.ones(len(labels)) if weights is None else weights
        if weights.shape != labels.shape or not bool((weights > 0).all()):
            raise ValueError(
                f"weights {tuple(weights.shape)} do not fit {tuple(labels.shape)} labels or are "
                "not all above 0; leave out samples that should not count"
            )
        shown = labels != UNLABELED
        labels = labels[shown].to(self.means.device, torch.int64)
        if len(labels) and not (0 <= int(labels.min()) and int(labels.max()) < len(self)):
            raise ValueError(
                f"labels from {int(labels.min())} to {int(labels.max())} for {len(self)} classes; "
                "grow first, and hide labels with -1"
            )
        return features[shown].to(self.means), labels, weights[shown].to(self.means)

    def _take(self, rows: Tensor, labels: Tensor, weights: Tensor) -> None:
        """Sets the statistics of these samples, where nothing is kept yet."""
        for c in labels.unique().tolist():
            members = labels == c
            weight, group = weights[members], rows[members]
            self.counts[c] = weight.sum()
            self.means[c] = weight @ group / self.counts[c]
            if self.keep_scatter:
                centered = group - self.means[c]
                self.scatters[c] = centered.T @ (weight[:, None] * centered)

    def _num_scatters(self, num_classes: int) -> int:
        return num_classes if self.keep_scatter else 0

    def _keep(self, counts: Tensor, means: Tensor, scatters: Tensor) -> None:
        self.counts, self.means, self.scatters = counts, means, scatters

    def _load_from_state_dict(
        self, state_dict: dict[str, Any], prefix: str, *args: Any, **kwargs: Any
    ) -> None:
        make_room(self, state_dict, prefix, ("counts", "means", "scatters"))
        super()._load_from_state_dict(state_dict, prefix, *args, **kwargs)
