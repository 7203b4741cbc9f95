"""Two processes do what one does: losses, predictions, files; and none waits for a lost one.

The runs are forked from one process, see `driver.py`.
"""

from __future__ import annotations

import csv
import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="processes are forked")
ROOT = Path(__file__).resolve().parents[2]
Ask = Callable[..., list[dict[str, Any]]]


@pytest.fixture(scope="module")
def ask(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ask]:
    """Gives a job to the driver and waits for the answer of each process."""
    environment = {
        **os.environ,
        "PYTHONPATH": str(ROOT),
        "OMP_NUM_THREADS": "1",
        "TORCH_CPP_LOG_LEVEL": "ERROR",  # the command sets it, but not before torch is there
    }
    cache = tmp_path_factory.mktemp("cache")
    server = subprocess.Popen(
        [sys.executable, str(Path(__file__).parent / "driver.py")],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env={**environment, "CGCD_CACHE": str(cache)},
    )
    assert server.stdin is not None and server.stdout is not None
    assert json.loads(server.stdout.readline())["ready"]

    def answered(folder: Path, **job: Any) -> list[dict[str, Any]]:
        server.stdin.write(json.dumps({"folder": str(folder), **job}) + "\n")
        server.stdin.flush()
        return json.loads(server.stdout.readline())

    yield answered
    server.terminate()
    server.wait()


@pytest.fixture(scope="module")
def one(ask: Ask, tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], tuple[Path, Any]]:
    """Folder and answer of a case's run in one process."""
    made: dict[str, tuple[Path, Any]] = {}

    def run(case: str) -> tuple[Path, Any]:
        if case not in made:
            folder = tmp_path_factory.mktemp("one") / case
            (seen,) = ask(folder, case=case, count=1, steps=2)
            assert seen["code"] == 0, seen["complained"]
            made[case] = folder, seen
        return made[case]

    return run


def agreement(folder: Path, other: Path) -> float:
    """Share of equal predictions of the last file of two runs."""
    last = sorted((folder / "predictions").iterdir())[-1].name
    answers = []
    for run in (folder, other):
        with (run / "predictions" / last).open(newline="") as file:
            answers.append([line["category"] for line in csv.DictReader(file)])
    return float(np.mean([a == b for a, b in zip(*answers, strict=True)]))


def files(folder: Path) -> set[str]:
    return {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}


@pytest.mark.parametrize("case", ["happy", "proto_gcd", "gcd", "phe"])
def test_as_one_process(ask: Ask, one: Any, tmp_path: Path, case: str) -> None:
    folder, alone = one(case)
    first, second = ask(tmp_path / case, case=case, count=2)
    assert [first["code"], second["code"]] == [0, 0], first["complained"] + second["complained"]
    assert first["losses"] == second["losses"] and first["weights"] == second["weights"]
    np.testing.assert_allclose(first["losses"][:20], alone["losses"][:20], rtol=0, atol=1e-5)
    assert len(first["losses"]) == len(alone["losses"]) >= 9
    assert agreement(tmp_path / case, folder) >= 0.995
    assert files(tmp_path / case) == files(folder)


@pytest.mark.parametrize(("before", "after"), [(2, 1), (1, 2)])
def test_another_number_goes_on(
    ask: Ask, one: Any, tmp_path: Path, before: int, after: int
) -> None:
    folder, alone = one("happy")
    broken = ask(tmp_path / "run", case="happy", count=before, steps=2, last=13)
    assert {process["code"] for process in broken} == {130}
    going = ask(tmp_path / "run", case="happy", count=after, steps=2)
    assert {process["code"] for process in going} == {0}, going[0]["complained"]
    assert "going on inside stage 1" in going[0]["said"]
    losses = [process["losses"] for process in going]
    expected = alone["losses"][-len(losses[0]) :]  # from the last checkpoint on
    np.testing.assert_allclose(losses[0][0], expected[0], rtol=0, atol=1e-5)
    assert 0 < len(alone["losses"]) - len(losses[0]) <= 13 and losses[0] == losses[-1]
    assert agreement(tmp_path / "run", folder) >= 0.995
    assert files(tmp_path / "run") == files(folder)


def test_a_lost_process_stops_the_other(ask: Ask, tmp_path: Path) -> None:
    first, lost = ask(tmp_path / "run", case="gcd", count=2, lost=1)
    assert (first["code"], lost["code"]) == (2, 9)
    assert "process 0 of 2 waits in vain for another one" in first["complained"]


def test_the_command(ask: Ask, tmp_path: Path) -> None:
    rows = np.random.default_rng(0)
    labels = np.repeat(np.arange(4), 24)
    vectors = 3 * rows.standard_normal((4, 6))[labels] + rows.standard_normal((96, 6))
    np.savez(tmp_path / "all.npz", f=vectors.astype(np.float32), y=labels)
    keys = ["projection_hidden=8", "projection_dim=4"]
    arguments = [
        *("run", "scenario=features", "model=adapter", "data_root=all.npz", "device=cpu"),
        *("analysis=false", "baselines=false"),
        *(f"model.{key}" for key in keys),
        *(f"strategy.{part}.epochs=1" for part in ("base", "continual")),
        *(f"strategy.{part}.batch_size=16" for part in ("base", "continual")),
    ]
    first, second = ask(tmp_path, count=2, arguments=arguments)
    assert (first["code"], second["code"]) == (0, 0), first["complained"] + second["complained"]
    assert "results:" in first["said"] and second["said"] == second["complained"] == ""
    (folder,) = (tmp_path / "runs").iterdir()
    assert json.loads((folder / "results.json").read_text())["machine"].endswith("2 processes")
    assert len(list((folder / "tensorboard").glob("events.*"))) == 3
    (alone,) = ask(tmp_path, count=1, arguments=arguments)
    assert "finished before" in alone["said"]  # by the same name
    swept = ask(tmp_path, count=2, arguments=[*arguments, "-m", "seed=0,1"])
    assert {process["code"] for process in swept} == {2}
    assert "torchrun starts one run" in swept[0]["complained"]
