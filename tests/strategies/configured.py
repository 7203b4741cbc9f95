"""Every strategy of `configs/strategy`, short, and what a run of it stores."""

from __future__ import annotations

import csv
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from hydra.utils import get_class, instantiate
from omegaconf import DictConfig, OmegaConf
from safetensors.torch import load_file
from torch import nn

from cgcd.cli.configs import choices, config_dir
from cgcd.engine import run_stages
from cgcd.models import GCDModel, InputSpec
from cgcd.stages import DiscoveryScenario

SHORT = {
    "base.epochs": 2,
    "base.batch_size": 16,
    "base.clip_norm": 1.0,  # so tiny a projection would be thrown far by its first gradient
    "continual.epochs": 1,
    "continual.batch_size": 8,
    "continual.clip_norm": 1.0,
    "teacher_temperature_epochs": 1,
    "ramp_epochs": 1,
    "continual_ramp_epochs": 1,
    "kmeans_starts": 1,
    "hash_hidden": 16,
    "hash_bottleneck": 8,
    "num_features": 40,
    "num_components": 8,
    "steps": 20,
}
"""Smaller numbers for the keys that a strategy has."""


def strategies() -> list[tuple[str, str]]:
    """(name, setting): every strategy in every setting that it is made for."""
    names = choices("strategy")
    kinds: list[Any] = [get_class(_settings(name)._target_) for name in names]
    return [(n, s) for n, kind in zip(names, kinds, strict=True) for s in sorted(kind.settings)]


def configured(name: str, inputs: InputSpec, **changes: Any) -> Any:
    """The strategy of a config file, short, on a tiny model.

    Args:
        name: of the file.
        inputs: what the scenario gives: vectors, or images of 8 x 8.
        **changes: constructor arguments.
    """
    settings = _settings(name)
    for key, value in SHORT.items():
        place, _, last = key.rpartition(".")
        parent = OmegaConf.select(settings, place) if place else settings
        if parent is not None and last in parent:
            parent[last] = value
    return instantiate(settings, model=_model(inputs), **{"device": "cpu", **changes})


@dataclass(frozen=True)
class Stored:
    """What a run leaves that no truth and no clock may move.

    Attributes:
        tensors: of all checkpoints, as bytes, by file and name.
        answers: the prediction files without the column of the truth.
        counts: evidence of the estimated numbers of novel classes.
        rows: of the table, which the truth does move, without seconds.
    """

    tensors: dict[str, bytes]
    answers: dict[str, list[list[str]]]
    counts: list[dict[str, Any]]
    rows: list[dict[str, Any]]

    def moved_by(self, other: Stored) -> set[str]:
        """What differs: `tensors`, `answers`, `counts`, `rows`."""
        return {name for name, part in vars(self).items() if part != vars(other)[name]}


def stored_run(strategy: Any, scenario: DiscoveryScenario, folder: Path) -> Stored:
    """Run all stages in a folder and read what it holds then."""
    result = run_stages(strategy, scenario, folder)
    tensors = {
        f"{path.relative_to(folder)}:{name}": tensor.numpy().tobytes()
        for path in sorted(folder.rglob("*.safetensors"))
        for name, tensor in load_file(path).items()
    }
    answers = {path.name: _answers(path) for path in sorted((folder / "predictions").iterdir())}
    counts = [_timeless(count) for count in result.facts.get("counts", [])]
    return Stored(tensors, answers, counts, [_timeless(row) for row in result.rows])


def _settings(name: str) -> DictConfig:
    whole = OmegaConf.load(config_dir() / "run.yaml")
    whole.strategy = OmegaConf.load(config_dir() / "strategy" / f"{name}.yaml")
    return whole.strategy


def _model(inputs: InputSpec) -> GCDModel:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        example = torch.rand(2, *inputs.shape)
        width = example[0].numel()
        layers = [nn.Flatten(), nn.Linear(width, 24), nn.ReLU(), nn.Linear(24, 16)]
        net = nn.Sequential(*layers)
        sizes = {"projection_hidden": 16, "projection_dim": 8, "tail_units": 1}
        more = {"input_size": inputs.size} if inputs.vector is None else {}
        return GCDModel(net, example=example, **sizes, **more)


def _answers(path: Path) -> list[list[str]]:
    with path.open(newline="", encoding="utf-8") as file:
        lines = list(csv.DictReader(file))
    return [[value for key, value in line.items() if key != "true_class"] for line in lines]


def _timeless(row: Any) -> dict[str, Any]:
    return {key: value for key, value in row.items() if not key.startswith("seconds")}
