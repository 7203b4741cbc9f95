"""Whether what `torch.compile` makes can be built on this machine; asked before a run begins."""

from __future__ import annotations

import torch
from torch import Tensor

from cgcd.vocabulary import InputError

_NEEDED = {"cpu": "a C++ compiler (g++ or clang++, or the one that CXX names)", "cuda": "Triton"}


def check_compiler(device: torch.device) -> None:
    """Compile one line for a device, and run it.

    Raises:
        InputError: if that fails.
    """
    try:
        torch.compile(_line)(torch.ones(8, device=device))
    except RuntimeError as error:  # every error of torch's compiler is one
        raise InputError(
            f"compile=true cannot be used here ({_reason(error)}); wanted "
            f"{_NEEDED.get(device.type, 'a compiler')} for device={device}: install it, or set "
            "compile=false"
        ) from error


def _line(x: Tensor) -> Tensor:
    return 2 * x + 1


def _reason(error: RuntimeError) -> str:
    """The first line that is no heading, not too long."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    said = next((line for line in lines if not line.endswith(":")), type(error).__name__)
    return said.rstrip(".")[:150]
