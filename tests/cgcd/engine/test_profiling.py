"""What a step costs: every moment in one part, a trace that opens, results that do not change."""

from __future__ import annotations

import itertools
import json
import time

import pytest
import torch
from avalanche.training.templates import SupervisedTemplate

from cgcd.engine import profiling
from cgcd.engine.profiling import EVALUATION, PARTS, profiled
from cgcd.models import GCDModel
from strategies import Happy


def run(strategy, scenario, num_stages: int = 2) -> None:
    for index, stage in enumerate(scenario.train_stream[:num_stages]):
        strategy.train(stage)
        strategy.eval(scenario.test_stream[: index + 1])


@pytest.fixture(scope="module")
def measured(quick_happy, blobs, tmp_path_factory):
    strategy, folder = quick_happy(epochs=(2, 2), batch_size=8), tmp_path_factory.mktemp("profile")
    with profiled(strategy, folder) as times:
        run(strategy, blobs())
    return strategy, times, folder


def test_every_step_is_in_and_traced_ones_are_not(measured, blobs):
    _, times, _ = measured
    sizes = [len(stage.dataset) for stage in blobs().train_stream[:2]]
    wanted = [2 * (size // 8) - profiling.TRACED_STEPS for size in sizes]
    assert [len(times.steps[kind]) for kind in ("base", "continual")] == wanted
    assert len(times.steps[EVALUATION]) == 3  # one batch each: stage 0, then stages 0 and 1
    whole = sum(sum(step) for steps in times.steps.values() for step in steps)
    assert 0 < whole < times.seconds
    assert all(part >= 0 for steps in times.steps.values() for step in steps for part in step)


def test_traces_are_chrome_json(measured):
    _, times, folder = measured
    names = ["base.pt.trace.json", "continual.pt.trace.json"]
    assert times.traces == [folder / name for name in names]
    for path in times.traces:
        events = json.loads(path.read_text())["traceEvents"]
        found = [event["name"] for event in events if event.get("cat") == "user_annotation"]
        for part in ("data", "trunk", "tail", "losses", "backward"):
            assert found.count(part) == profiling.TRACED_STEPS, part


def test_the_table_has_every_part(measured):
    _, times, folder = measured
    lines = times.table().splitlines()
    assert lines[0].split() == ["profile", "base", "continual", "evaluation"]
    assert [line.split()[0] for line in lines[2:9]] == [*PARTS, "step"]
    assert lines[8].split()[2::2] == ["100.0%"] * 3
    assert str(folder / "base.pt.trace.json") in lines[-2]


def test_nothing_stays_behind_and_no_bit_changes(measured, quick_happy, blobs):
    strategy, _, _ = measured
    assert "backward" not in vars(strategy) and "trunk_output" not in vars(strategy.model)
    plain = quick_happy(epochs=(2, 2), batch_size=8)
    run(plain, blobs())
    for name, tensor in plain.model.state_dict().items():
        assert torch.equal(strategy.model.state_dict()[name], tensor), name
    assert plain.evaluator.metrics[0].row == strategy.evaluator.metrics[0].row


def test_parts_add_up_to_the_steps(quick_happy, blobs, tmp_path, monkeypatch):
    """By a clock that goes on by 1 whenever it is read, and that the epochs read too."""
    ticks, epochs = itertools.count(), []
    monkeypatch.setattr(profiling.time, "perf_counter", lambda: float(next(ticks)))
    inner = SupervisedTemplate.training_epoch

    def read(self, **kwargs) -> None:
        begin = next(ticks)
        inner(self, **kwargs)
        epochs.append(next(ticks) - begin)

    monkeypatch.setattr(SupervisedTemplate, "training_epoch", read)
    monkeypatch.setattr(profiling._Watch, "_trace_where_due", lambda self, step: None)
    strategy = quick_happy(epochs=(2, 1))
    with profiled(strategy, tmp_path) as times:
        strategy.train(blobs().train_stream[0])
    whole = sum(sum(step) for step in times.steps["base"])
    assert abs(whole - sum(epochs)) <= 2 * len(epochs)  # reading the clock before and after


@pytest.mark.parametrize(
    ("owner", "name", "part", "kind"),
    [
        (Happy, "losses", "losses", "continual"),
        (Happy, "_unpack_minibatch", "data", "base"),
        (GCDModel, "trunk_output", "trunk", "base"),
        (Happy, "outputs", "tail", "base"),
        (Happy, "optimizer_step", "optimizer", "base"),
        (Happy, "_before_forward", "framework", "base"),
        (Happy, "predict", "tail", EVALUATION),
    ],
)
def test_a_slow_part_is_found(quick_happy, blobs, tmp_path, monkeypatch, owner, name, part, kind):
    slow = getattr(owner, name)

    def slower(self, *args, **kwargs):
        time.sleep(0.005)
        return slow(self, *args, **kwargs)

    monkeypatch.setattr(owner, name, slower)
    monkeypatch.setattr(profiling._Watch, "_trace_where_due", lambda self, step: None)
    strategy = quick_happy(epochs=(1, 1), batch_size=24)
    with profiled(strategy, tmp_path) as times:
        run(strategy, blobs(), 2 if kind == "continual" else 1)
    place = PARTS.index(part)
    assert min(step[place] for step in times.steps[kind]) >= 0.005


def test_where_the_gradient_reaches_the_heads_the_tail_begins(quick_happy, blobs, tmp_path):
    strategy = quick_happy(epochs=(1, 1))
    outputs = strategy.outputs

    def slow_outputs(trunk):
        def wait(gradient):
            time.sleep(0.005)

        out = outputs(trunk)
        out.features.register_hook(wait)  # behind the heads
        return out

    strategy.outputs = slow_outputs
    tail = PARTS.index("tail")
    with profiled(strategy, tmp_path) as times:
        strategy.train(blobs().train_stream[0])
    assert min(step[tail] for step in times.steps["base"]) >= 0.005


def test_without_a_step_it_says_so(quick_happy, tmp_path):
    with profiled(quick_happy(), tmp_path) as times:
        pass
    assert "no step was taken" in times.table() and not list(tmp_path.iterdir())
