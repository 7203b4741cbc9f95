"""Event files as TensorBoard reads them."""

from __future__ import annotations

import math

import pytest
from avalanche.training.plugins import SupervisedPlugin

from cgcd.engine import Baselines, discovery_evaluator, run_stages
from cgcd.tracking.tensorboard import StageTensorBoard, tag_of

COSTS = ("seconds/", "memory/", "throughput/")


def points(folder) -> dict[str, list[tuple[int, float]]]:
    """Every scalar of all event files in a folder, as one run."""
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    read: dict[str, list[tuple[int, float]]] = {}
    for path in sorted(folder.iterdir()):
        accumulator = EventAccumulator(str(path), size_guidance={"scalars": 0})
        accumulator.Reload()
        for tag in accumulator.Tags()["scalars"]:
            events = [(event.step, event.value) for event in accumulator.Scalars(tag)]
            read.setdefault(tag, []).extend(events)
    return {tag: sorted(values) for tag, values in read.items()}


def build(quick_happy, folder, plugins=()):
    logger = StageTensorBoard(folder)
    evaluator = discovery_evaluator(Baselines(), loggers=[logger])
    return quick_happy(epochs=(2, 2), evaluator=evaluator, plugins=list(plugins)), logger


@pytest.fixture(scope="module")
def whole(quick_happy, blobs, tmp_path_factory):
    folder = tmp_path_factory.mktemp("events")
    strategy, logger = build(quick_happy, folder / "tb")
    result = run_stages(strategy, blobs(), folder / "run")
    logger.close()
    return folder / "tb", strategy, result


def test_losses_over_steps(whole):
    folder, strategy, _ = whole
    read, total = points(folder), strategy.clock.train_iterations
    for name in ("self_distillation", "contrastive", "total"):
        assert [step for step, _ in read[f"train/loss/{name}"]] == list(range(total))
    base = [step for step, _ in read["train/loss/cross_entropy"]]
    novel = [step for step, _ in read["train/loss/prototype_replay"]]
    assert base + novel == list(range(total)) and base and novel
    terms = {tag.removeprefix("train/loss/") for tag in read if tag.startswith("train/loss/")}
    assert terms == {*strategy.base.weights, *strategy.continual.weights, "total"}
    assert all(math.isfinite(v) for values in read.values() for _, v in values)


def test_stage_curves_over_stages(whole):
    folder, _, result = whole
    read = points(folder)
    for key in result.rows[0]:
        if key in ("stage", "seconds"):
            continue
        tag = key if key.startswith("stage/") else f"test/{key}"
        steps = [step for step, _ in read[tag]]
        assert steps == [0, 1, 2], tag
        for (_, value), row in zip(read[tag], result.rows, strict=True):
            assert value == pytest.approx(row[key], rel=1e-6)
    assert [step for step, _ in read["test/accuracy/novel"]] == [1, 2]
    assert [step for step, _ in read["test/forgetting/m_f"]] == [1, 2]


class Interrupt(SupervisedPlugin):
    def __init__(self, stage):
        super().__init__()
        self.stage = stage

    def state_dict(self):
        return {}

    def after_training_epoch(self, strategy, **kwargs):
        if strategy.stage_index == self.stage:
            raise KeyboardInterrupt


@pytest.mark.parametrize("broken", [0, 2])
def test_no_point_twice_after_a_broken_and_resumed_run(whole, quick_happy, blobs, tmp_path, broken):
    strategy, logger = build(quick_happy, tmp_path / "tb", [Interrupt(broken)])
    with pytest.raises(KeyboardInterrupt):
        run_stages(strategy, blobs(), tmp_path / "run")
    logger.close()
    cut = points(tmp_path / "tb")["train/loss/total"]
    strategy, logger = build(quick_happy, tmp_path / "tb")
    run_stages(strategy, blobs(), tmp_path / "run")
    logger.close()
    read, wanted = points(tmp_path / "tb"), points(whole[0])
    assert 0 < len(cut) < len(read["train/loss/total"])
    for found in (read, wanted):  # what a stage costs is never the same twice
        for tag in [t for t in found if t.startswith(COSTS)]:
            found[tag] = [(step, 0.0) for step, _ in found[tag]]
    assert read == wanted


def test_periodic_values_have_tags_of_their_own():
    assert tag_of("periodic_accuracy_all/eval_phase/test_stream") == "periodic/accuracy/all"
    assert tag_of("periodic_stage_found/eval_phase/test_stream") == "periodic/stage/found"
    assert tag_of("accuracy_all/eval_phase/valid_stream") == "valid/accuracy/all"
    assert tag_of("Top1_Acc_Exp/eval_phase/test_stream") == "Top1_Acc_Exp/eval_phase/test_stream"
