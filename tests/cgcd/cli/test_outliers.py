"""`outliers=...` from the command line."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from cgcd.cli.configs import compose_run
from cgcd.cli.main import main

TINY = [
    "strategy.base.epochs=1",
    "strategy.continual.epochs=1",
    "strategy.warm_up.steps=2",
    "scenario.protocol.num_stages=1",
    "scenario.protocol.samples_per_novel=60",
    "model.input_size=16",
    "model.projection_hidden=16",
]


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CGCD_CACHE", str(tmp_path / "cache"))
    monkeypatch.chdir(tmp_path)


def test_none_by_default_and_then_no_key() -> None:
    assert "outliers" not in compose_run([])[0]


def test_a_run_with_outliers() -> None:
    given = ["outliers=inverted_digits", "outliers.num_samples=50", "tracking=none"]
    assert main(["run", *TINY, *given]) == 0
    (folder,) = Path("runs").iterdir()
    stages = json.loads((folder / "results.json").read_text())["stages"]
    assert [stage["novelty/num_outliers"] for stage in stages] == [50, 50]
    assert all(0 <= stage["novelty/mahalanobis_auroc"] <= 1 for stage in stages)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (["outliers=cifar10"], "outliers.data_root must be given"),
        (["outliers=cifar10", "outliers.data_root=none"], "cgcd: outliers: none does not exist"),
        (["outliers=nope"], "outliers is one of cifar10"),
        (
            ["outliers=inverted_digits", "scenario=digits_online", "strategy=phe"],
            "leave outliers=... out",
        ),
    ],
)
def test_what_cannot_be_used_is_one_line(
    given: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["run", *given]) == 2
    error = capsys.readouterr().err
    assert message in error and error.count("\n") == 1
    assert not Path("runs").exists()
