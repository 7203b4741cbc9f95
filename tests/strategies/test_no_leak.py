"""Hidden and test labels move no bit of any strategy or estimate; one base label moves the weights.

The other halves: every kind of stream in `test_no_leak_by_scenario`, what can be reached from a
stage in `test_truth_out_of_reach`, stock plugins in `test_avalanche_interop`, `cgcd tune` in
`test_tune_no_leak`.
"""

from __future__ import annotations

import runpy
from functools import partial
from pathlib import Path
from types import SimpleNamespace

import pytest

from cgcd.discovery import ESTIMATORS

HERE = Path(__file__).parent
made = SimpleNamespace(**runpy.run_path(str(HERE / "configured.py")))
streams = SimpleNamespace(**runpy.run_path(str(HERE / "poisonable.py")))

MEASURED = {"rows"}
"""That the poison does move them is asserted in `test_no_leak_by_scenario`, kind by kind."""


@pytest.fixture
def run(tmp_path):
    """Runs a strategy on a stream in a folder of its own; gives what it stores."""

    def after(name, setting, number, changes, **how):
        folder = tmp_path / str(number)
        folder.mkdir()
        strategy = made.configured(name, streams.VECTOR_INPUTS, **changes)
        scenario = streams.KINDS[streams.KIND_OF_SETTING[setting]](folder, **how)
        return made.stored_run(strategy, scenario, folder / "run")

    return after


@pytest.mark.parametrize(("name", "setting"), made.strategies())
def test_no_hidden_or_test_label_moves_a_strategy(run, name, setting):
    after = partial(run, name, setting, changes={})
    clean, poisoned, changed = after(0), after(1, poisoned=True), after(2, changed=True)
    assert clean.moved_by(poisoned) <= MEASURED
    moved = {key for key, value in clean.tensors.items() if changed.tensors.get(key) != value}
    assert any(":tail." in key or ":extras." in key for key in moved)


@pytest.mark.parametrize(("name", "setting"), [("happy", "continual"), ("simgcd", "single_stage")])
@pytest.mark.parametrize("estimator", ESTIMATORS)
def test_no_hidden_or_test_label_moves_an_estimate(run, estimator, name, setting):
    estimating = {"num_novel": "estimate", "estimator": estimator, "max_novel": 3}
    after = partial(run, name, setting, changes=estimating, num_novel="estimate")
    clean, poisoned, changed = after(0), after(1, poisoned=True), after(2, changed=True)
    assert len(clean.counts) == {"continual": 2, "single_stage": 1}[setting]
    assert clean.moved_by(poisoned) <= MEASURED
    moved = clean.moved_by(changed)
    assert "tensors" in moved
    assert "counts" in moved or setting == "single_stage"  # which counts before the first step
