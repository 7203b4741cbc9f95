"""The switch for an accelerator, which a CPU must not feel."""

from __future__ import annotations

import os

import pytest
import torch

from cgcd.engine.determinism import set_determinism


def test_a_cpu_is_left_alone() -> None:
    set_determinism(torch.device("cpu"), True)
    assert not torch.are_deterministic_algorithms_enabled()


def test_an_accelerator_gets_all_three(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CUBLAS_WORKSPACE_CONFIG", "")
    monkeypatch.delenv("CUBLAS_WORKSPACE_CONFIG")
    try:
        set_determinism(torch.device("cuda"), True)
        assert torch.are_deterministic_algorithms_enabled()
        assert torch.backends.cudnn.deterministic
        assert os.environ["CUBLAS_WORKSPACE_CONFIG"] == ":4096:8"
    finally:
        set_determinism(torch.device("cuda"), False)
    assert not torch.are_deterministic_algorithms_enabled()
    assert not torch.backends.cudnn.deterministic
