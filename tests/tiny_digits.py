"""A finished run of digits with a tiny network and everything that is logged, in some seconds."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import nn

from cgcd.engine import Baselines, StageAnalysis, discovery_evaluator, run_stages
from cgcd.models import GCDModel
from cgcd.tracking.tensorboard import StageTensorBoard
from scenarios import Protocol, digits_scenario


def run(folder: Path, quick_happy: Callable[..., Any], names: Sequence[str]) -> tuple[Any, Any]:
    """Eight base digits, then one more in each of two stages; gives strategy and scenario.

    Args:
        folder: of the run.
        quick_happy: builds the strategy.
        names: of the first classes.
    """
    layers = nn.Sequential(nn.Conv2d(3, 8, 3, 2), nn.ReLU(), nn.AdaptiveAvgPool2d(2), nn.Flatten())
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = GCDModel(
            nn.Sequential(layers, nn.Linear(32, 24)),
            example=torch.rand(2, 3, 16, 16),
            projection_hidden=8,
            projection_dim=4,
            input_size=16,
            mean=(0.5, 0.5, 0.5),
            std=(0.5, 0.5, 0.5),
        )
    protocol = Protocol(num_base=8, num_stages=2, samples_per_novel=60, samples_per_known=6)
    scenario = digits_scenario(protocol=protocol, inputs=model.inputs)
    scenario.class_names = (*names, *scenario.class_names[len(names) :])
    logger = StageTensorBoard(folder / "tensorboard")
    evaluator = discovery_evaluator(Baselines(), StageAnalysis(), loggers=[logger])
    strategy = quick_happy(
        model=model, epochs=(1, 1), batch_size=64, evaluator=evaluator, num_novel="estimate"
    )
    run_stages(strategy, scenario, folder, facts={"versions": {"<b>": "1|2"}})
    logger.close()
    return strategy, scenario
