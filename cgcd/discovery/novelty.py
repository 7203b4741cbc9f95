"""How novel a sample looks to a classifier of the classes so far; a larger score is more novel.

Scores of the logits need nothing but the head; those of the features need labeled samples once.
All are functions of one sample, computed in float64: at temperature 0.1 a float32 softmax rounds
confident samples to the same 1, and scores that should differ would tie.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from sklearn.covariance import empirical_covariance, ledoit_wolf_shrinkage, shrunk_covariance
from torch import Tensor

_LEAST_SHRINKAGE = 1e-6  # Ledoit-Wolf's estimate is 0 for one or two samples, which is singular


def logit_scores(
    logits: Tensor, temperature: float = 0.1, energy_temperature: float = 1.0
) -> dict[str, Tensor]:
    """Every score of this module that needs logits only, by the name of its function.

    Args:
        logits: cosine similarities in [-1, 1], (N, K), K >= 2.
        temperature: of the softmax, > 0.
        energy_temperature: of `energy`, > 0.

    Returns:
        Scores by name, (N,) float64 each.

    Raises:
        ValueError: if logits are not (N, K) with K >= 2, or a temperature is not above 0.
    """
    return {
        "max_softmax": max_softmax(logits, temperature),
        "max_logit": max_logit(logits),
        "energy": energy(logits, energy_temperature),
        "entropy": entropy(logits, temperature),
        "cross_entropy_to_uniform": cross_entropy_to_uniform(logits, temperature),
        "margin": margin(logits, temperature),
        "prototype_ratio": prototype_ratio(logits, temperature),
    }


def max_softmax(logits: Tensor, temperature: float = 0.1) -> Tensor:
    """Minus the largest probability, (N,) in [-1, -1 / K].

    Source: Hendrycks and Gimpel, A Baseline for Detecting Misclassified and Out-of-Distribution
    Examples, ICLR 2017; ProtoGCD's "msp".
    """
    return -_scaled(logits, temperature).softmax(-1).amax(-1)


def max_logit(logits: Tensor) -> Tensor:
    """Minus the largest cosine, (N,) in [-1, 1]; no temperature changes it.

    Source: Hendrycks et al., Scaling Out-of-Distribution Detection for Real-World Settings, ICML
    2022; ProtoGCD's "mls".
    """
    return -_scaled(logits).amax(-1)


def energy(logits: Tensor, temperature: float = 1.0) -> Tensor:
    """Minus temperature * logsumexp(logits / temperature), (N,).

    Lies within 1 of -temperature * log K; towards temperature 0 it becomes `max_logit`. Say the
    temperature wherever the score is reported.

    Source: Liu et al., Energy-based Out-of-distribution Detection, NeurIPS 2020. ProtoGCD's code
    takes temperature 1 of the unscaled cosines, where the score is nearly flat.
    """
    return -temperature * _scaled(logits, temperature).logsumexp(-1)


def entropy(logits: Tensor, temperature: float = 0.1) -> Tensor:
    """Entropy of the softmax in nats, (N,) in [0, log K]; the largest for a uniform prediction."""
    logs = _scaled(logits, temperature).log_softmax(-1)
    return -(logs.exp() * logs).sum(-1)


def cross_entropy_to_uniform(logits: Tensor, temperature: float = 0.1) -> Tensor:
    """Minus the cross-entropy of the uniform distribution and the softmax, (N,) <= -log K, nats.

    That is mean(logits) - logsumexp(logits) of the scaled logits; unlike `entropy` it also looks at
    how improbable the other classes are.

    Source: ProtoGCD's code, "xent".
    """
    return _scaled(logits, temperature).log_softmax(-1).mean(-1)


def margin(logits: Tensor, temperature: float = 0.1) -> Tensor:
    """Minus the gap of the two largest probabilities, (N,) in [-1, 0].

    Source: ProtoGCD's code, "margin".
    """
    first, second = _two_largest(logits, temperature)
    return second - first


def prototype_ratio(logits: Tensor, temperature: float = 0.1, epsilon: float = 1e-6) -> Tensor:
    """Minus the ratio of the two largest probabilities, the smaller one plus `epsilon`, (N,).

    In float64 it tells all cosines at temperature 0.1 apart; in the float32 of the source it is
    flat for confident samples.

    Source: ProtoGCD, TPAMI 2025, the confidence of its pseudo-labels; `epsilon` is from the code.
    """
    first, second = _two_largest(logits, temperature)
    return -first / (second + epsilon)


@dataclass(frozen=True, eq=False)
class GaussianClasses:
    """Gaussians of labeled classes in feature space, and one of all samples together.

    All in float64. A covariance is shrunk toward a sphere, for a few dozen samples a class cannot
    support hundreds of dimensions.

    Attributes:
        means: of each class, (K, D).
        factor: lower Cholesky factor of the covariance that the classes share, (D, D).
        center: mean of all samples, (D,).
        center_factor: lower Cholesky factor of their covariance, (D, D).

    Source: Lee et al., A Simple Unified Framework for Detecting Out-of-Distribution Samples and
    Adversarial Attacks, NeurIPS 2018; the global Gaussian: Ren et al., A Simple Fix to Mahalanobis
    Distance for Improving Near-OOD Detection, arXiv 2106.09022. The shrinkage is Ledoit and Wolf's,
    2004; the sources have none.
    """

    means: Tensor
    factor: Tensor
    center: Tensor
    center_factor: Tensor

    @classmethod
    def fit(cls, features: Tensor, labels: Tensor) -> GaussianClasses:
        """Estimate from labeled features; the covariance weighs samples, not classes, alike.

        Args:
            features: finite, any scale, (N, D).
            labels: class of each, (N,) integers >= 0, gaps allowed.

        Raises:
            ValueError: if shapes disagree, a label is hidden, a feature is not finite, or no class
                has two samples that differ.
        """
        if features.dim() != 2 or labels.shape != features.shape[:1] or not len(labels):
            raise ValueError(
                f"features {tuple(features.shape)} and labels {tuple(labels.shape)} given; wanted "
                "(N, D) and (N,) with N >= 1"
            )
        if labels.is_floating_point() or labels.min() < 0:
            raise ValueError("labels must be whole numbers >= 0; leave out samples without a label")
        rows = features.detach().double().cpu()
        if not rows.isfinite().all():
            raise ValueError("a feature is not finite; wanted numbers only")
        found, place, counts = labels.cpu().unique(return_inverse=True, return_counts=True)
        sums = rows.new_zeros(len(found), rows.shape[1]).index_add_(0, place, rows)
        means = sums / counts.unsqueeze(1)
        center = rows.mean(0)
        return cls(means, _factor(rows - means[place]), center, _factor(rows - center))

    def mahalanobis(self, features: Tensor) -> Tensor:
        """Squared Mahalanobis distance to the nearest class mean, (N,) >= 0, for (N, D)."""
        return self._to_classes(self._checked(features)).amin(-1)

    def relative_mahalanobis(self, features: Tensor) -> Tensor:
        """`mahalanobis` less the squared distance to the global Gaussian, (N,), for (N, D).

        What lies far from everything along directions that all samples share no longer counts.
        """
        rows = self._checked(features)
        away = _whitened(self.center_factor, rows - self.center).square().sum(-1)
        return self._to_classes(rows).amin(-1) - away

    def scores(self, features: Tensor) -> dict[str, Tensor]:
        """Both scores by name, (N,) float64 each, for features (N, D)."""
        return {
            "mahalanobis": self.mahalanobis(features),
            "relative_mahalanobis": self.relative_mahalanobis(features),
        }

    def _checked(self, features: Tensor) -> Tensor:
        if features.dim() != 2 or features.shape[1] != self.means.shape[1]:
            raise ValueError(
                f"features {tuple(features.shape)} given; wanted (N, {self.means.shape[1]})"
            )
        return features.to(self.means)  # device and float64

    def _to_classes(self, rows: Tensor) -> Tensor:
        """Squared distances (N, K)."""
        points = _whitened(self.factor, rows - self.center)
        means = _whitened(self.factor, self.means - self.center)
        # the product form would cancel for a sample that lies at a mean
        return torch.cdist(points, means, compute_mode="donot_use_mm_for_euclid_dist").square()


def _scaled(logits: Tensor, temperature: float = 1.0, least: int = 1) -> Tensor:
    if logits.dim() != 2 or logits.shape[1] < least:
        raise ValueError(
            f"logits {tuple(logits.shape)} given; wanted (N, K) with at least {least} classes"
        )
    if not temperature > 0:
        raise ValueError(f"temperature is {temperature}; wanted a number above 0")
    return logits.double() / temperature


def _two_largest(logits: Tensor, temperature: float) -> tuple[Tensor, Tensor]:
    top = _scaled(logits, temperature, least=2).softmax(-1).topk(2, dim=-1).values
    return top[:, 0], top[:, 1]


def _factor(residuals: Tensor) -> Tensor:
    """Cholesky factor of the shrunk covariance of centered rows (N, D)."""
    rows = residuals.numpy()
    if not rows.any():
        raise ValueError(
            "no class has two samples that differ, so there is no covariance; give at least two "
            "samples of a class"
        )
    shrinkage = max(ledoit_wolf_shrinkage(rows, assume_centered=True), _LEAST_SHRINKAGE)
    covariance = shrunk_covariance(empirical_covariance(rows, assume_centered=True), shrinkage)
    return torch.linalg.cholesky(torch.from_numpy(covariance)).contiguous()


def _whitened(factor: Tensor, rows: Tensor) -> Tensor:
    return torch.linalg.solve_triangular(factor, rows.T, upper=False).T
