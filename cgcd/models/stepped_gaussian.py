"""Class Gaussians fitted by a fixed number of small Adam steps from N(0, I), as VB-CGCD's are."""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor

from cgcd.models.block_inverse import block_inverse
from cgcd.models.gaussian import FittedClasses, GaussianHead
from cgcd.models.shrinkage import jittered_cholesky, log_determinant
from cgcd.vocabulary import InputError

BATCH_SIZE = 128
AT_ONCE = 4
"""Covariances that are inverted at once; few, so that they stay in the cache."""
WARM_STEPS = 100
DECAY = 0.85 ** (1 / 500)
"""Factor of the learning rate a step, after the warm steps."""


class SteppedGaussianHead(GaussianHead):
    """Maximum likelihood that stops long before the maximum.

    Means start at 0 and covariances at I, and every class of a fit takes `steps` Adam steps on the
    likelihood of random batches. No entry can move by more than the learning rates add up to, 0.033
    by default, so a class ends near N(0, I), bent by the signs of its second moments about zero;
    scale and origin of the features matter. A later fit stops early once the new classes have grown
    or shrunk to the volume of the known ones.

    Args:
        dim: D, the width of the features.
        num_components: principal components of the labeled features to keep; None: all features.
        steps: of a fit, >= 1.
        learning_rate: the largest, > 0: a linear rise from a tenth over 100 steps, then an
            exponential fall to 0.85 of it every 500 steps.
        stop_early: False takes all steps at later stages too, as the base stage always does.
        seed: of the batches.

    Source: VB-CGCD, ICML 2025, arXiv 2507.17382, with schedule and stop of the authors' code, which
    has neither prior nor posterior: its guide is empty. The paper's schedule is a constant 1e-5 and
    its stop a ratio of determinants that the code never reads. Covariances are fitted entry by
    entry and made symmetric; log determinants replace determinants.
    """

    needs_pairs = False

    num_base: Tensor

    def __init__(
        self,
        dim: int,
        *,
        num_components: int | None = None,
        steps: int = 1000,
        learning_rate: float = 4e-5,
        stop_early: bool = True,
        seed: int = 0,
    ) -> None:
        super().__init__(dim, num_components=num_components)
        if steps < 1 or not learning_rate > 0:
            raise ValueError(
                f"steps is {steps} and learning_rate {learning_rate}; wanted at least 1, above 0"
            )
        self.steps, self.learning_rate = steps, learning_rate
        self.stop_early, self.seed = stop_early, seed
        self.register_buffer("num_base", torch.tensor(0))

    @torch.no_grad()
    def remember(self, features: Tensor, labels: Tensor) -> None:
        self.reduce.fit(features)
        rows, labels = self.points(features), labels.to(self.means.device)
        counts = labels.bincount()
        if not len(counts) or bool((counts == 0).any()):
            raise ValueError(f"classes of {counts.tolist()} samples; give each at least one")
        self._keep(self._stepped(rows, labels, len(counts), None))
        self.num_base.fill_(len(counts))

    @torch.no_grad()
    def append(self, features: Tensor, labels: Tensor, num_classes: int) -> None:
        new = num_classes - self.num_classes
        limit = Stop(log_determinant(self.factors), math.sqrt(new / max(num_classes, 1)))
        fresh = self._stepped(*self._chosen(features, labels), new, limit)
        kept = (self.counts, self.means, self.factors)
        self._keep(FittedClasses(*(torch.cat(pair) for pair in zip(kept, fresh, strict=True))))

    def update(self, features: Tensor, labels: Tensor, weight: float = 1.0) -> None:
        """Nothing: known classes stay as they were fitted."""

    @torch.no_grad()
    def provisional_scores(self, features: Tensor, labels: Tensor, num_classes: int) -> Tensor:
        base = int(self.num_base)
        limit = Stop(log_determinant(self.factors[:base]), num_classes / max(base, 1))
        new = num_classes - self.num_classes
        fresh = self._stepped(*self._chosen(features, labels), new, limit)
        return self._scores(self.points(features), fresh)

    def _stepped(
        self, rows: Tensor, labels: Tensor, num_classes: int, limit: Stop | None
    ) -> FittedClasses:
        width = self.reduce.width
        means = rows.new_zeros(num_classes, width)
        covariances = torch.eye(width).to(rows).repeat(num_classes, 1, 1)
        optimizer = torch.optim.Adam([means, covariances], lr=self.learning_rate, fused=True)
        means.grad, covariances.grad = torch.zeros_like(means), torch.zeros_like(covariances)
        before = means.clone(), covariances.clone()
        generator = torch.Generator().manual_seed(self.seed)
        for step in range(self.steps + 1 if num_classes else 0):
            drawn = torch.randperm(len(rows), generator=generator)[:BATCH_SIZE].to(rows.device)
            # absent classes have no gradient, but a volume, for which the stop asks
            volumes = gradients(
                means,
                covariances,
                rows[drawn],
                labels[drawn],
                out=(means.grad, covariances.grad),
                with_absent=limit is not None,
            ).log_determinants
            if limit and self._may_stop_after(step - 1) and limit.is_reached(volumes):
                means, covariances = before
                break
            if step == self.steps:
                break
            if limit and self._may_stop_after(step):
                before[0].copy_(means)
                before[1].copy_(covariances)
            optimizer.param_groups[0]["lr"] = self.learning_rate * rate(step)
            optimizer.step()
        factors = [jittered_cholesky(covariance) for covariance in covariances]
        counts = labels.bincount(minlength=num_classes).to(self.counts)
        return FittedClasses(counts, means, torch.stack(factors) if factors else self.factors[:0])

    def _may_stop_after(self, step: int) -> bool:
        return self.stop_early and 3 * step > self.steps

    def _chosen(self, features: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        labels = labels.to(self.means.device) - self.num_classes
        return self.points(features)[labels >= 0], labels[labels >= 0]


class Stop:
    """Whether new classes have the volume of known ones, in whichever direction those lie from 1.

    Args:
        known: log determinants of the classes to compare with, (K,).
        factor: s > 0: reached above s times the mean known determinant where that is above 1, below
            a 1 / s of it where it is below 1.
    """

    def __init__(self, known: Tensor, factor: float) -> None:
        self.known, self.log_factor = _log_mean(known), math.log(max(factor, 1e-300))

    def is_reached(self, new: Tensor) -> bool:
        """For log determinants of all new classes, (M,)."""
        volume = _log_mean(new)
        if self.known > 0:
            return volume > self.known + self.log_factor
        return self.known < 0 and volume < self.known - self.log_factor


def rate(step: int) -> float:
    """Learning rate of a step, from 0, as a fraction of the largest."""
    if step < WARM_STEPS:
        return 0.1 + 0.9 * step / WARM_STEPS
    return DECAY ** (step - WARM_STEPS)


class Gradients(NamedTuple):
    """Of means (M, d) and covariances (M, d, d); and log determinants of the classes looked at."""

    means: Tensor
    covariances: Tensor
    log_determinants: Tensor


def gradients(
    means: Tensor,
    covariances: Tensor,
    rows: Tensor,
    labels: Tensor,
    *,
    out: tuple[Tensor, Tensor] | None = None,
    with_absent: bool = False,
) -> Gradients:
    """Of the mean negative log density of rows (B, d) of classes (B,), zero for absent classes.

    Args:
        means: (M, d).
        covariances: (M, d, d), symmetric or nearly so; made symmetric first.
        out: where the gradients of means and covariances go; None: into new tensors.
        with_absent: classes without a row are looked at too; else only those that have one are.

    Raises:
        InputError: if a covariance is not positive definite.
    """
    new = (torch.empty_like(means), torch.empty_like(covariances)) if out is None else out
    of_means, of_covariances = new[0].zero_(), new[1].zero_()
    looked_at = torch.arange(len(means)) if with_absent else labels.unique()
    volumes = []
    for some in looked_at.to(means.device).split(AT_ONCE):
        chosen = covariances[some]
        inverses, found = block_inverse((chosen + chosen.mT) / 2)
        volumes.append(found)
        for c, inverse in zip(some.tolist(), inverses, strict=True):
            pulled = (rows[labels == c] - means[c]) @ inverse
            of_means[c] = -pulled.sum(0) / len(rows)
            share = 1 / (2 * len(rows))
            torch.addmm(
                inverse,
                pulled.T,
                pulled,
                beta=len(pulled) * share,
                alpha=-share,
                out=of_covariances[c],
            )
    return Gradients(of_means, of_covariances, _checked(torch.cat(volumes)))


def _checked(volumes: Tensor) -> Tensor:
    bad = int(volumes.isnan().sum())
    if bad:
        raise InputError(
            f"{bad} of {len(volumes)} covariances are no longer positive definite after a step, as "
            "happens where classes have few samples; lower strategy.learning_rate or "
            "strategy.num_components, or set strategy.fit=closed"
        )
    return volumes


def _log_mean(volumes: Tensor) -> float:
    """Log of the mean of numbers given by their logs."""
    return float(volumes.logsumexp(0)) - math.log(max(len(volumes), 1))
