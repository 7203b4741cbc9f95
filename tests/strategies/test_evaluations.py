"""Evaluating never, once or three times between stages leaves every strategy the same."""

from __future__ import annotations

import random
import runpy
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from cgcd.engine.stage_state import stage_state

HERE = Path(__file__).parent
made = SimpleNamespace(**runpy.run_path(str(HERE / "configured.py")))
streams = SimpleNamespace(**runpy.run_path(str(HERE / "poisonable.py")))


def left_behind(strategy):
    """All that steps and stages change, by name: parts, memories, moments, generators, counters."""
    tensors, plain = stage_state(strategy, batches=0)
    tensors |= {f"model.{name}": tensor for name, tensor in strategy.model.state_dict().items()}
    bits = {name: tensor.detach().numpy().tobytes() for name, tensor in tensors.items()}
    del plain["metrics"], plain["clock"]["total_iterations"]  # they count evaluations, too
    modes = [module.training for module in strategy.model.modules()]
    return {**bits, **plain, "modes": modes}


def answers(strategy, scenario):
    """Of the stream where there is one: it is observed after the evaluations."""
    if scenario.setting != "online":
        return {}
    inputs = torch.stack([sample[0] for sample in scenario.stream.dataset.eval()])
    observed = strategy.observe(inputs)
    return {"ids": observed.ids.tolist(), "distances": observed.distance.tolist()}


@pytest.mark.parametrize(("name", "setting"), made.strategies())
def test_evaluations_leave_no_trace(name, setting, tmp_path):
    def after(times):
        torch.manual_seed(1), np.random.seed(1), random.seed(1)
        scenario = streams.KINDS[streams.KIND_OF_SETTING[setting]](tmp_path)
        strategy = made.configured(name, streams.VECTOR_INPUTS)
        parts = [scenario.test_stream]
        if setting == "single_stage":
            parts.append(scenario.unlabeled_stream)
        for stage in scenario.train_stream[: 1 if setting == "online" else None]:
            strategy.train(stage)
            for part in times * parts:
                strategy.eval(part)
        return {**left_behind(strategy), **answers(strategy, scenario)}

    never = after(0)
    for again in (after(1), after(3)):
        assert never.keys() == again.keys()
        assert [name for name in never if never[name] != again[name]] == []
