"""Closed-form heads on raw digits reach the numbers of their specification."""

from __future__ import annotations

import runpy
from pathlib import Path

import numpy as np
import pytest

PATH = Path(__file__).resolve().parents[2] / "benchmarks" / "frozen_smoke.py"


@pytest.fixture(scope="module")
def bench():
    return runpy.run_path(str(PATH))


@pytest.fixture(scope="module")
def found(bench):
    return bench["table"](seeds=2)  # of 8, with a tolerance to match


def test_all_heads_reach_the_reference(bench, found):
    for row, cells in bench["REFERENCE"].items():
        for name, wanted in zip(bench["HEADS"], cells, strict=True):
            tolerance = 7.0 if row[0] == "farthest" else 2.5
            assert abs(found[*row, name][0] - wanted[0]) < tolerance, (row, name)


def test_what_must_hold(bench, found):
    for row in bench["ROWS"]:
        if row[0] == "farthest":
            continue
        assert found[*row, "per class"][0] > found[*row, "NMC euclid"][0] + 3
        for name in bench["HEADS"]:
            assert found[*row, name][0] > found["farthest", 0, name][0] + 3
    again = found["cluster_all", 1, "ridge"] - found["cluster_all", 0, "ridge"]
    assert again[1] > 2  # the old classes get their samples back
    assert np.isfinite(list(found.values())).all()
