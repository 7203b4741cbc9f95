"""Every published recipe runs from the command line, on tiny files in its data set's true format.

Cut down are the epochs, the batch, the backbone and the sizes of the protocol; losses, weights,
optimizer, schedule, views and the reader of the data set stay those of the recipe.
"""

from __future__ import annotations

import csv
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from cgcd.cli.configs import choices, compose_run
from cgcd.cli.main import main

EXPERIMENTS = choices("experiment")
CLASSES = 6

SMALL_NET = [
    "model.backbone=test_vit",  # timm's smallest: 4 blocks of width 64
    "model.pretrained=false",
    "model.weights=null",
    "model.tail_units=1",
    "model.input_size=16",
    "model.projection_hidden=16",
    "model.projection_dim=8",
]
SHORT = ["tracking=none", "baselines=false", "device=cpu", "num_workers=0"]
SMALL = {
    "teacher_temperature_epochs": 1,
    "ramp_epochs": 1,
    "kmeans_starts": 1,
    "steps": 5,
    "num_features": 20,
    "memory_features": 20,
}
STAGES = {
    "num_base": 3,
    "num_stages": 2,
    "novel_per_stage": 1,
    "samples_per_novel": 6,
    "samples_per_known": 2,
    "base_classes": "natural",
}
PARTS = {
    "num_known": 3,
    "num_novel": 2,
    "known_classes": "natural",
    "novel_classes": "natural",
}


def cut(config: Any) -> list[str]:
    """Overrides that make a recipe small, whatever its method and setting."""
    strategy, scenario = config.strategy, config.scenario
    in_stages, on_digits = "num_base" in scenario.protocol, "stages_file" in scenario
    given = []
    for part in ("base", "continual"):
        if strategy.get(part):
            size = strategy[part].batch_size if on_digits else 8
            given += [f"strategy.{part}.epochs=1", f"strategy.{part}.batch_size={size}"]
    given += [f"strategy.{key}={value}" for key, value in SMALL.items() if key in strategy]
    sizes = {**(STAGES if in_stages else PARTS)}
    if in_stages and scenario.protocol.subset_size is not None:
        sizes["subset_size"] = CLASSES - 1
    if in_stages and on_digits:
        sizes["samples_per_novel"] = 40
    given += [f"scenario.protocol.{key}={value}" for key, value in sizes.items()]
    if on_digits:
        given.append("scenario.stages_file=null")
    return given + [f"~model.backbone_kwargs.{key}" for key in config.model.backbone_kwargs]


def data_of(name: str, config: Any) -> str:
    """Name of the tiny data set that a recipe reads, "" where it needs none."""
    if name == "happy_cifar100_reduced":
        return "npz"
    return config.scenario.get("dataset") or "digits"


@pytest.fixture(scope="module")
def tiny(
    write_published: Callable[..., Any], tmp_path_factory: pytest.TempPathFactory
) -> Callable[[str], Path]:
    """Gives the root of a tiny data set, each written once."""
    roots: dict[str, Path] = {}

    def root(name: str) -> Path:
        if name not in roots:
            roots[name] = tmp_path_factory.mktemp(name)
            if name == "npz":
                images = np.random.default_rng(0).integers(0, 256, (96, 32, 32, 3), np.uint8)
                roots[name] /= "images.npz"
                np.savez(roots[name], x=images, y=np.arange(96) % CLASSES)
            elif name != "digits":
                write_published(name, roots[name], CLASSES, 12, 3, side=16)
        return roots[name]

    return root


@pytest.mark.parametrize("name", EXPERIMENTS)
def test_a_recipe_runs(
    name: str,
    tiny: Callable[[str], Path],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("CGCD_CACHE", str(tmp_path / "cache"))
    config, chosen = compose_run([f"experiment={name}"])
    assert not chosen["scenario"].startswith("image_folder")  # but the published files
    root = tiny(data_of(name, config))
    given = [f"experiment={name}", f"data_root={root}", *SHORT, *SMALL_NET, *cut(config)]
    assert main(["run", *given]) == 0, capsys.readouterr().err
    (folder,) = (tmp_path / "runs").iterdir()
    assert folder.name.startswith(f"{chosen['scenario']}-{chosen['strategy']}-s0-")
    results = json.loads((folder / "results.json").read_text())
    assert results["finished"]
    with (folder / "metrics.csv").open(newline="") as file:
        values = [float(row["value"]) for row in csv.DictReader(file) if row["value"]]
    assert values and np.isfinite(values).all()
