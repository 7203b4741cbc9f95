"""From the CPU, where all devices get the same draws from, to where draws are needed."""

from __future__ import annotations

import torch
from torch import Tensor


def sent(drawn: Tensor, device: torch.device) -> Tensor:
    """A tensor of the CPU on a device; nobody waits for what the device is still at.

    Copied from ordinary memory it would: the step would end whatever was begun before it.
    """
    if device.type != "cuda" or drawn.device.type != "cpu":
        return drawn.to(device)
    return drawn.pin_memory().to(device, non_blocking=True)
