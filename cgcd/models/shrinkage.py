"""Covariances that few samples can support: shrunk, blended, aligned, and their Cholesky factors.

Everything is float64. Determinants appear as logarithms only, for in hundreds of dimensions the
number itself leaves the range of a float.
"""

from __future__ import annotations

import logging

import torch
from torch import Tensor

log = logging.getLogger(__name__)

LEAST_SHRINKAGE = 0.05
JITTERS = (0.0, 1e-8, 1e-7, 1e-6, 1e-5, 1e-4, 1e-3)
"""What is added to the diagonal until the factorization succeeds, as shares of its mean."""


def ledoit_wolf_shrinkage(centered: Tensor) -> float:
    """How far toward a sphere the covariance of centered samples should go, in [0, 1].

    0 for one or two samples, whose products with themselves do not differ: keep a floor.

    Args:
        centered: samples about their mean, (N, D), N >= 1.

    Source: Ledoit and Wolf, A well-conditioned estimator for large-dimensional covariance matrices,
    Journal of Multivariate Analysis, 2004; scikit-learn's `ledoit_wolf_shrinkage` to rounding.
    """
    n, dim = centered.shape
    # |S|^2 and tr S from the smaller of the two products
    gram = centered @ centered.T if n < dim else centered.T @ centered
    squared = float(gram.square().sum()) / n**2
    mean = float(gram.diagonal().sum()) / n / dim
    spread = squared / dim - mean**2
    fourth = float(centered.square().sum(1).square().sum()) / n
    error = min((fourth - squared) / (dim * n), spread)
    return max(error, 0.0) / spread if error > 0 and spread > 0 else 0.0


def shrunk(covariance: Tensor, shrinkage: float) -> Tensor:
    """(1 - a) S + a tr(S) / D I, (..., D, D), which keeps the trace; a in [0, 1]."""
    mean = covariance.diagonal(dim1=-2, dim2=-1).mean(-1)
    sphere = torch.eye(covariance.shape[-1], dtype=covariance.dtype, device=covariance.device)
    return (1 - shrinkage) * covariance + shrinkage * mean[..., None, None] * sphere


def samples_differ(rows: Tensor) -> bool:
    """Whether any of (N, D), N >= 1, is not the first; their mean is not exact enough to tell."""
    return bool((rows != rows[0]).any())


def blend_share(num_samples: float, strength: float) -> float:
    """v = s / (n + s), the share of the tied covariance in that of a class of n samples.

    0 without `strength`, and 1 where it is infinite.
    """
    if strength == float("inf"):
        return 1.0
    return strength / (num_samples + strength) if strength else 0.0


def log_determinant(factor: Tensor) -> Tensor:
    """log det of L L' for lower Cholesky factors L, (..., D, D) to (...)."""
    return 2 * factor.diagonal(dim1=-2, dim2=-1).log().sum(-1)


def volume_aligned(factors: Tensor, known_factors: Tensor, ratio: float = 0.0) -> Tensor:
    """Factors of new covariances scaled to the volume of the known ones.

    Afterwards log det of each is the mean log det of the known ones less `ratio`.

    Args:
        factors: lower Cholesky factors, (M, D, D).
        known_factors: of the known classes, (K, D, D), K >= 1.
        ratio: 0 gives new classes the mean volume, more gives them less.

    Source: the early stop of VB-CGCD, arXiv 2507.17382, in closed form and ours; the mean of log
    determinants in place of the log of their mean, which one wide class decides.
    """
    dim = factors.shape[-1]
    wanted = log_determinant(known_factors).mean() - ratio
    scales = ((wanted - log_determinant(factors)) / (2 * dim)).exp()
    return factors * scales[:, None, None]


def jittered_cholesky(covariance: Tensor) -> Tensor:
    """Lower Cholesky factor of a covariance, (D, D), with as little added to it as is needed.

    Raises:
        ValueError: if it is not positive definite even with 1e-3 of its mean variance added; a
            pseudo-inverse would hide that and change the metric.
    """
    symmetric = (covariance + covariance.T) / 2
    unit = symmetric.diagonal().mean()
    sphere = torch.eye(len(symmetric), dtype=symmetric.dtype, device=symmetric.device)
    for jitter in JITTERS:
        factor, failed = torch.linalg.cholesky_ex(symmetric + jitter * unit * sphere)
        if not int(failed) and bool(factor.isfinite().all()):
            if jitter:
                log.warning("a covariance needed %g of its mean variance on the diagonal", jitter)
            return factor.contiguous()  # as it would be after loading, to the bit
    raise ValueError(
        f"a covariance of {len(symmetric)} features with mean variance {float(unit):.3g} is not "
        "positive definite; shrink it more, blend it with the tied one, or give the class at least "
        "two samples that differ"
    )


def diagonal_correlation(
    covariance: Tensor, diagonal: float, off_diagonal: float, rounds: int
) -> Tensor:
    """FeCAM's matrix: the covariance raised in all places alike, then made a correlation.

    Each round adds `diagonal` times the mean variance to the diagonal and `off_diagonal` times the
    mean of the other entries that are not 0 to all other places.

    Args:
        covariance: (D, D).

    Source: Goswami et al., FeCAM, NeurIPS 2023, arXiv 2309.14062; the second round is the code's.
    """
    inside = torch.eye(len(covariance), dtype=torch.bool, device=covariance.device)
    for _ in range(rounds):
        others = covariance[~inside & (covariance != 0)]
        mean = others.mean() if len(others) else covariance.new_zeros(())
        raised = torch.where(inside, diagonal * covariance.diagonal().mean(), off_diagonal * mean)
        covariance = covariance + raised
    scales = covariance.diagonal().clamp_min(1e-300).rsqrt()
    return covariance * scales[:, None] * scales
