"""Principal components as a module: fitted once on labeled features, then part of a head."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class PrincipalComponents(nn.Module):
    """Features about their mean along their widest directions, without whitening.

    The buffers, float64, hold `origin` (D,) and `directions` (D, d), orthonormal columns. Features
    no wider than `num_components` pass as they are: nothing is rotated that need not be.

    Args:
        dim: D, the width of the features.
        num_components: d, >= 1; None keeps the features.

    Source: principal component analysis; 384 components of 768 are VB-CGCD's, arXiv 2507.17382.
    """

    origin: Tensor
    directions: Tensor

    def __init__(self, dim: int, num_components: int | None = None) -> None:
        super().__init__()
        if num_components is not None and num_components < 1:
            raise ValueError(
                f"num_components is {num_components}; wanted at least 1, or none to keep all"
            )
        self.reduces = num_components is not None and num_components < dim
        self.width = num_components if self.reduces else dim
        self.register_buffer("origin", torch.zeros(dim, dtype=torch.float64))
        kept = torch.eye(dim, self.width, dtype=torch.float64) if self.reduces else torch.zeros(0)
        self.register_buffer("directions", kept.double())

    @torch.no_grad()
    def fit(self, features: Tensor) -> None:
        """Takes mean and directions from features (N, D), N >= 1."""
        if not self.reduces:
            return
        rows = features.to(self.origin)
        self.origin = rows.mean(0)
        centered = rows - self.origin
        directions = torch.linalg.eigh(centered.T @ centered).eigenvectors  # ascending
        chosen = directions[:, -self.width :].flip(1)
        # an eigenvector has no sign of its own; the largest entry is made positive
        largest = chosen.gather(0, chosen.abs().argmax(0, keepdim=True))
        self.directions = (chosen * largest.sign()).contiguous()

    def forward(self, features: Tensor) -> Tensor:
        """Features (..., D) to (..., d), float64."""
        rows = features.to(self.origin)
        return (rows - self.origin) @ self.directions if self.reduces else rows

    def extra_repr(self) -> str:
        return f"{len(self.origin)} -> {self.width}"
