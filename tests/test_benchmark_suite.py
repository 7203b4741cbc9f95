"""The benchmark suite runs, tells what it ran on, and compares steps that have the same losses."""

from __future__ import annotations

import importlib
import os
import subprocess
import sys
from argparse import Namespace
from pathlib import Path

import numpy as np
import pytest

HERE = Path(__file__).resolve().parent / "benchmarks"


@pytest.fixture()
def script(monkeypatch):
    """Imports a benchmark by name, as a script beside it would."""
    monkeypatch.syspath_prepend(str(HERE))
    return importlib.import_module


def test_rows_say_whether_they_reach_their_bar(script, monkeypatch, tmp_path):
    timing = script("_timing")
    monkeypatch.setenv(timing.ROWS_FILE, str(tmp_path / "rows"))
    fast = timing.faster("a", [1.0, 2.0, 4.0], [3.0, 4.0, 20.0], "plain", bar=2.5)
    assert fast.values == [3.0, 2.0, 5.0] and fast.median == 3.0 and fast.met == "yes"
    slow = timing.overhead("b", [1.05, 1.1], [1.0, 1.0], "bare", unit="%", bar=3.0)
    assert np.allclose(slow.values, [5.0, 10.0]) and slow.met == "no"
    wall = timing.overhead("c", [2e-4], [1e-4], "bare", unit="µs", scale="µs")
    assert wall.median == pytest.approx(100) and wall.met == "" and wall.ours == "200 µs"
    cubic = timing.Growth("d", "N", [10, 20, 40], [1e-3, 8e-3, 64e-3])
    assert cubic.slope == pytest.approx(3)
    given = [timing.hand_over(row) for row in (fast, cubic, slow)]
    assert timing.handed_over(tmp_path / "rows") == given


def test_a_benchmark_that_fails_is_named_and_the_others_count(script, monkeypatch, tmp_path):
    suite = script("suite")
    assert all((HERE / one.script).is_file() for one in suite.BENCHMARKS.values())
    bad, good = tmp_path / "bad.py", tmp_path / "good.py"
    bad.write_text("raise SystemExit('no')")
    good.write_text("from _timing import *; hand_over(Row('a', [1.0], 's', bar=2))")
    both = {"bad": suite.Benchmark(str(bad)), "good": suite.Benchmark(str(good))}
    monkeypatch.setattr(suite, "BENCHMARKS", both)
    monkeypatch.setenv("PYTHONPATH", str(HERE))
    found, failed = suite.run(both, True, tmp_path / "rows")
    assert failed == ["bad"] and [row.met for row in found] == ["yes"]
    assert "| a " in suite.comparisons(found)


def test_the_command_prints_machine_and_table():
    command = [sys.executable, str(HERE / "suite.py"), "--quick", "--only", "hash_codebook"]
    done = subprocess.run(
        command, capture_output=True, text=True, env={**os.environ, "OMP_NUM_THREADS": "1"}
    )
    assert done.returncode == 0, done.stderr
    assert "1 thread," in done.stdout and "torch" in done.stdout
    assert "| codebook, 200 codes of 200 centers" in done.stdout and " times" in done.stdout


def test_one_trunk_pass_has_the_losses_of_three(script):
    benchmark = script("three_pass_step")
    turns, _ = benchmark.measured(
        Namespace(
            backbone="vit_tiny_patch16_224",
            device="cpu",
            precision="fp32",
            compile=False,
            pixels=32,
            batch=4,
            steps=1,
            rounds=1,
        )
    )
    assert turns.bare.difference < 1e-5
    assert len(turns.framework) == len(turns.loop) == 1
