"""What a backbone's precision asks of its device, and the scaling of gradients that fp16 needs."""

from __future__ import annotations

import torch
from torch import nn
from torch.amp import GradScaler

from cgcd.engine.compiling import check_compiler
from cgcd.models import Backbone
from cgcd.models.small_map import multiply_small_maps
from cgcd.vocabulary import InputError

_CHANNELS_LAST = ("cuda", "cpu")  # where that is the quicker layout


def prepare_backbone(backbone: Backbone, device: torch.device) -> None:
    """Refuse what the device cannot do, and put convolutions into the quicker form there.

    Most devices like them channels last, and a CPU products of matrices for the smallest maps.

    Args:
        backbone: with precision and compilation chosen.
        device: that it computes on.

    Raises:
        InputError: for fp16 anywhere but on CUDA; for compilation without a compiler.
    """
    if backbone.precision == "fp16" and device.type != "cuda":
        raise InputError(
            f"precision=fp16 cannot be used on device={device}; wanted CUDA: set precision=bf16 or "
            "precision=fp32"
        )
    if backbone.compiled:
        check_compiler(device)
    if device.type in _CHANNELS_LAST and _is_convolutional(backbone):
        backbone.to(memory_format=torch.channels_last)
        if device.type == "cpu":
            multiply_small_maps(backbone)


def gradient_scaler(backbone: Backbone, device: torch.device) -> GradScaler:
    """Keeps small gradients above fp16's least number; in another precision it does nothing.

    The loss is multiplied by a factor before the backward pass and gradients are divided by it
    after. Where one of them overflows the step is left out and the factor halved; after 2,000
    steps without it is doubled.

    Source: Micikevicius et al., Mixed Precision Training, ICLR 2018, arXiv 1710.03740.
    """
    return GradScaler(device.type, enabled=backbone.precision == "fp16")


def _is_convolutional(backbone: nn.Module) -> bool:
    """It convolves more than once; a vision transformer does so for its patches only."""
    return sum(isinstance(module, nn.Conv2d) for module in backbone.modules()) > 1
