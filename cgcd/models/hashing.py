"""Heads that turn a feature into a code of L real numbers whose signs are the bits.

Source: Zheng et al., Prototypical Hash Encoding (PHE), NeurIPS 2024, arXiv 2410.19213; Du et al.,
On-the-fly Category Discovery (SMILE), CVPR 2023, the sign and magnitude branches.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn

from cgcd.vocabulary import InputError

_NEAR_ZERO = 1e-3  # below it c / tanh(c) cancels, and the next term of its series is under 1e-13


class HashTrunk(nn.Sequential):
    """Three linear layers with batch norm at the end, (..., D) to (..., bottleneck).

    Batch norm counts every leading axis as samples; in train mode it needs at least two.

    Args:
        dim: feature width D.
        hidden: width of the two hidden layers.
        bottleneck: output width.

    Source: the authors' code of PHE and of SMILE, which share it; weights from a truncated normal
    of standard deviation 0.02, biases 0.
    """

    def __init__(self, dim: int, hidden: int = 2048, bottleneck: int = 256) -> None:
        super().__init__(
            nn.Linear(dim, hidden),
            nn.GELU(),
            nn.Linear(hidden, hidden),
            nn.GELU(),
            nn.Linear(hidden, bottleneck),
            nn.BatchNorm1d(bottleneck),
            nn.GELU(),
        )
        self.reset()

    def forward(self, features: Tensor) -> Tensor:
        rows = super().forward(features.reshape(-1, features.shape[-1]))
        return rows.reshape(*features.shape[:-1], rows.shape[-1])

    def reset(self, generator: torch.Generator | None = None) -> None:
        """Draw all weights anew and forget the batch statistics, in place."""
        _reset(self, generator)


class HashHead(nn.Module):
    """Real codes (..., L) of features (..., D), unbounded; a bit is set where its entry is > 0.

    Args:
        dim: feature width D.
        num_bits: code length L, 1 to 1024.
        hidden, bottleneck: see `HashTrunk`.

    Raises:
        InputError: if `num_bits` is out of range.

    Source: arXiv 2410.19213. As in the authors' code, the code layer follows three hidden ones (the
    paper counts three in all), has no bias, and no batch norm of the codes is applied.
    """

    def __init__(self, dim: int, num_bits: int, hidden: int = 2048, bottleneck: int = 256) -> None:
        super().__init__()
        self.trunk = HashTrunk(dim, hidden, bottleneck)
        self.code = _code_layer(bottleneck, num_bits)
        self.reset()

    def forward(self, features: Tensor) -> Tensor:
        return self.code(self.trunk(features))

    def reset(self, generator: torch.Generator | None = None) -> None:
        """Draw all weights anew and forget the batch statistics, in place."""
        _reset(self, generator)


class SignMagnitude(NamedTuple):
    """What a `SignMagnitudeHead` gives.

    Attributes:
        signs: smoothed signs in (-1, 1), (..., L); a bit is set where its entry is > 0.
        features: signs times magnitudes, of the same signs, not normalized, (..., L).
    """

    signs: Tensor
    features: Tensor


class SignMagnitudeHead(nn.Module):
    """Signs and magnitudes of a code from two branches of one trunk.

    The category hangs on the signs alone; the magnitudes, each at least 1, are free to tell
    samples of one category apart, and the contrastive loss reaches both through their product.

    Args:
        dim: feature width D.
        num_bits: code length L, 1 to 1024.
        hidden, bottleneck: see `HashTrunk`.

    Raises:
        InputError: if `num_bits` is out of range.

    Source: SMILE, CVPR 2023, after the authors' code: signs tanh(a), magnitudes c / tanh(c), with a
    and c the batch-normalized outputs of the branches.
    """

    def __init__(self, dim: int, num_bits: int, hidden: int = 2048, bottleneck: int = 256) -> None:
        super().__init__()
        self.trunk = HashTrunk(dim, hidden, bottleneck)
        self.sign = _code_layer(bottleneck, num_bits)
        self.sign_norm = nn.BatchNorm1d(num_bits)
        self.magnitude = _code_layer(bottleneck, num_bits)
        self.magnitude_norm = nn.BatchNorm1d(num_bits)
        self.reset()

    def forward(self, features: Tensor) -> SignMagnitude:
        rows = self.trunk(features.reshape(-1, features.shape[-1]))
        signs = self.sign_norm(self.sign(rows)).tanh()
        product = signs * magnitude(self.magnitude_norm(self.magnitude(rows)))
        shape = (*features.shape[:-1], signs.shape[-1])
        return SignMagnitude(signs.reshape(shape), product.reshape(shape))

    def reset(self, generator: torch.Generator | None = None) -> None:
        """Draw all weights anew and forget the batch statistics, in place."""
        _reset(self, generator)


class ClassPrototypes(nn.Module):
    """k learned prototypes for every class; grows class by class.

    One parameter, `rows` (K * k, D), empty at the start; the rows of a class are neighbors, in the
    order of the classes. A state dict of any number of classes loads.

    Args:
        dim: feature width D, > 0.
        per_class: k, >= 1.

    Raises:
        InputError: if `per_class` is below 1.

    Source: arXiv 2410.19213, the prototype layer; rows start uniform in [0, 1), as in the authors'
    code.
    """

    def __init__(self, dim: int, per_class: int = 10) -> None:
        super().__init__()
        if per_class < 1:
            raise InputError(f"per_class is {per_class}; wanted 1 or more prototypes for a class")
        self.per_class = per_class
        self.rows = nn.Parameter(torch.empty(0, dim))

    @property
    def num_classes(self) -> int:
        return self.rows.shape[0] // self.per_class

    def class_means(self) -> Tensor:
        """Mean prototype of each class, (K, D), not normalized, with gradient."""
        return self.rows.unflatten(0, (self.num_classes, self.per_class)).mean(1)

    @torch.no_grad()
    def grow(self, num_classes: int, generator: torch.Generator | None = None) -> None:
        """Add rows up to the absolute number of classes; the old rows keep their bits.

        Args:
            num_classes: classes afterwards, at least as many as now.
            generator: source of the new rows, uniform in [0, 1).

        Raises:
            ValueError: if the prototypes would become fewer.
        """
        num_new = num_classes - self.num_classes
        if num_new < 0:
            raise ValueError(
                f"there are prototypes of {self.num_classes} classes and none can be forgotten; "
                f"{num_classes} given, wanted at least as many"
            )
        if num_new == 0:
            return
        fresh = torch.rand(num_new * self.per_class, self.rows.shape[1], generator=generator)
        self.rows = nn.Parameter(torch.cat([self.rows.detach(), fresh.to(self.rows)]))

    @torch.no_grad()
    def reset(self, generator: torch.Generator | None = None) -> None:
        """Draw all rows anew, in place."""
        self.rows.copy_(torch.rand(self.rows.shape, generator=generator))

    def _load_from_state_dict(self, state_dict, prefix, *args) -> None:  # type: ignore[no-untyped-def]
        stored = state_dict.get(prefix + "rows")
        # Another width, or a part of a class, is left alone: torch then reports the mismatch.
        if (
            stored is not None
            and stored.shape[1:] == self.rows.shape[1:]
            and stored.shape[0] % self.per_class == 0
        ):
            rows = self.rows.new_empty(stored.shape)
            self.rows = nn.Parameter(rows, requires_grad=self.rows.requires_grad)
        super()._load_from_state_dict(state_dict, prefix, *args)


def magnitude(values: Tensor) -> Tensor:
    """c / tanh(c): even, at least 1, near |c| where that is large; smooth at 0, where it is 1.

    Args:
        values: c, of any shape.

    Source: SMILE, CVPR 2023, after the authors' code, which has no value at 0; below 1e-3 the first
    terms of the series, 1 + c^2 / 3, stand for it.
    """
    near_zero = values.abs() < _NEAR_ZERO
    safe = torch.where(near_zero, 1, values)  # no division by 0, not even in the unused branch
    return torch.where(near_zero, 1 + values.square() / 3, safe / safe.tanh())


def _code_layer(dim: int, num_bits: int) -> nn.Linear:
    if num_bits not in range(1, 1025):
        raise InputError(f"code_length is {num_bits}; wanted a number of bits from 1 to 1024")
    return nn.Linear(dim, num_bits, bias=False)


@torch.no_grad()
def _reset(module: nn.Module, generator: torch.Generator | None) -> None:
    for layer in module.modules():
        if isinstance(layer, nn.Linear):
            drawn = torch.empty(layer.weight.shape)
            nn.init.trunc_normal_(drawn, std=0.02, generator=generator)
            layer.weight.copy_(drawn)
            if layer.bias is not None:
                layer.bias.zero_()
        elif isinstance(layer, nn.BatchNorm1d):
            layer.reset_parameters()
