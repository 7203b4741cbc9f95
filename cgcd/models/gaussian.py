"""Gaussians of classes as a head that is computed, not trained: tied or one covariance a class."""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from cgcd.memory.rows import make_room
from cgcd.memory.statistics import ClassStatistics
from cgcd.models.reduction import PrincipalComponents
from cgcd.models.shrinkage import (
    LEAST_SHRINKAGE,
    blend_share,
    jittered_cholesky,
    ledoit_wolf_shrinkage,
    log_determinant,
    samples_differ,
    shrunk,
    volume_aligned,
)

COVARIANCES = ("per_class", "tied")
CHUNK = 512
"""Samples whose distances to a class are computed at once; few, so that they stay in the cache."""
STRIP = 96
"""Columns of a whitened sample that are computed at once: triangles are cut into such strips."""


class FittedClasses(NamedTuple):
    """Gaussians of some classes: counts (M,), means (M, d), lower factors (M or 0, d, d)."""

    counts: Tensor
    means: Tensor
    factors: Tensor


class GaussianHead(nn.Module):
    """Log densities of shrunk class Gaussians, equal priors: what QDA and LDA decide by.

    `remember` starts from labeled features and sets what stays for good: the principal components
    and the tied covariance. `append` adds classes and leaves the bits of the others. The covariance
    of a class of n samples is (1 - v) LW + v tied, LW its own one after Ledoit-Wolf shrinkage and
    v = blend / (n + blend): towards blend 0 quadratic, towards infinity linear discriminants.

    The buffers, float64, hold `counts` (K,), `means` (K, d), `factors`, lower Cholesky factors
    (K, d, d), none where covariances are tied, and `tied_factor` (d, d). A state dict of any number
    of classes loads. The inverses of the factors, as large again, are kept once they were needed.

    Args:
        dim: D, the width of the features.
        covariance: "per_class" or "tied".
        num_components: d, principal components of the labeled features to keep; None: all features.
        blend: samples that the tied covariance counts for in that of a class, >= 0. At 0 a class
            whose samples do not differ has the tied one.
        shrinkage: "ledoit_wolf", or a share in [0, 1] for all classes.
        least_shrinkage: floor of "ledoit_wolf", which gives one or two samples none at all.
        log_determinant: False scores by the distance alone (Mahalanobis).
        pooling: the tied covariance by "samples", or as the mean of those of the "classes".
        volume_ratio: scales the covariances of appended classes to the mean log volume of the known
            ones less this; None leaves them as they are.

    Source: arXiv 2507.17382 shows what unshrunk estimates lose; shrinkage: Ledoit and Wolf, 2004.
    Divided by n, not n - 1. The blend is ours, with Friedman's regularized discriminant analysis,
    1989, behind it.
    """

    needs_pairs = True
    """Of labeled samples: at least one class must have two, for how wide a class is."""

    counts: Tensor
    means: Tensor
    factors: Tensor
    tied_factor: Tensor

    def __init__(
        self,
        dim: int,
        *,
        covariance: str = "per_class",
        num_components: int | None = None,
        blend: float = 10.0,
        shrinkage: str | float = "ledoit_wolf",
        least_shrinkage: float = LEAST_SHRINKAGE,
        log_determinant: bool = True,
        pooling: str = "samples",
        volume_ratio: float | None = None,
    ) -> None:
        super().__init__()
        if covariance not in COVARIANCES:
            raise ValueError(f"covariance is {covariance!r}; wanted 'per_class' or 'tied'")
        if shrinkage != "ledoit_wolf" and not (
            isinstance(shrinkage, int | float) and 0 <= shrinkage <= 1
        ):
            raise ValueError(f"shrinkage is {shrinkage!r}; wanted 'ledoit_wolf' or 0 to 1")
        if not blend >= 0 or not 0 <= least_shrinkage <= 1:
            raise ValueError(
                f"blend is {blend} and least_shrinkage {least_shrinkage}; wanted >= 0 and 0 to 1"
            )
        if pooling not in ("samples", "classes"):
            raise ValueError(f"pooling is {pooling!r}; wanted 'samples' or 'classes'")
        self.covariance, self.blend, self.pooling = covariance, blend, pooling
        self.shrinkage, self.least_shrinkage = shrinkage, least_shrinkage
        self.log_determinant, self.volume_ratio = log_determinant, volume_ratio
        self.reduce = PrincipalComponents(dim, num_components)
        width, kind = self.reduce.width, {"dtype": torch.float64}
        self.register_buffer("counts", torch.zeros(0, **kind))
        self.register_buffer("means", torch.zeros(0, width, **kind))
        self.register_buffer("factors", torch.zeros(0, width, width, **kind))
        self.register_buffer("tied_factor", torch.eye(width, **kind))
        self._inverted: tuple[Tensor, Tensor] | None = None  # factors, and their inverses

    @property
    def num_classes(self) -> int:
        return len(self.means)

    @property
    def centers(self) -> Tensor:
        """Class means where `points` lie, (K, d) float64."""
        return self.means

    def points(self, features: Tensor) -> Tensor:
        """Features (N, D) where they are compared with means, (N, d) float64."""
        return self.reduce(features)

    @torch.no_grad()
    def remember(self, features: Tensor, labels: Tensor) -> None:
        """Starts anew from labeled features: components, tied covariance, and all classes.

        Args:
            features: (N, D).
            labels: 0 .. K-1, each at least once, (N,).

        Raises:
            ValueError: if a class has no feature, or a covariance stays singular.
        """
        self.reduce.fit(features)
        rows, labels = self._rows(features), labels.to(self.means.device)
        found = ClassStatistics(self.reduce.width).to(self.means.device)
        found.remember(rows, labels)
        if not len(found) or not bool((found.counts > 0).all()):
            missing = (found.counts == 0).nonzero()[:, 0].tolist()
            raise ValueError(
                f"{len(labels)} features, none of class {missing}; give each class a sample or "
                "number the classes without gaps"
            )
        residuals = rows - found.means[labels]
        covariance = shrunk(found.pooled_covariance(self.pooling), self._shrinkage(residuals))
        self.tied_factor = jittered_cholesky(covariance)
        self._keep(self._fitted(rows, labels, len(found)))

    @torch.no_grad()
    def append(self, features: Tensor, labels: Tensor, num_classes: int) -> None:
        """Adds classes up to `num_classes`; rows of other labels are left out.

        Raises:
            ValueError: if one of the new classes has no sample.
        """
        fresh = self._new(features, labels, num_classes)
        kept = (self.counts, self.means, self.factors)
        self._keep(FittedClasses(*(torch.cat(pair) for pair in zip(kept, fresh, strict=True))))

    @torch.no_grad()
    def update(self, features: Tensor, labels: Tensor, weight: float = 1.0) -> None:
        """Moves means of known classes toward samples that each count `weight` > 0.

        Covariances stay.
        """
        moved = ClassStatistics(self.reduce.width, keep_scatter=False).to(self.means.device)
        moved.grow(self.num_classes)
        moved.counts, moved.means = self.counts, self.means
        moved.add(
            self.points(features), labels, torch.full((len(labels),), weight, device=labels.device)
        )
        self.counts, self.means = moved.counts, self._means(moved.means)

    @torch.no_grad()
    def provisional_scores(self, features: Tensor, labels: Tensor, num_classes: int) -> Tensor:
        """Scores under new classes that are not kept, (N, num_classes - K).

        Args:
            features: (N, D).
            labels: those in [K, num_classes) make the new classes, others nothing, (N,).
        """
        return self._scores(self.points(features), self._new(features, labels, num_classes))

    @torch.no_grad()
    def forward(self, features: Tensor) -> Tensor:
        """Log densities without the constant, (N, K) float64, for features (N, D).

        Without `log_determinant` minus half the squared Mahalanobis distance.
        """
        kept = FittedClasses(self.counts, self.means, self.factors)
        return self._scores(self.points(features), kept, self._inverses())

    @torch.no_grad()
    def sample(self, per_class: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """Draws points (K * per_class, d) float64 of every class and their classes, ascending."""
        classes = torch.arange(self.num_classes, device=self.means.device)
        classes = classes.repeat_interleave(per_class)
        shape = (self.num_classes, per_class, self.reduce.width)
        noise = torch.randn(
            shape, generator=generator, device=generator.device, dtype=torch.float64
        ).to(self.means.device)
        factors = self.factors if len(self.factors) else self.tied_factor
        return (self.means[:, None] + noise @ factors.mT).flatten(0, 1), classes

    def _rows(self, features: Tensor) -> Tensor:
        """What covariances are taken of."""
        return self.points(features)

    def _means(self, rows: Tensor) -> Tensor:
        """Means of classes from those of the rows, (M, d)."""
        return rows

    def _factor(self, rows: Tensor) -> Tensor:
        """Cholesky factor of a class's covariance from its rows (n, d)."""
        centered = rows - rows.mean(0)
        own = shrunk(centered.T @ centered / len(rows), self._shrinkage(centered))
        v = blend_share(len(rows), self.blend)
        if not v and not samples_differ(rows):
            return self.tied_factor
        if v:
            own = (1 - v) * own + v * (self.tied_factor @ self.tied_factor.T)
        return jittered_cholesky(own)

    def _shrinkage(self, centered: Tensor) -> float:
        if self.shrinkage == "ledoit_wolf":
            return max(ledoit_wolf_shrinkage(centered), self.least_shrinkage)
        return float(self.shrinkage)

    def _new(self, features: Tensor, labels: Tensor, num_classes: int) -> FittedClasses:
        labels = labels.to(self.means.device) - self.num_classes
        chosen = labels >= 0
        rows = self._rows(features[chosen.to(features.device)])
        fresh = self._fitted(rows, labels[chosen], num_classes - self.num_classes)
        if self.volume_ratio is None or not len(fresh.factors):
            return fresh
        return fresh._replace(
            factors=volume_aligned(fresh.factors, self.factors, self.volume_ratio)
        )

    def _fitted(self, rows: Tensor, labels: Tensor, num_classes: int) -> FittedClasses:
        counts = labels.bincount(minlength=num_classes)
        if len(counts) != num_classes or bool((counts == 0).any()):
            raise ValueError(
                f"{num_classes} classes of {counts.tolist()} samples; give each at least one"
            )
        groups = [rows[labels == c] for c in range(num_classes)]
        means = [group.mean(0) for group in groups]
        width = self.reduce.width
        empty = self.means.new_zeros(0, width, width)
        factors = [self._factor(group) for group in groups] if self.covariance != "tied" else []
        return FittedClasses(
            counts.to(self.counts),
            self._means(torch.stack(means)) if means else self.means[:0],
            torch.stack(factors) if factors else empty,
        )

    def _scores(
        self, points: Tensor, classes: FittedClasses, inverses: Tensor | None = None
    ) -> Tensor:
        """Scores (N, M) of points (N, d); `inverses` of the factors where they are known."""
        if self.covariance == "tied":
            factor = self.tied_factor
            white = _whitened(factor, points)
            means = _whitened(factor, classes.means)
            scores = white @ means.T - means.square().sum(1) / 2
            scores = scores - white.square().sum(1, keepdim=True) / 2
            return scores - log_determinant(factor) / 2 if self.log_determinant else scores
        if inverses is None:
            inverses = _inverses(classes.factors)
        scores = points.new_empty(len(points), len(classes.means))
        for c, (mean, inverse) in enumerate(zip(classes.means, inverses, strict=True)):
            for first in range(0, len(points), CHUNK):
                away = points[first : first + CHUNK] - mean
                scores[first : first + CHUNK, c] = -_squared_lengths(inverse, away) / 2
        return scores - log_determinant(classes.factors) / 2 if self.log_determinant else scores

    def _inverses(self) -> Tensor:
        if self._inverted is None or self._inverted[0] is not self.factors:
            self._inverted = self.factors, _inverses(self.factors)
        return self._inverted[1]

    def _keep(self, classes: FittedClasses) -> None:
        self.counts, self.means, self.factors = classes

    def _load_from_state_dict(
        self, state_dict: dict[str, Any], prefix: str, *args: Any, **kwargs: Any
    ) -> None:
        make_room(self, state_dict, prefix, ("counts", "means", "factors"))
        super()._load_from_state_dict(state_dict, prefix, *args, **kwargs)


def _whitened(factor: Tensor, rows: Tensor) -> Tensor:
    return torch.linalg.solve_triangular(factor, rows.T, upper=False).T


def _inverses(factors: Tensor) -> Tensor:
    """Of lower triangles (M, d, d)."""
    identity = torch.eye(factors.shape[-1]).to(factors)
    parts = [torch.linalg.solve_triangular(one, identity, upper=False) for one in factors]
    return torch.stack(parts) if parts else factors


def _squared_lengths(inverse: Tensor, rows: Tensor) -> Tensor:
    """|L^-1 x|^2, (N,), of rows (N, d), given the inverse of a lower triangle L.

    A strip of its rows is zero beyond the diagonal, so nearly half of the products are left out.
    """
    lengths = rows.new_zeros(len(rows))
    for first in range(0, len(inverse), STRIP):
        last = min(first + STRIP, len(inverse))
        white = rows[:, :last] @ inverse[first:last, :last].T
        lengths += torch.linalg.vecdot(white, white)
    return lengths
