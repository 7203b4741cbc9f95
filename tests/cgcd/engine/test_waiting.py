"""What makes a step wait for an accelerator does not occur in a step: found on a CPU, by operator.

A number read from a tensor, the places where something holds and a choice by a mask have results
whose value or size the host must know before it can go on.
"""

from __future__ import annotations

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from cgcd.engine import DiscoveryStrategy, Recipe
from cgcd.engine.finite import FiniteLoss
from strategies import PHE, SMILE, Happy, ProtoGCD, SimGCD, happy, phe, proto_gcd, simgcd, smile

_WAITING = {"_local_scalar_dense", "nonzero", "is_nonzero", "masked_select", "equal"}
_CHOOSING = {"index", "index_put", "index_put_"}


class Waits(TorchDispatchMode):
    """Names of the operators that wait."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []

    def __torch_dispatch__(self, operator, types, args=(), kwargs=None):
        name = operator.overloadpacket.__name__
        by_mask = name in _CHOOSING and any(
            isinstance(part, torch.Tensor) and part.dtype == torch.bool for part in args[1]
        )
        if by_mask or name in _WAITING:
            self.found.append(name)
        return operator(*args, **(kwargs or {}))


@pytest.fixture
def waits(monkeypatch):
    """Operators that wait in the forward and backward passes of all steps."""
    found: list[str] = []

    def watched(method):
        def run(self):
            if not self.is_training:
                return method(self)
            with Waits() as mode:
                result = method(self)
            found.extend(mode.found)
            return result

        return run

    for name in ("forward", "weighed_terms", "backward"):
        monkeypatch.setattr(DiscoveryStrategy, name, watched(getattr(DiscoveryStrategy, name)))
    monkeypatch.setattr(FiniteLoss, "see", lambda *args: None)  # looks at once on a CPU only
    return found


def short(recipe: Recipe) -> Recipe:
    return Recipe(epochs=1, batch_size=16, optimizer=recipe.optimizer, weights=recipe.weights)


@pytest.mark.parametrize(
    ("method", "module"),
    [(Happy, happy), (ProtoGCD, proto_gcd), (SimGCD, simgcd), (PHE, phe), (SMILE, smile)],
)
def test_no_step_waits(
    method, module, waits, blob_model, blobs, blob_single_stage, blob_stream
) -> None:
    recipes = {
        name: short(getattr(module, name.upper()))
        for name in ("base", "continual")
        if hasattr(module, name.upper())
    }
    strategy = method(model=blob_model(), **recipes)
    setting = next(s for s in ("continual", "single_stage", "online") if s in method.settings)
    build = {"continual": blobs, "single_stage": blob_single_stage, "online": blob_stream}[setting]
    for stage in build().train_stream[: 2 if setting == "continual" else 1]:
        strategy.train(stage)
    assert strategy.clock.train_iterations > 2 and not waits


def test_the_look_for_it_finds_each_kind() -> None:
    values = torch.arange(4.0)
    with Waits() as mode:
        values.sum().item()
        values.nonzero()
        values[values > 1]
        values[values > 1] = torch.zeros(2)
        values[torch.tensor([0, 1])]
    assert mode.found == ["_local_scalar_dense", "nonzero", "index", "index_put_"]
