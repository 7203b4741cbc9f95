"""Class Gaussians fitted by a fixed number of small Adam steps from N(0, I), as VB-CGCD's are."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from cgcd.models.gaussian import FittedClasses, GaussianHead
from cgcd.models.shrinkage import jittered_cholesky, log_determinant

BATCH_SIZE = 128
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
        generator = torch.Generator().manual_seed(self.seed)
        for step in range(self.steps if num_classes else 0):
            drawn = torch.randperm(len(rows), generator=generator)[:BATCH_SIZE].to(rows.device)
            optimizer.param_groups[0]["lr"] = self.learning_rate * rate(step)
            means.grad, covariances.grad = gradients(means, covariances, rows[drawn], labels[drawn])
            may_stop = limit is not None and self.stop_early and 3 * step > self.steps
            before = (means.clone(), covariances.clone()) if may_stop else None
            optimizer.step()
            if before and limit and limit.is_reached(log_determinant(_factors(covariances))):
                means, covariances = before
                break
        factors = [jittered_cholesky(covariance) for covariance in covariances]
        counts = labels.bincount(minlength=num_classes).to(self.counts)
        return FittedClasses(counts, means, torch.stack(factors) if factors else self.factors[:0])

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


def gradients(
    means: Tensor, covariances: Tensor, rows: Tensor, labels: Tensor
) -> tuple[Tensor, Tensor]:
    """Of the mean negative log density of rows (B, d) of classes (B,), zero for absent classes.

    Args:
        means: (M, d).
        covariances: (M, d, d), symmetric or nearly so; made symmetric first.
    """
    of_means, of_covariances = torch.zeros_like(means), torch.zeros_like(covariances)
    present = labels.unique()
    inverses = torch.cholesky_inverse(_factors(covariances[present]))
    for c, inverse in zip(present.tolist(), inverses, strict=True):
        pulled = (rows[labels == c] - means[c]) @ inverse
        of_means[c] = -pulled.sum(0) / len(rows)
        of_covariances[c] = (len(pulled) * inverse - pulled.T @ pulled) / (2 * len(rows))
    return of_means, of_covariances


def _factors(covariances: Tensor) -> Tensor:
    factors, failed = torch.linalg.cholesky_ex((covariances + covariances.mT) / 2)
    if bool(failed.any()):
        raise ValueError(
            f"{int((failed > 0).sum())} of {len(failed)} covariances are no longer positive "
            "definite after a step; lower learning_rate or num_components"
        )
    return factors


def _log_mean(volumes: Tensor) -> float:
    """Log of the mean of numbers given by their logs."""
    return float(volumes.logsumexp(0)) - math.log(max(len(volumes), 1))
