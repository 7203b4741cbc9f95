"""The two heads on a feature: a growing cosine classifier and a projection for contrast."""

from __future__ import annotations

import math
from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class CosineHead(nn.Module):
    """Cosine of the normalized feature and one direction per class; grows row by row.

    One parameter, `directions` (K, D); only the direction of a row matters for the output, its norm
    sets the effective step size under SGD. There is no weight-norm wrapper, so old rows stay
    bit-identical when the head grows.

    Args:
        dim: feature width D, > 0.
        num_classes: rows at the start, >= 0.

    Source: the classifier of SimGCD (arXiv 2211.11727) and Happy (arXiv 2410.06535): a bias-free,
    weight-normalized linear layer with its gain fixed at 1.
    """

    def __init__(self, dim: int, num_classes: int = 0) -> None:
        super().__init__()
        self.directions = nn.Parameter(torch.empty(0, dim))
        self.grow(num_classes)

    @property
    def num_classes(self) -> int:
        return self.directions.shape[0]

    def forward(self, features: Tensor) -> Tensor:
        """Cosine similarities (..., K) in [-1, 1] of features (..., D)."""
        return F.normalize(features, dim=-1) @ F.normalize(self.directions, dim=-1).T

    @torch.no_grad()
    def grow(
        self,
        num_classes: int,
        directions: Tensor | None = None,
        generator: torch.Generator | None = None,
    ) -> None:
        """Add rows up to the absolute size `num_classes`; the old rows keep their bits.

        Args:
            num_classes: rows afterwards, at least as many as now.
            directions: where the new rows point, (num_classes - K, D); only their direction counts:
                they get the mean norm of freshly drawn rows. Without it the fresh rows are kept.
            generator: source of the fresh rows, uniform in +-1/sqrt(D) as a linear layer's.

        Raises:
            ValueError: if the head would shrink or `directions` has another shape.
        """
        old = self.directions
        num_new, dim = num_classes - old.shape[0], old.shape[1]
        if num_new < 0:
            raise ValueError(
                f"the head has {old.shape[0]} classes and cannot shrink to {num_classes}"
            )
        if num_new == 0:
            return
        bound = 1 / math.sqrt(dim)
        fresh = torch.empty(num_new, dim).uniform_(-bound, bound, generator=generator).to(old)
        if directions is not None:
            if directions.shape != fresh.shape:
                raise ValueError(
                    f"new directions are {tuple(directions.shape)}; wanted {tuple(fresh.shape)}"
                )
            unit = F.normalize(directions.to(old), dim=-1)
            fresh = unit * fresh.norm(dim=-1).mean()
        self.directions = nn.Parameter(torch.cat([old.detach(), fresh]))

    def _load_from_state_dict(self, state_dict, prefix, *args) -> None:  # type: ignore[no-untyped-def]
        stored = state_dict.get(prefix + "directions")
        # Another width is left alone: torch then reports the mismatch.
        if stored is not None and stored.shape[1:] == self.directions.shape[1:]:
            rows = self.directions.new_empty(stored.shape)
            self.directions = nn.Parameter(rows, requires_grad=self.directions.requires_grad)
        super()._load_from_state_dict(state_dict, prefix, *args)


class ProjectionHead(nn.Sequential):
    """Multi-layer perceptron with GELU between its layers, used by the contrastive losses only.

    Takes the feature as it comes, (..., D), not normalized, and gives (..., P), not normalized.

    Args:
        dim: feature width D.
        hidden: width of the hidden layers; DINO's and Happy's is 2048.
        out: projection width P; Happy's is 256.
        num_layers: linear layers, >= 1.

    Source: the DINO head as SimGCD and Happy use it, without batch norm; weights from a truncated
    normal of standard deviation 0.02, biases 0.
    """

    def __init__(self, dim: int, hidden: int = 2048, out: int = 256, num_layers: int = 3) -> None:
        if num_layers < 1:
            raise ValueError(f"projection_layers is {num_layers}; wanted at least 1")
        if hidden < 1 or out < 1:
            raise ValueError(
                f"projection_hidden is {hidden} and projection_dim is {out}; wanted at least 1"
            )
        widths = [dim, *[hidden] * (num_layers - 1), out]
        layers: list[nn.Module] = []
        for width_in, width_out in pairwise(widths):
            layers += [nn.Linear(width_in, width_out), nn.GELU()]
        super().__init__(*layers[:-1])
        self.reset()

    @torch.no_grad()
    def reset(self, generator: torch.Generator | None = None) -> None:
        """Draw all weights anew, in place."""
        for layer in self:
            if isinstance(layer, nn.Linear):
                drawn = torch.empty(layer.weight.shape)
                nn.init.trunc_normal_(drawn, std=0.02, generator=generator)
                layer.weight.copy_(drawn)
                layer.bias.zero_()
