"""`cgcd tune` opens no hidden and no test label: with poisoned ones it writes the same table."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import numpy as np
import pytest

from cgcd.cli.main import main

TARGETS, TESTS = np.repeat(np.arange(8), 16), np.repeat(np.arange(8), 4)
LABELED = 4  # classes
GENERATOR = np.random.default_rng(0)
LABELS = np.concatenate([TARGETS, TESTS])
VECTORS = GENERATOR.standard_normal((8, 12))[LABELS] + 0.4 * GENERATOR.standard_normal((160, 12))
SHORT = [
    *("strategy.base.epochs=2", "strategy.base.batch_size=8", "baselines=false", "analysis=false"),
    *("model.projection_hidden=16", "model.projection_dim=8", "torch_threads=1"),
    *("tune=none", "tune.num_folds=1"),
]
ONE_STEP_A_BATCH = ["strategy.continual.epochs=1", "strategy.continual.batch_size=8"]
PROTOCOL = [f"scenario.protocol.num_known={LABELED}", "scenario.protocol.num_novel=null"]
SETTINGS = {
    "features": ["strategy=happy", *ONE_STEP_A_BATCH, "tune.grid.strategy.radius_scale=[2.0]"],
    "features_gcd": [
        *("strategy=simgcd", *PROTOCOL),
        "tune.grid.strategy.student_temperature=[0.2]",
    ],
    "features_online": [
        *("strategy=phe", *PROTOCOL),
        *("strategy.hash_hidden=16", "strategy.hash_bottleneck=8"),
        "tune.grid.strategy.mask_probability=[0.3]",
    ],
}


def poisoned() -> np.ndarray:
    """Other classes for every sample of a class that is not labeled, and for all test samples."""
    labels = LABELS.copy()
    is_test = np.arange(len(labels)) >= len(TARGETS)
    for places in (~is_test & (LABELS >= LABELED), is_test):
        labels[places] = GENERATOR.permutation(labels[places])
    return labels


def dealt_anew() -> np.ndarray:
    """All samples of the labeled classes, dealt anew."""
    labels = LABELS.copy()
    places = (np.arange(len(labels)) < len(TARGETS)) & (LABELS < LABELED)
    labels[places] = GENERATOR.permutation(labels[places])
    return labels


@pytest.fixture
def compared(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """The choice and the table that `cgcd tune` writes for some labels, without times."""

    def tune(scenario: str, labels: np.ndarray) -> tuple[str, list[dict[str, str]]]:
        place = tmp_path / str(len(list(tmp_path.iterdir())))
        place.mkdir()
        monkeypatch.chdir(place)
        monkeypatch.setenv("CGCD_CACHE", str(place / "cache"))
        split = np.repeat([0, 1], [len(TARGETS), len(TESTS)])
        np.savez("all.npz", f=VECTORS.astype(np.float32), y=labels, split=split)
        given = [f"scenario={scenario}", "model=adapter", "data_root=all.npz"]
        assert main(["tune", *given, *SETTINGS[scenario], *SHORT]) == 0
        (folder,) = Path("runs").iterdir()
        with (folder / "table.csv").open(newline="") as file:
            table = [{**row, "seconds": ""} for row in csv.DictReader(file)]
        return json.loads((folder / "tune.json").read_text())["command"], table

    return tune


@pytest.mark.parametrize("scenario", SETTINGS)
def test_poisoned_labels_choose_the_same(compared, scenario: str) -> None:
    clean = compared(scenario, LABELS)
    assert sum(row["kind"] != "floor" for row in clean[1]) == 2
    assert clean == compared(scenario, poisoned())


def test_other_labels_of_the_labeled_classes_change_the_table(compared) -> None:
    assert compared("features", LABELS)[1] != compared("features", dealt_anew())[1]
