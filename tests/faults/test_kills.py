"""Real runs are killed, or cannot write; the same call then ends as if nothing had happened.

Runs are forked from one process, see `driver.py`; `tests/benchmarks/kills.py` does this by the
hundred.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from itertools import count
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytestmark = [
    pytest.mark.kills,
    pytest.mark.skipif(not hasattr(os, "fork"), reason="runs are forked"),
]
ROOT = Path(__file__).resolve().parents[2]
Ask = Callable[..., dict[str, Any]]


@pytest.fixture(scope="module")
def ask(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """Gives a job to the driver and waits for its answer."""
    cache = tmp_path_factory.mktemp("cache")
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    server = subprocess.Popen(
        [sys.executable, str(ROOT / "tests" / "faults" / "driver.py")],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env={**environment, "CGCD_CACHE": str(cache)},
    )
    assert server.stdin is not None and server.stdout is not None
    assert json.loads(server.stdout.readline())["ready"]

    def answered(**job: Any) -> dict[str, Any]:
        server.stdin.write(json.dumps(job) + "\n")
        server.stdin.flush()
        return json.loads(server.stdout.readline())

    yield answered
    server.stdin.close()
    server.wait(timeout=30)


@pytest.fixture(scope="module")
def whole(ask: Ask, tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], dict[str, Any]]:
    """Folder and number of instants of the unbroken run of a case."""
    made: dict[str, dict[str, Any]] = {}

    def run(case: str) -> dict[str, Any]:
        if case not in made:
            folder = tmp_path_factory.mktemp("whole") / case
            made[case] = {"folder": folder, **ask(case=case, folder=str(folder))}
            assert made[case]["code"] == 0, made[case]["said"]
        return made[case]

    return run


def ends_as_unbroken(ask: Ask, whole: Any, case: str, folder: Path, **how: Any) -> None:
    last = ask(case=case, folder=str(folder), **how)
    assert last["code"] == 0, last["said"]
    assert ask(compare=[str(folder), str(whole(case)["folder"])])["differ"] == []


CHOSEN = [
    ("happy", "tensors half written", 6),
    ("happy", "between two files", 8),
    ("happy", "before rename", 9),
    ("happy", "after rename", 13),
    ("happy", "removing", 25),
    ("happy", "evaluation", 3),
    ("happy", "begin stage", 4),
    ("proto_gcd", "between two files", 2),
    ("proto_gcd", "inside a step", 20),
    ("proto_gcd", "end stage", 1),
    ("proto_gcd", "predictions", 2),
    ("phe", "inside a step", 26),
    ("phe", "between two files", 4),
    ("phe", "observe", 3),
    ("phe", "observe", 6),
    ("phe", "before rename", 8),
]


@pytest.mark.parametrize(("case", "phase", "place"), CHOSEN)
def test_killed_at_a_chosen_instant(
    ask: Ask, whole: Any, tmp_path: Path, case: str, phase: str, place: int
) -> None:
    folder = tmp_path / "run"
    killed = ask(case=case, folder=str(folder), kill_in=[phase, place])
    assert (killed["code"], killed["phase"]) == (-9, phase), killed["said"]
    ends_as_unbroken(ask, whole, case, folder)


@pytest.mark.parametrize("case", ["happy", "proto_gcd", "phe"])
def test_killed_at_random_instants_one_after_the_other(
    ask: Ask, whole: Any, tmp_path: Path, case: str
) -> None:
    draws, folder = np.random.default_rng(0), tmp_path / "run"
    for _ in range(2):
        place = int(draws.integers(1, max(whole(case)["instants"] // 2, 2)))
        assert ask(case=case, folder=str(folder), kill_at=place)["code"] == -9
    soon = 0.2 * whole(case)["seconds"]
    assert ask(case=case, folder=str(folder), kill_after=soon)["code"] in (-9, 0)
    ends_as_unbroken(ask, whole, case, folder)


def test_killed_with_worker_processes(ask: Ask, whole: Any, tmp_path: Path) -> None:
    folder = tmp_path / "run"
    place = ["inside a step", 10]
    assert ask(case="proto_gcd", folder=str(folder), workers=2, kill_in=place)["code"] == -9
    ends_as_unbroken(ask, whole, "proto_gcd", folder)


@pytest.mark.parametrize("place", [["inside a step", 14], ["between two files", 5]])
def test_an_interrupt_ends_with_a_sentence(
    ask: Ask, whole: Any, tmp_path: Path, place: list[Any]
) -> None:
    folder = tmp_path / "run"
    stopped = ask(case="proto_gcd", folder=str(folder), kill_in=place, gently=True)
    assert stopped["code"] == 130, stopped["said"]
    assert stopped["said"].endswith("cgcd: stopped; the same command goes on\n")
    assert "Traceback" not in stopped["said"]
    ends_as_unbroken(ask, whole, "proto_gcd", folder)


@pytest.mark.parametrize("trouble", ["ENOSPC", "EIO"])
@pytest.mark.parametrize(("case", "first"), [("happy", 4), ("proto_gcd", 3), ("phe", 9)])
def test_a_disk_that_fails_once_after_the_other(
    ask: Ask, whole: Any, tmp_path: Path, case: str, first: int, trouble: str
) -> None:
    folder, places = tmp_path / "run", count(first, 13)
    for _ in range(2):
        failed = ask(case=case, folder=str(folder), fault=[trouble, next(places)])
        assert failed["code"] == 2, failed["said"]
        sentence = failed["said"].splitlines()[-1]
        words = {"ENOSPC": "No space left on device", "EIO": "Input/output error"}[trouble]
        assert str(folder) in sentence and words in sentence and "goes on" in sentence
        assert "Traceback" not in failed["said"]
        names = [path.name for path in folder.rglob("*") if path.name != ".lock"]
        assert not [name for name in names if name.startswith(".")]  # nothing half written
    ends_as_unbroken(ask, whole, case, folder)


@pytest.mark.parametrize("limit", [5_000, 9_000])
def test_a_limit_of_the_system_on_file_sizes(
    ask: Ask, whole: Any, tmp_path: Path, limit: int
) -> None:
    failed = ask(case="happy", folder=str(tmp_path / "run"), limit=limit)
    assert failed["code"] == 2 and "File too large" in failed["said"]
    assert "Traceback" not in failed["said"]
    ends_as_unbroken(ask, whole, "happy", tmp_path / "run")
