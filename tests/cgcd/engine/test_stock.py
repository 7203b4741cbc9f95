"""Stock experiences inside our strategies: which labels are hidden, and which views are seen."""

from __future__ import annotations

import runpy
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from avalanche.benchmarks import benchmark_from_datasets
from avalanche.benchmarks.scenarios.generic_scenario import MaskedAttributeError
from avalanche.benchmarks.utils import as_classification_dataset
from avalanche.training.plugins import ReplayPlugin
from avalanche.training.storage_policy import ClassBalancedBuffer
from torch.utils.data import TensorDataset

from cgcd.engine.stock import StockLabels
from cgcd.models import InputSpec
from cgcd.vocabulary import UNLABELED, InputError

TESTS = Path(__file__).parents[2]
stock = SimpleNamespace(**runpy.run_path(str(TESTS / "stock_benchmarks.py")))
pytestmark = pytest.mark.filterwarnings("ignore")


def balanced_replay():
    return ReplayPlugin(20, storage_policy=ClassBalancedBuffer(20, adaptive_size=True))


@pytest.mark.parametrize(
    ("build", "plugin"),
    [
        (stock.with_timeline, lambda: ReplayPlugin(20)),
        (stock.with_tasks, lambda: ReplayPlugin(20)),
        (stock.with_tasks, balanced_replay),  # Avalanche's own buffer needs task labels
    ],
    ids=["timeline", "tasks", "tasks balanced"],
)
def test_later_labels_are_hidden(trained_happy, build, plugin):
    stock.assert_hides(lambda labels: trained_happy(build(labels), plugin()))


def test_a_memory_that_chooses_by_label_would_leak_without_the_mask(trained_happy):
    def after(labels):
        benchmark = stock.with_tasks(labels)
        return stock.bits(trained_happy(benchmark, balanced_replay(), stock_labels="use"))

    assert after(stock.LABELS) != after(stock.poisoned())


def masked_copy(benchmark):
    """What a strategy trains on in place of the second experience."""
    labels = StockLabels("mask")
    first, second = (
        labels.adopt(benchmark.train_stream[k], k, InputSpec(vector=16), 2) for k in (0, 1)
    )
    assert set(first.dataset.targets) == {0, 1, 2, 3}
    return second


@pytest.mark.parametrize("build", [stock.nc, stock.incremental])
def test_class_streams_are_masked(build):
    benchmark = build()
    before = list(benchmark.train_stream[1].dataset.targets)
    masked = masked_copy(benchmark)
    for way in ("origin_stream", "benchmark") if build is stock.nc else ("origin_stream",):
        with pytest.raises(MaskedAttributeError):
            getattr(masked.train(), way)
    assert set(masked.dataset.targets) == {UNLABELED}
    assert {int(sample[1]) for sample in masked.dataset.train()} == {UNLABELED}
    assert {int(sample[1]) for sample in masked.dataset.eval()} == {UNLABELED}
    assert len(masked.dataset) == 2 * stock.EACH
    assert list(benchmark.train_stream[1].dataset.targets) == before  # the original keeps its own


def test_a_masked_copy_shares_no_attribute_box():
    benchmark = stock.data_sets()
    experience = benchmark.train_stream[1]
    masked = masked_copy(benchmark)
    masked.current_experience = 77
    assert experience.current_experience == 1


def test_what_plugins_see_is_masked_and_ends_with_the_task_label(trained_happy):
    """Stock code reads the last part of a batch as task labels."""
    seen = []

    class Peek(ReplayPlugin):
        def before_training_exp(self, strategy, **kwargs):
            seen.append(set(strategy.experience.dataset.targets))
            super().before_training_exp(strategy, **kwargs)

        def after_forward(self, strategy, **kwargs):
            seen.append(set(strategy.mb_task_id.tolist()))

    trained_happy(stock.data_sets(view=stock.two_views), Peek(mem_size=20))
    labels = [s for s in seen if s != {0}]
    assert labels == [{0, 1, 2, 3}, {UNLABELED}, {UNLABELED}]


def test_replay_on_our_own_stages_sees_new_views_each_epoch(quick_happy, blobs):
    views = {}

    class Peek(ReplayPlugin):
        def after_forward(self, strategy, **kwargs):
            for view, task in zip(strategy._mb_views, strategy.mb_task_id, strict=True):
                views.setdefault(strategy.epoch, set()).add(view.numpy().tobytes())
                assert task == 0

    strategy = quick_happy(epochs=(2, 3), batch_size=10, plugins=[Peek(mem_size=20)])
    scenario = blobs()
    strategy.train(scenario.train_stream[0])
    views.clear()
    strategy.train(scenario.train_stream[1])
    assert not views[0] & views[1] and not views[1] & views[2]


def test_labels_may_be_used_only_where_asked(quick_happy):
    strategy = quick_happy(epochs=(1, 1), batch_size=10, num_novel=2, stock_labels="use")
    seen = []
    strategy.losses = lambda batch, losses=strategy.losses: (
        seen.append(batch.labels.min().item()),
        losses(batch),
    )[1]
    for experience in stock.data_sets(view=stock.two_views).train_stream:
        strategy.train(experience)
    assert min(seen) >= 0
    with pytest.raises(InputError, match="stock_labels is 'show'; wanted 'mask' or 'use'"):
        quick_happy(stock_labels="show")


@pytest.mark.parametrize("noise", [0.1, 0.0])
def test_a_transform_without_views_is_called_once_a_view(quick_happy, noise, caplog):
    def view(vector):
        return vector + noise * torch.randn_like(vector)

    def views(seed=0):
        benchmark = benchmark_from_datasets(train=[stock.grouped(view=view)])
        strategy = quick_happy(epochs=(1, 1), batch_size=10, seed=seed)
        seen = []
        unpack = strategy._unpack_minibatch
        strategy._unpack_minibatch = lambda: (unpack(), seen.append(strategy._mb_views))
        torch.rand(seed + 1)  # what was drawn before is nothing to it
        strategy.train(benchmark.train_stream[0])
        return torch.cat(seen)

    first, again, other = views(), views(), views(seed=1)
    assert first.shape == (80, 2, 16) and torch.equal(first, again)
    assert torch.equal(first[:, 0], first[:, 1]) == (noise == 0)
    assert ("all views of a sample are equal" in caplog.text) == (noise == 0)
    if noise:
        assert len(torch.cat([first, other]).unique(dim=0)) == 160


def test_a_sample_that_does_not_fit_the_model_is_refused_with_a_way_out(quick_happy):
    wrapped = TensorDataset(torch.rand(20, 3, 4, 4), torch.arange(20) % 4)
    wrapped.targets = [place % 4 for place in range(20)]
    benchmark = benchmark_from_datasets(train=[as_classification_dataset(wrapped)])
    with pytest.raises(InputError, match=r"of shape \(3, 4, 4\); the model takes .* \(16,\)"):
        quick_happy(batch_size=10).train(benchmark.train_stream[0])
