"""Inverses of many positive definite matrices by blocks: nearly all of the work in products.

A third more operations than by Cholesky factors, but a processor does matrix products several times
faster than it factors matrices of some hundred rows one after another.
"""

from __future__ import annotations

import torch
from torch import Tensor

from cgcd.models.shrinkage import log_determinant

SMALLEST = 96
"""Blocks of no more rows are factored."""


def block_inverse(matrices: Tensor) -> tuple[Tensor, Tensor]:
    """Inverses and log determinants of positive definite matrices.

    Args:
        matrices: (M, d, d), of which the lower triangles are read.

    Returns:
        Inverses, (M, d, d), and log determinants, (M,): NaN for a matrix that is not positive
        definite, whose inverse means nothing.

    Source: the inverse of a partitioned matrix by its Schur complement, which is positive definite
    where the matrix is.
    """
    size = matrices.shape[-1]
    if size <= SMALLEST:
        factors, failed = torch.linalg.cholesky_ex(matrices)
        broken = failed > 0
        usable = factors.masked_fill(broken[:, None, None], 0.0)
        usable.diagonal(dim1=-2, dim2=-1)[broken] = 1.0
        volumes = log_determinant(usable).masked_fill(broken, torch.nan)
        return torch.cholesky_inverse(usable), volumes
    half = size // 2
    lower = matrices[:, half:, :half]
    first, first_volumes = block_inverse(matrices[:, :half, :half])
    pulled = lower @ first
    last, last_volumes = block_inverse(matrices[:, half:, half:] - pulled @ lower.mT)
    inverses = torch.empty_like(matrices)
    corner = -(last @ pulled)
    inverses[:, half:, half:] = last
    inverses[:, half:, :half] = corner
    inverses[:, :half, half:] = corner.mT
    inverses[:, :half, :half] = torch.baddbmm(first, pulled.mT, corner, alpha=-1)
    return inverses, first_volumes + last_volumes
