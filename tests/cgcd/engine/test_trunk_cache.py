"""The trunk sees every image of a data set once, and nobody can tell from the results."""

from __future__ import annotations

import gc

import pytest
import torch
from torch import nn

from cgcd.engine import Baselines, StageAnalysis, discovery_evaluator
from cgcd.engine.trunk_cache import TrunkCache


class Counter:
    """Rows that pass through the trunk, by mode."""

    def __init__(self, strategy) -> None:
        self.strategy = strategy
        self.rows: dict[str, int] = {}
        strategy.model.backbone.trunk.register_forward_hook(self._count)

    def _count(self, module, inputs, output) -> None:
        of_a_step = not self.strategy.is_eval and self.strategy.model.training
        mode = "evaluation" if self.strategy.is_eval else "steps" if of_a_step else "passes"
        self.rows[mode] = self.rows.get(mode, 0) + len(output)

    def taken(self) -> dict[str, int]:
        rows, self.rows = self.rows, {}
        return rows


def run(quick_happy, scenario, limit: int):
    """A run's strategy, its rows of metrics, and what the trunk saw at every stage."""
    evaluator = discovery_evaluator(Baselines(), StageAnalysis())
    strategy = quick_happy(epochs=(1, 1), eval_batch_size=10, evaluator=evaluator)
    strategy.trunks.limit = limit
    counter, rows, seen = Counter(strategy), [], []
    for index, stage in enumerate(scenario.train_stream):
        strategy.train(stage)
        trained = counter.taken()
        strategy.eval(scenario.test_stream[: index + 1])
        seen.append({**trained, **counter.taken()})
        rows.append({k: v for metric in evaluator.metrics[:2] for k, v in metric.row.items()})
        assert strategy.trunks.num_bytes <= limit
    return strategy, rows, seen


@pytest.fixture(scope="module")
def runs(quick_happy, blobs):
    return {limit: run(quick_happy, blobs(), limit) for limit in (0, 7_000, 2**20)}


def test_an_evaluation_is_one_pass_over_the_cumulative_test_set(runs, blobs):
    sizes = [len(stage.dataset) for stage in blobs().test_stream]
    without = [seen["evaluation"] for seen in runs[0][2]]
    assert without == [sum(sizes[: t + 1]) for t in range(len(sizes))]


def test_with_the_cache_it_is_one_pass_over_what_is_new(runs, blobs):
    scenario = blobs()
    for t, (test, train) in enumerate(
        zip(scenario.test_stream, scenario.train_stream, strict=True)
    ):
        seen = runs[2**20][2][t]
        assert seen["evaluation"] == len(test.dataset)
        assert seen["passes"] == len(train.dataset)  # floors, k-means and prototypes share it
        assert runs[0][2][t]["passes"] == (3 if t else 2) * len(train.dataset)


def test_no_result_changes_with_the_limit(runs):
    (plain, rows, _), *others = runs.values()
    for strategy, other_rows, _ in others:
        assert other_rows == rows
        for name, tensor in plain.model.state_dict().items():
            assert torch.equal(strategy.model.state_dict()[name], tensor), name
        metric, other = plain.evaluator.metrics[0], strategy.evaluator.metrics[0]
        assert (metric.confidences == other.confidences).all()


def test_what_does_not_fit_is_computed_anew(runs):
    """7,000 bytes hold three batches of ten of 48 float32, and a shorter one."""
    strategy, _, seen = runs[7_000]
    assert 0 < strategy.trunks.num_bytes <= 7_000
    full, none = runs[2**20][2][-1], runs[0][2][-1]
    assert full["evaluation"] < seen[-1]["evaluation"] < none["evaluation"]


def test_only_test_sets_outlive_a_stage(runs, blobs):
    strategy = runs[2**20][0]
    tested = sum(len(stage.dataset) for stage in blobs().test_stream)
    assert strategy.trunks.num_bytes == tested * 48 * 4


def test_a_changed_weight_or_precision_drops_everything(blob_model, blobs):
    backbone, data = blob_model().backbone, blobs().test_stream[0].dataset.eval()
    cache, places = TrunkCache(), [0, 1]

    def kept():
        return cache.of(backbone, data).holds(places)

    def keep():
        cache.of(backbone, data).keep(places, torch.ones(2, 48))
        assert kept()

    keep()
    with torch.no_grad():
        backbone.trunk[0].weight.add_(1)
    assert not kept() and cache.num_bytes == 0
    keep()
    backbone.compute_in("bf16")
    assert not kept()
    keep()
    backbone.load_state_dict(backbone.state_dict())
    assert not kept()


def test_nobody_can_spoil_what_is_kept(blob_model, blobs):
    backbone, data = blob_model().backbone, blobs().test_stream[0].dataset.eval()
    kept, given = TrunkCache().of(backbone, data), torch.ones(2, 48)
    kept.keep([3, 4], given)
    given.zero_()
    kept.output([3, 4], torch.device("cpu")).zero_()
    assert (kept.output([3, 4], torch.device("cpu")) == 1).all()
    assert kept.labels([3, 4]).tolist() == list(data.targets)[3:5]


def test_a_trunk_that_is_nothing_or_learns_is_left_alone(blob_model, blobs):
    data = blobs().test_stream[0].dataset.eval()
    whole = blob_model(backbone=nn.Linear(16, 24), tail_units="all").backbone
    assert TrunkCache().of(whole, data) is None
    backbone = blob_model().backbone
    backbone.warming = True
    assert TrunkCache().of(backbone, data) is None
    backbone.warming = False
    backbone.trunk.requires_grad_(True)
    assert TrunkCache().of(backbone, data) is None


def test_a_data_set_that_somebody_changed_is_left_alone(blob_model, blobs):
    data = blobs().test_stream[0].dataset
    assert TrunkCache().of(blob_model().backbone, data.subset([1, 0]).eval()) is None


def test_what_is_kept_goes_with_its_data_set(blob_model, blobs):
    backbone, cache = blob_model().backbone, TrunkCache()
    scenario, other = blobs(), blobs().test_stream[0].dataset.eval()
    cache.of(backbone, scenario.test_stream[0].dataset.eval()).keep([0], torch.ones(1, 48))
    assert cache.num_bytes == 48 * 4
    del scenario
    gc.collect()
    assert not cache.of(backbone, other).holds([0]) and cache.num_bytes == 0
