"""Later stages that show some labels of base classes: every staged strategy trains on them."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch import nn

from cgcd.engine import Baselines, discovery_evaluator, run_stages
from cgcd.models import GCDModel, InputSpec
from cgcd.vocabulary import UNLABELED
from scenarios import Protocol, compose, discovery_scenario
from scenarios.digits import read_digits
from strategies import GCD, Happy, ProtoGCD, SimGCD

PROTOCOL = Protocol(
    num_base=4,
    num_stages=2,
    novel_per_stage=2,
    samples_per_novel=40,
    samples_per_known=20,
    shown_fraction=0.5,
)


@pytest.fixture(scope="module")
def stream():
    data = read_digits()
    composition = compose(data.train_targets, data.test_targets, PROTOCOL, seed=0)
    spec = InputSpec(size=8, crop_pct=0.8)

    def build(num_novel="given"):
        return discovery_scenario(data, composition, name="mixed", inputs=spec, num_novel=num_novel)

    return build


def pixel_model() -> GCDModel:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        net = nn.Sequential(nn.Flatten(), nn.Linear(192, 32), nn.ReLU(), nn.Linear(32, 16))
        return GCDModel(
            net,
            example=torch.rand(2, 3, 8, 8),
            input_size=8,
            projection_hidden=16,
            projection_dim=8,
        )


@pytest.mark.parametrize(
    ("made", "num_novel"),
    [(GCD, "given"), (Happy, "given"), (ProtoGCD, "given"), (SimGCD, "given"), (Happy, "estimate")],
)
def test_a_strategy_trains_on_mixed_stages(made, num_novel, quick, stream):
    scenario = stream(num_novel)
    told = {"given": [4, 2, 2], "estimate": [None] * 3}[num_novel]
    assert [stage.num_novel for stage in scenario.train_stream] == told
    assert [stage.mixed for stage in scenario.train_stream] == [False, True, True]
    for stage in scenario.train_stream[1:]:
        assert set(stage.labels.tolist()) == {0, 1, 2, 3, UNLABELED}
        assert not stage.labeled and stage.classes_in_this_experience == [0, 1, 2, 3]
    strategy = quick(made)(
        pixel_model(),
        epochs=(1, 1),
        num_novel=num_novel,
        evaluator=discovery_evaluator(Baselines()),
    )
    known = []
    begin = strategy.begin_stage
    strategy.begin_stage = lambda stage: (begin(stage), known.append(strategy.num_known))
    result = run_stages(strategy, scenario)
    if num_novel == "given":  # known stays what was met before, labels or none
        assert known == [0, 4, 6] and strategy.model.num_classes == 8
    else:
        assert [count["stage"] for count in strategy.report["counts"]] == [1, 2]
    assert strategy.num_base == 4
    for row in result.rows:
        assert math.isfinite(row["accuracy/all"]) and math.isfinite(row["floor/nearest_mean_all"])
    moved = [p for p in strategy.model.parameters() if not torch.isfinite(p).all()]
    assert not moved and np.isfinite(result.rows[-1]["bound/closed_set_all"])
