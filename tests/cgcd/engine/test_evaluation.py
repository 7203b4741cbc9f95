"""Stage metrics: names, types, axes, and what they say without a truth."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
from avalanche.benchmarks import EagerCLStream
from avalanche.logging import BaseLogger
from avalanche.training.plugins import EarlyStoppingPlugin

from cgcd.engine import Baselines, DiscoveryMetrics, discovery_evaluator
from cgcd.metrics import joint_accuracy


class Collect(BaseLogger):
    """Every value a logger is given."""

    def __init__(self) -> None:
        super().__init__()
        self.values: list[tuple[str, object, int]] = []

    def log_single_metric(self, name, value, x_plot):
        self.values.append((name, value, x_plot))

    def of(self, name: str) -> list[tuple[object, int]]:
        return [(value, x) for n, value, x in self.values if n == name]


def run(quick_happy, scenario, *, inside=False, **settings):
    log = Collect()
    strategy = quick_happy(
        epochs=(2, 2),
        evaluator=discovery_evaluator(Baselines(), loggers=[log]),
        eval_every=1 if inside else -1,
        **settings,
    )
    for index, stage in enumerate(scenario.train_stream):
        streams = [scenario.test_stream[: index + 1]] if inside else None
        strategy.train(stage, eval_streams=streams)
        strategy.eval(scenario.test_stream[: index + 1])
    return strategy, log


@pytest.fixture(scope="module")
def measured(quick_happy, blobs):
    return run(quick_happy, blobs())


def test_every_value_is_a_python_number(measured):
    _, log = measured
    assert len(log.values) > 100
    assert {type(value) for _, value, _ in log.values} <= {float, int}
    assert all(type(x) is int for _, _, x in log.values)


def test_stage_values_lie_on_the_stage_axis(measured):
    _, log = measured
    names = {name for name, _, _ in log.values if "eval_phase" in name}
    for family in ("accuracy", "held", "greedy", "agreement", "floor", "bound", "stage"):
        assert any(name.startswith(f"{family}_") for name in names), family
    for group in ("all", "known", "base"):
        steps = [x for _, x in log.of(f"accuracy_{group}/eval_phase/test_stream")]
        assert steps == [0, 1, 2], group
    assert [x for _, x in log.of("accuracy_novel/eval_phase/test_stream")] == [1, 2]
    assert [v for v, _ in log.of("stage_num_classes/eval_phase/test_stream")] == [4, 5, 7]


def test_training_values_lie_on_the_step_axis(measured):
    strategy, log = measured
    for name in ("train/loss/total", "train/loss/contrastive", "train/learning_rate"):
        steps = [x for _, x in log.of(name)]
        assert steps == list(range(strategy.clock.train_iterations)), name
    assert len(log.of("train/loss/feature_distillation")) < len(log.of("train/loss/contrastive"))


def test_numbers_are_those_of_the_pure_functions(measured, blobs):
    strategy, log = measured
    metric = strategy.evaluator.metrics[0]
    stream = blobs().test_stream
    truth = np.concatenate([stage.labels for stage in stream])
    ids = np.concatenate([list(stage.dataset.sample_id) for stage in stream])
    assert (metric.targets == truth).all() and (metric.sample_ids == ids).all()
    wanted = joint_accuracy(metric.predictions, truth, 4, 5)
    for group, value in wanted.items():
        assert log.of(f"accuracy_{group}/eval_phase/test_stream")[-1][0] == value
    assert ((metric.confidences > 1 / 7) & (metric.confidences <= 1)).all()


def test_forgetting_and_discovery_by_hand(measured):
    strategy, _ = measured
    history = strategy.evaluator.metrics[0].history
    base = [history[stage]["accuracy/base"] for stage in range(3)]
    known = [history[stage]["accuracy/known"] for stage in range(3)]
    novel = [history[stage]["accuracy/novel"] for stage in (1, 2)]
    last = history[2]
    assert last["forgetting/m_f"] == base[0] - min(base[1:])
    assert last["forgetting/m_f_gm"] == base[0] - min(known[1:])
    assert last["forgetting/m_d"] == sum(novel) / 2
    assert last["forgetting/m_d_gm"] == novel[1]
    assert "forgetting/m_f" not in history[0] and history[1]["forgetting/m_d"] == novel[0]


def test_evaluations_inside_training_carry_another_name(quick_happy, blobs, measured):
    scenario = blobs()
    strategy, log = run(quick_happy, scenario, inside=True)
    inside = log.of("periodic_accuracy_all/eval_phase/test_stream")
    steps = [x for _, x in inside]
    assert len(inside) >= 6 and steps == sorted(steps) and max(steps) > 3
    assert [x for _, x in log.of("accuracy_all/eval_phase/test_stream")] == [0, 1, 2]
    for stage, row in measured[0].evaluator.metrics[0].history.items():
        assert strategy.evaluator.metrics[0].history[stage] == row


def test_without_truth_only_the_counts_remain(quick_happy, blobs):
    strategy, _log = run(quick_happy, blobs(hide_test=True))
    metric, baselines = strategy.evaluator.metrics[:2]
    assert set(metric.row) == {
        "stage/num_classes",
        "stage/num_known",
        "stage/num_novel_given",
        "stage/found",
    }
    assert baselines.row == {} and len(metric.predictions) == 84


def test_an_empty_pass_emits_nothing(quick_happy, blobs):
    scenario = blobs()
    strategy = quick_happy(epochs=(1, 1))
    strategy.train(scenario.train_stream[0])
    strategy.eval([])
    assert strategy.evaluator.metrics[0].row == {}


@pytest.mark.filterwarnings("ignore:Metric periodic_accuracy_all used by the EarlyStopping")
def test_early_stopping_finds_the_name(quick_happy, blobs):
    scenario = blobs()
    valid = EagerCLStream("valid", [scenario.test_stream[0]])
    stop = EarlyStoppingPlugin(
        patience=1, val_stream_name="valid_stream", metric_name="periodic_accuracy_all"
    )
    strategy = quick_happy(epochs=(12, 1), plugins=[stop], eval_every=1)
    strategy.train(scenario.train_stream[0], eval_streams=[valid])
    assert 1 < strategy.epoch < 12  # blobs are learned at once, so it does stop


def test_history_survives_its_state_dict(measured):
    metric = measured[0].evaluator.metrics[0]
    other = DiscoveryMetrics()
    other.load_state_dict(metric.state_dict())
    assert other.history == metric.history and list(other.history) == [0, 1, 2]


def test_another_evaluation_does_not_disturb_what_spans_stages(quick_happy, blobs):
    scenario, strategy = blobs(), quick_happy(epochs=(1, 1))
    rows = []
    for stage in scenario.train_stream:
        strategy.train(stage)
        strategy.eval(scenario.test_stream[: stage.index + 1])
        rows.append(dict(strategy.evaluator.metrics[0].row))
        strategy.eval(scenario.train_stream[:1])
    assert strategy.evaluator.metrics[0].history == dict(enumerate(rows))
    assert "forgetting/m_f" in rows[-1]


def test_where_only_base_samples_show_their_class_they_count_by_name(quick_happy, blobs):
    hidden = blobs(hide_test=True)
    shown = [blobs().test_stream[0], *hidden.test_stream[1:]]
    scenario = SimpleNamespace(train_stream=hidden.train_stream, test_stream=shown)
    strategy, log = run(quick_happy, scenario)
    metric, baselines = strategy.evaluator.metrics[:2]
    base = metric.targets >= 0
    assert metric.row["held/base"] == (metric.predictions == metric.targets)[base].mean()
    assert [key for key in metric.row if not key.startswith("stage/")] == ["held/base"]
    assert [x for _, x in log.of("held_base/eval_phase/test_stream")] == [0, 1, 2]
    assert baselines.row == {}
