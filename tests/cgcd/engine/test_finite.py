"""The step at which a loss stops being a number, on a CPU at once and elsewhere before storing."""

from __future__ import annotations

import math

import pytest
import torch
from torch import nn

from cgcd.engine.finite import FiniteLoss, check_weights
from cgcd.vocabulary import InputError


def see(watch: FiniteLoss, step: int, a: float, b: float = 1.0, device: str = "cpu") -> None:
    terms = {"a": torch.tensor(a), "b": torch.tensor(b)}
    watch.see(terms, sum(terms.values()), step)


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_on_a_cpu_the_step_itself_is_refused(value: float) -> None:
    watch = FiniteLoss()
    watch.begin(2, "continual")
    see(watch, 0, 1.0)
    with pytest.raises(InputError, match=r"stage 2, step 1: the loss term a is .*continual\.opt"):
        see(watch, 1, value)
    with pytest.raises(InputError, match="a is nan, b is"):
        see(watch, 2, math.nan, value)


def test_a_sum_that_overflows_is_named_as_one() -> None:
    with pytest.raises(InputError, match="the weighted sum of a, b is inf; wanted a finite"):
        see(FiniteLoss(), 0, 3e38, 3e38)


def test_elsewhere_steps_are_looked_at_together(monkeypatch: pytest.MonkeyPatch) -> None:
    class Elsewhere(torch.Tensor):
        """A scalar that says it lies on an accelerator."""

        @property
        def device(self) -> torch.device:
            return torch.device("cuda")

    watch, looked = FiniteLoss(), []
    check = FiniteLoss.check
    monkeypatch.setattr(FiniteLoss, "check", lambda self: (looked.append(1), check(self)))

    def step(number: int, value: float) -> None:
        terms = {"a": torch.tensor(value)}
        watch.see(terms, torch.tensor(value).as_subclass(Elsewhere), number)

    step(0, 1.0)
    looked.clear()
    for number in range(1, 31):
        step(number, math.nan if number == 5 else 1.0)
    assert not looked  # no step has waited
    with pytest.raises(InputError, match="step 5: the loss term a is nan"):
        step(31, 1.0)
    watch.check()  # said once
    step(32, math.nan)
    with pytest.raises(InputError, match="step 32"):
        watch.check()
    step(33, math.nan)
    watch.begin(1, "continual")
    watch.check()


def test_weights_that_no_loss_shows() -> None:
    model = nn.Linear(2, 2)
    check_weights(model, "now", "mend")
    for value in (math.nan, math.inf, 1e20):
        with torch.no_grad():
            model.bias[1] = value
        with pytest.raises(InputError, match=r"now the weights bias reach .*below 1e\+12: mend"):
            check_weights(model, "now", "mend")
    model.bias.requires_grad_(False)
    check_weights(model, "now", "mend")
