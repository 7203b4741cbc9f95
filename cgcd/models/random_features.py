"""A fixed random layer, drawn from a seed that stands for it."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class RandomFeatures(nn.Module):
    """relu(z W) of the unit feature z, W drawn once from N(0, 1 / D), no bias.

    A state dict holds the seed, not W, and loading one draws the W it names.

    Args:
        dim: D, the width of the features.
        num_features: M, the width afterwards, >= 1.
        seed: of W, >= 0.

    Source: McDonnell et al., RanPAC, NeurIPS 2023, arXiv 2307.02251, where neither z nor W is
    scaled; scaled, a ridge penalty means the same for features of any length.
    """

    seed: Tensor
    weights: Tensor

    def __init__(self, dim: int, num_features: int, seed: int = 0) -> None:
        super().__init__()
        if num_features < 1:
            raise ValueError(f"num_features is {num_features}; wanted at least 1")
        self.register_buffer("seed", torch.tensor(seed))
        self.register_buffer("weights", torch.empty(dim, num_features).double(), persistent=False)
        self._draw()

    def forward(self, features: Tensor) -> Tensor:
        """Features (N, D) to (N, M), float64, >= 0."""
        return (F.normalize(features.to(self.weights), dim=1) @ self.weights).relu()

    @torch.no_grad()
    def _draw(self) -> None:
        generator = torch.Generator().manual_seed(int(self.seed))
        shape = tuple(self.weights.shape)
        drawn = torch.randn(shape, generator=generator, dtype=torch.float64)
        self.weights = (drawn / shape[0] ** 0.5).to(self.weights)

    def _load_from_state_dict(self, *args: Any, **kwargs: Any) -> None:
        super()._load_from_state_dict(*args, **kwargs)
        self._draw()
