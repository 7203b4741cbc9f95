"""Streams of embeddings from the command line, and going on where a run of them stopped."""

from __future__ import annotations

import csv
import json
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from avalanche.training.plugins import SupervisedPlugin
from omegaconf import OmegaConf

from cgcd.cli.main import main
from cgcd.engine import Recipe, discovery_evaluator, run_stages
from cgcd.engine.tensor_loading import TrainingTensors
from cgcd.models import Adapter, GCDModel
from scenarios import features_scenario
from scenarios.feature_stages import HalfKnown
from strategies import Happy, happy

DIM, EACH = 12, 40
GENERATOR = np.random.default_rng(0)
LABELS = np.repeat(np.arange(6), EACH)
CENTERS = GENERATOR.standard_normal((6, DIM))
VECTORS = (CENTERS[LABELS] + 0.2 * GENERATOR.standard_normal((240, DIM))).astype(np.float32)
IDS = np.array([f"=s{i}" for i in range(240)])
SHORT = [
    "tracking=none",
    "strategy.base.epochs=3",
    "strategy.continual.epochs=3",
    "strategy.base.batch_size=32",
    "strategy.continual.batch_size=32",
    "model.projection_hidden=16",
    "model.projection_dim=8",
]


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("CGCD_CACHE", str(tmp_path / "cache"))
    np.savez("all.npz", f=VECTORS, y=LABELS, ids=IDS, classes=np.array(list("abcdef")))
    return tmp_path


def only_run() -> Path:
    (folder,) = Path("runs").iterdir()
    return folder


@pytest.mark.parametrize("model", ["adapter", "identity"])
def test_a_labeled_file_becomes_a_stream(
    here: Path, model: str, capsys: pytest.CaptureFixture
) -> None:
    command = ["run", "scenario=features", f"model={model}", "data_root=all.npz", *SHORT]
    assert main(command) == 0, capsys.readouterr()
    results = json.loads((only_run() / "results.json").read_text())
    assert results["finished"] and len(results["stages"]) == 4
    assert OmegaConf.load(only_run() / "config.yaml").model.backbone.dim == DIM
    with (only_run() / "predictions" / "stage_3.csv").open(newline="") as file:
        lines = list(csv.DictReader(file))
    assert len(lines) == 48 and lines[0]["id"].startswith("'=s")  # guarded against formulas
    assert {line["true_class"] for line in lines} == set("abcdef")
    capsys.readouterr()
    assert main([*command[:3], f"data_root={here}/all.npz", *SHORT]) == 0
    assert "finished before" in capsys.readouterr().out


def test_stages_without_labels(here: Path, capsys: pytest.CaptureFixture) -> None:
    known = LABELS < 3
    np.savez("known.npz", f=VECTORS[known], y=LABELS[known])
    for place, name in ((3, "may"), (4, "june")):
        np.save(f"{name}.npy", VECTORS[place == LABELS])
    stages = "scenario.stages=[may.npy,june.npy]"
    model = ["model=adapter", "scenario.labeled=known.npz", stages, *SHORT]
    assert main(["run", "scenario=features_stages", *model]) == 0, capsys.readouterr()
    results = json.loads((only_run() / "results.json").read_text())
    assert results["num_novel"].startswith("estimated") and len(results["stages"]) == 3
    assert "accuracy/all" not in results["stages"][2]
    text = (only_run() / "predictions" / "stage_2.csv").read_text()
    assert "may:0," in text and "june:39," in text


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["scenario=features", "data_root=all.npz"], "takes images: set model=adapter"),
        (["model=identity"], "no file of some is given"),
        (
            ["scenario=features", "model=adapter", "data_root=all.npz", "model.backbone.dim=9"],
            "set model.backbone.dim=12",
        ),
        (["scenario=features", "model=adapter", "data_root=no.npz"], "no.npz is not a file"),
    ],
)
def test_what_does_not_fit_is_one_sentence(
    here: Path, arguments: list[str], message: str, capsys: pytest.CaptureFixture
) -> None:
    assert main(["run", *arguments, *SHORT]) == 2
    said = capsys.readouterr().err
    assert message in said and "Traceback" not in said and not Path("runs").exists()


class Stop(SupervisedPlugin):
    """Breaks off in the middle of a stage; with `at` -1 never."""

    def __init__(self, at: int) -> None:
        super().__init__()
        self.at = at

    def state_dict(self) -> dict[str, Any]:
        return {}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        return

    def after_training_epoch(self, strategy: Any, **kwargs: Any) -> None:
        assert isinstance(strategy.dataloader, TrainingTensors)
        if strategy.stage_index == self.at:
            raise KeyboardInterrupt


def run(folder: Path, at: int) -> dict[str, torch.Tensor]:
    common: dict[str, Any] = {
        "epochs": 2,
        "batch_size": 16,
        "optimizer": partial(torch.optim.SGD, lr=0.05, momentum=0.9),
    }
    torch.manual_seed(0)
    model = GCDModel(Adapter(DIM, 8), projection_hidden=16, projection_dim=8)
    scenario = features_scenario(
        inputs=model.inputs, data_root="all.npz", noise=0.1, protocol=HalfKnown(num_stages=2)
    )
    strategy = Happy(
        model=model,
        base=Recipe(**common, weights=happy.BASE.weights),
        continual=Recipe(**common, weights=happy.CONTINUAL.weights),
        plugins=[Stop(at)],
        evaluator=discovery_evaluator(),
    )
    run_stages(strategy, scenario, folder)
    return strategy.model.state_dict()


def test_a_broken_run_goes_on_to_the_same_bits(here: Path) -> None:
    whole = run(here / "whole", -1)
    with pytest.raises(KeyboardInterrupt):
        run(here / "broken", 2)
    again = run(here / "broken", -1)
    assert all(torch.equal(tensor, again[name]) for name, tensor in whole.items())
    for name in ("metrics.csv", "predictions/stage_2.csv"):
        ours, theirs = ((here / f / name).read_text() for f in ("whole", "broken"))
        drop = [line for line in ours.splitlines() if "seconds" not in line]
        assert drop == [line for line in theirs.splitlines() if "seconds" not in line]
