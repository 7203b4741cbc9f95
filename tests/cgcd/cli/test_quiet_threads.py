"""Waiting threads sleep: told before torch is there, and never against the environment."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest
import torch

from cgcd.cli import main
from cgcd.cli.parts import _set_threads
from cgcd.cli.quiet_threads import wait_quietly

ASKED = """
import os, sys
from cgcd.cli.quiet_threads import wait_quietly
said = wait_quietly()
told = [os.environ.get(name) for name in ("OMP_WAIT_POLICY", "GOMP_SPINCOUNT")]
print(said, *told, "torch" in sys.modules)
"""


@pytest.mark.parametrize(
    ("given", "printed"),
    [
        ({}, "True passive 20000 False"),
        ({"OMP_WAIT_POLICY": "active"}, "False active None False"),
        ({"GOMP_SPINCOUNT": "5"}, "False None 5 False"),
    ],
)
def test_it_is_told_before_torch_and_what_the_environment_says_stays(
    given: dict[str, str], printed: str
) -> None:
    plain = {k: v for k, v in os.environ.items() if k not in ("OMP_WAIT_POLICY", "GOMP_SPINCOUNT")}
    done = subprocess.run(
        [sys.executable, "-c", ASKED], env={**plain, **given}, capture_output=True, text=True
    )
    assert done.stdout.strip() == printed, done.stderr


def test_with_torch_there_it_is_too_late(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OMP_WAIT_POLICY", raising=False)
    assert not wait_quietly() and "OMP_WAIT_POLICY" not in os.environ


def test_every_command_asks_for_it(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[bool] = []
    monkeypatch.setattr(main, "wait_quietly", lambda: asked.append(True))
    assert main.main(["data", "list"]) == 0 and asked


@pytest.mark.parametrize(
    ("million", "device", "given", "threads"),
    [
        (0.9, "cpu", "auto", 1),
        (4.9, "cpu", "auto", 2),
        (5.1, "cpu", "auto", 7),
        (0.9, "cuda", "auto", 7),
        (4.9, "cpu", "3", 3),
    ],
)
def test_small_models_get_few_threads(
    million: float, device: str, given: str, threads: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    set_to: list[int] = []
    monkeypatch.setattr(torch, "set_num_threads", set_to.append)
    monkeypatch.setattr("cgcd.cli.parts._THREADS", 7)
    model = torch.nn.ParameterDict({"weight": torch.empty(int(million * 1e6), device="meta")})
    holder = torch.nn.Module()
    holder.backbone = model
    _set_threads(given, holder, torch.device(device))
    assert set_to == [threads]
