"""The same bits from the same run on an accelerator, where torch alone does not promise them."""

from __future__ import annotations

import os

import torch

_CUBLAS, _WORKSPACE = "CUBLAS_WORKSPACE_CONFIG", ":4096:8"


def set_determinism(device: torch.device, is_wanted: bool) -> None:
    """Turn torch's own switch on or off, with what it needs of cuDNN and cuBLAS.

    On a CPU nothing is changed: with one number of threads a run gives the same bits there anyway.
    An operation of which there is no deterministic form then raises a RuntimeError that names it.

    Args:
        device: where the run's tensors live; nothing may have been multiplied there yet.
        is_wanted: of the run; off where an earlier run of the process had it on.
    """
    is_on = is_wanted and device.type != "cpu"
    if is_on:
        os.environ.setdefault(_CUBLAS, _WORKSPACE)
    if is_on or torch.are_deterministic_algorithms_enabled():
        torch.use_deterministic_algorithms(is_on)
        torch.backends.cudnn.deterministic = is_on
        torch.backends.cudnn.benchmark = False
