"""What a strategy is given to train on leads nowhere to the truth of unlabeled samples."""

from __future__ import annotations

import runpy
from collections import deque
from pathlib import Path
from types import FunctionType, MethodType, ModuleType, SimpleNamespace

import numpy as np
import pytest
import torch
from avalanche.benchmarks.scenarios.generic_scenario import MaskedAttributeError

from cgcd.engine import run_stages
from cgcd.vocabulary import UNLABELED

HERE = Path(__file__).parent
made = SimpleNamespace(**runpy.run_path(str(HERE / "configured.py")))
streams = SimpleNamespace(**runpy.run_path(str(HERE / "poisonable.py")))

COMPOSED = [kind for kind in streams.KINDS if kind not in ("features_stages", "folder")]
"""Kinds whose samples are numbered as `streams.TARGETS` is."""


def reachable(root):
    """Every object that can be reached from `root` without calling a property."""
    seen, todo = {}, deque([root])
    while todo:
        item = todo.popleft()
        if id(item) in seen or isinstance(item, type | ModuleType | str | bytes | int | float):
            continue
        seen[id(item)] = item
        if isinstance(item, np.ndarray | torch.Tensor):
            continue
        if isinstance(item, dict):
            todo.extend([*item.keys(), *item.values()])
        elif isinstance(item, list | tuple | set | frozenset | deque):
            todo.extend(item)
        if isinstance(item, MethodType):
            todo.extend([item.__self__, item.__func__])
        if isinstance(item, FunctionType):
            todo.extend(cell.cell_contents for cell in item.__closure__ or ())
            todo.extend(item.__defaults__ or ())
        todo.extend(getattr(item, "__dict__", {}).values())
        slots = (name for kind in type(item).__mro__ for name in getattr(kind, "__slots__", ()))
        todo.extend(object.__getattribute__(item, n) for n in slots if hasattr(item, n))
        if hasattr(item, "func") and hasattr(item, "keywords"):
            todo.extend([item.func, item.args, item.keywords])
    return list(seen.values())


def as_numbers(item) -> np.ndarray | None:
    if isinstance(item, torch.Tensor):
        item = item.detach().numpy()
    if isinstance(item, list | tuple) and not all(isinstance(x, int | np.integer) for x in item):
        return None
    if isinstance(item, list | tuple | np.ndarray):
        array = np.asarray(item)
        return array if array.ndim == 1 and array.dtype.kind in "iuf" else None
    return None


def assert_out_of_reach(stage, *truths: np.ndarray) -> None:
    """No array that can be reached from the stage, in any of its modes, is one of the truths."""
    for mode in ("train", "eval", "logging"):
        arrays = [a for a in map(as_numbers, reachable(getattr(stage, mode)())) if a is not None]
        ids = np.asarray(list(stage.dataset.sample_id))
        assert any(np.array_equal(array, ids) for array in arrays)  # the walk does get there
        for truth in truths:
            assert not any(np.array_equal(array, truth) for array in arrays)
    assert stage.logging().origin_stream.benchmark is None  # before: the scenario, with the truth


@pytest.fixture
def given(monkeypatch, tmp_path):
    """Runs a kind of stream; gives the scenario and every stage that the strategy was handed."""

    def run(kind):
        scenario = streams.KINDS[kind](tmp_path)
        name = {"continual": "happy", "single_stage": "simgcd", "online": "smile"}[scenario.setting]
        strategy = made.configured(name, streams.inputs_of(scenario))
        seen, train, begin = [], strategy.train, strategy.begin_stage
        monkeypatch.setattr(
            strategy, "train", lambda stage, *more: (seen.append(stage), train(stage, *more))
        )
        monkeypatch.setattr(
            strategy, "begin_stage", lambda stage: (seen.append(stage), begin(stage))
        )
        run_stages(strategy, scenario)
        return scenario, seen

    return run


@pytest.mark.parametrize("kind", COMPOSED)
def test_the_truth_is_out_of_reach(given, kind):
    """Walks from the stages that a strategy is given to train on."""
    scenario, seen = given(kind)
    is_online = scenario.setting == "online"
    assert len(seen) == 2 * (1 if is_online else len(scenario.train_stream))
    is_mixed = "mixed" in kind or scenario.setting == "single_stage"
    whole = np.concatenate([streams.TARGETS, streams.TESTS])
    for stage in [scenario.stream.train()] if is_online else seen[1::2]:
        hidden = stage.labels == UNLABELED
        assert stage.mixed == (is_mixed and hidden.any())
        assert hidden.any() == (is_online or stage.index > 0 or scenario.setting == "single_stage")
        classes = streams.TARGETS[list(stage.dataset.sample_id)]
        rows = np.array([scenario.class_names.index(streams.NAMES[c]) for c in classes])
        assert (stage.labels == rows)[~hidden].all() and (rows[~hidden] < scenario.num_base).all()
        if hidden.any():
            assert_out_of_reach(stage, classes, rows, rows[hidden], streams.TARGETS, whole)


def test_the_walk_finds_a_truth_where_there_is_a_way(given):
    scenario, seen = given("on-line")
    for stage in (*seen, scenario.stream.train()):
        assert_out_of_reach(stage, scenario.truth)
    arrays = map(as_numbers, reachable(scenario.stream))  # the scenario's own stage has a way
    assert any(array is not None and np.array_equal(array, scenario.truth) for array in arrays)


def test_ways_back_to_the_stream_are_masked(given):
    _, seen = given("images")
    for stage in seen[3::2]:
        with pytest.raises(MaskedAttributeError):
            _ = stage.origin_stream
        with pytest.raises(MaskedAttributeError):
            _ = stage.benchmark
        assert set(stage.labels) == {UNLABELED} and not stage.labeled
        assert stage.classes_in_this_experience == []
        for sample in (stage.dataset.train()[0], stage.dataset.eval()[0]):
            assert sample[1] == UNLABELED and sample[-1] == 0
