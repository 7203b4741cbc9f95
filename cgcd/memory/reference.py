"""A stand-in for labeled samples of the known classes, where none may be kept: draws around means.

Counting the novel classes of a stage needs to know how wide a class is, in which directions, and
which classes there are. Of the base stage it is enough to keep the class means and one covariance
that all classes share.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from cgcd.memory.rows import check_rows
from cgcd.vocabulary import UNLABELED

MAX_RANK = 128


class ReferenceSample(NamedTuple):
    """Features drawn for the known classes.

    Attributes:
        features: not normalized again, (K * per_class, D).
        labels: class of each, ascending, (K * per_class,) int64.
    """

    features: Tensor
    labels: Tensor


class ReferenceMemory(nn.Module):
    """Remembers class means and the covariance within classes, and draws labeled features.

    Starts empty; the base stage sets everything, later stages append means. The covariance is
    `factor @ factor.T + residual * I`: its leading directions as they are, the others alike, so
    that the total variance is kept. The buffers hold `means` (K, D), `counts` (K,) int64, the
    samples behind each mean, `factor` (D, R) and `residual` (), a variance. A state dict of any
    number of classes and any rank loads.

    Args:
        dim: D, the width of the features.
        rank: R, directions of the covariance to keep, >= 0; never more than D.
        normalize: scale features to length 1 first. Their mean is shorter than 1 and is kept so.

    Source: ours; the split into factor and residual is that of probabilistic principal component
    analysis (Tipping and Bishop, 1999).
    """

    means: Tensor
    counts: Tensor
    factor: Tensor
    residual: Tensor

    def __init__(self, dim: int, rank: int = MAX_RANK, normalize: bool = True) -> None:
        super().__init__()
        if rank < 0:
            raise ValueError(f"rank is {rank}; wanted 0 (alike in all directions) or more")
        self.normalize = normalize
        self.register_buffer("means", torch.zeros(0, dim))
        self.register_buffer("counts", torch.zeros(0, dtype=torch.int64))
        self.register_buffer("factor", torch.zeros(dim, min(rank, dim)))
        self.register_buffer("residual", torch.zeros(()))

    def __len__(self) -> int:
        """Number of classes remembered."""
        return len(self.means)

    @torch.no_grad()
    def remember(self, features: Tensor, labels: Tensor) -> None:
        """Starts anew from labeled features: means, counts and the covariance.

        The covariance is pooled over the classes, each about its own mean, without the loss of
        degrees of freedom (divided by N - K); classes of one sample each have none.

        Args:
            features: (N, D).
            labels: classes, (N,), each of 0 .. max at least once; `UNLABELED` rows are left out.

        Raises:
            ValueError: if a class has no feature, or a shape does not fit.
        """
        dim, rank = self.factor.shape
        check_rows(features, labels, dim)
        shown = labels != UNLABELED
        labels = labels[shown].to(self.means.device, torch.int64)
        rows = features[shown].to(self.means.device, torch.float64)
        counts = labels.bincount()
        if len(labels) == 0 or bool((counts == 0).any()):
            missing = (counts == 0).nonzero()[:, 0].tolist()
            raise ValueError(
                f"{len(labels)} labeled features, none of class {missing}; give each class a "
                "sample or number the classes without gaps"
            )
        if self.normalize:
            rows = F.normalize(rows, dim=1)
        means = rows.new_zeros(len(counts), dim).index_add_(0, labels, rows) / counts[:, None]
        centered = rows - means[labels]
        covariance = centered.T @ centered / max(len(labels) - len(counts), 1)
        variances, directions = torch.linalg.eigh(covariance)  # ascending
        variances = variances.clamp_min(0)
        rest = variances[: dim - rank]
        residual = rest.mean() if len(rest) else variances.new_zeros(())
        scales = (variances[dim - rank :] - residual).clamp_min(0).sqrt()
        self.means, self.counts = means.to(self.means), counts
        self.factor = (directions[:, dim - rank :] * scales).to(self.factor)
        self.residual = residual.to(self.residual)

    @torch.no_grad()
    def append(self, means: Tensor, counts: Tensor | None = None) -> None:
        """Adds discovered classes after those that are there; covariance and old rows stay.

        Args:
            means: mean features of the classes, (M, D), of rows normalized as in `remember`.
            counts: samples behind each, (M,) int64; 0 where it is not known, as without it.

        Raises:
            ValueError: if a shape does not fit.
        """
        if means.ndim != 2 or means.shape[1] != self.means.shape[1]:
            raise ValueError(
                f"means have shape {tuple(means.shape)}, wanted (M, {self.means.shape[1]})"
            )
        counts = self.counts.new_zeros(len(means)) if counts is None else counts.to(self.counts)
        if counts.shape != means.shape[:1]:
            raise ValueError(f"counts have shape {tuple(counts.shape)}, wanted ({len(means)},)")
        self.means = torch.cat([self.means, means.to(self.means)])
        self.counts = torch.cat([self.counts, counts])

    @torch.no_grad()
    def sample(self, per_class: int, generator: torch.Generator) -> ReferenceSample:
        """Draws labeled features around every mean, as many for each class.

        Args:
            per_class: features of each class, >= 1.
            generator: source of randomness, on any device; the draws are made there.

        Raises:
            ValueError: if the memory is empty or `per_class` is below 1.
        """
        if len(self) == 0:
            raise ValueError("the reference memory is empty; call remember after the base stage")
        if per_class < 1:
            raise ValueError(f"per_class is {per_class}; wanted at least 1")
        dim, rank = self.factor.shape
        labels = torch.arange(len(self), device=self.means.device).repeat_interleave(per_class)
        kind = {"device": generator.device, "dtype": self.means.dtype, "generator": generator}
        along = torch.randn(len(labels), rank, **kind).to(self.means.device)
        around = torch.randn(len(labels), dim, **kind).to(self.means.device)
        noise = along @ self.factor.T + around * self.residual.sqrt()
        return ReferenceSample(self.means[labels] + noise, labels)

    def _load_from_state_dict(
        self, state_dict: dict[str, Any], prefix: str, *args: Any, **kwargs: Any
    ) -> None:
        means, factor = (state_dict.get(f"{prefix}{name}") for name in ("means", "factor"))
        # Another width is left alone: torch then reports the mismatch.
        if means is not None and means.shape[1:] == self.means.shape[1:]:
            self.means = self.means.new_zeros(means.shape)
            self.counts = self.counts.new_zeros(len(means))
        if factor is not None and factor.shape[:1] == self.factor.shape[:1]:
            self.factor = self.factor.new_zeros(factor.shape)
        super()._load_from_state_dict(state_dict, prefix, *args, **kwargs)
