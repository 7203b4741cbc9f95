"""Labels of stock benchmarks: which row each gets, which strategies use them, how a run goes on."""

from __future__ import annotations

import runpy
from dataclasses import replace
from functools import partial
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from avalanche.training.plugins import ReplayPlugin

from cgcd.engine.checkpoint import latest, restore, save_stage
from cgcd.vocabulary import UNLABELED, InputError
from strategies import GCD, PHE, SMILE, ProtoGCD, SimGCD, gcd, proto_gcd, simgcd

stock = SimpleNamespace(**runpy.run_path(str(Path(__file__).with_name("stock_benchmarks.py"))))
pytestmark = pytest.mark.filterwarnings("ignore")


def test_labels_get_rows_by_first_appearance_in_either_mode(trained_happy, quick_happy):
    order = (6, 2, 7, 0, 5, 1, 4, 3)
    rows = {"mask": [0, 2, 6, 7], "use": [0, 2, 6, 7, 1, 5, 3, 4]}
    for mode, labels in rows.items():
        strategy = trained_happy(stock.nc(order=order), stock_labels=mode)
        assert strategy.stock.labels == labels
        targets = strategy.evaluator.metrics[0].targets
        counts = np.bincount(targets)
        assert counts.tolist() == [stock.EACH] * stock.CLASSES
        known = np.sort(targets[: 4 * stock.EACH])
        assert known.tolist() == np.repeat(range(4), stock.EACH).tolist()  # those of stage 0


def test_plain_class_incremental_learning_finds_every_class(trained_happy):
    strategy = trained_happy(
        stock.nc(order=(6, 2, 7, 0, 5, 1, 4, 3)), stock_labels="use", epochs=(15, 10)
    )
    row = strategy.evaluator.metrics[0].row
    assert row["held/known"] > 0.8 and row["accuracy/all"] > 0.8
    assert strategy.recipe.weights.keys() == {
        *strategy.base.weights,
        "prototype_replay",
        "feature_distillation",
    }


@pytest.mark.parametrize("module", [simgcd, proto_gcd, gcd], ids=lambda m: m.__name__)
def test_other_strategies_use_labels_too(blob_model, module):
    made = {simgcd: SimGCD, proto_gcd: ProtoGCD, gcd: GCD}[module]
    sgd = partial(torch.optim.SGD, momentum=0.9)
    base, continual = (
        replace(recipe, epochs=15, batch_size=10, optimizer=partial(sgd, lr=0.1))
        for recipe in (module.BASE, module.CONTINUAL)
    )
    strategy = made(model=blob_model(), base=base, continual=continual, stock_labels="use")
    benchmark = stock.nc()
    for experience in benchmark.train_stream:
        strategy.train(experience)
    strategy.eval(benchmark.test_stream)
    metrics = strategy.evaluator.metrics[0]
    last = metrics.targets >= stock.CLASSES - 2  # SimGCD keeps nothing of earlier ones
    assert strategy.model.num_classes == stock.CLASSES
    assert (metrics.predictions == metrics.targets)[last].mean() > 0.7


@pytest.mark.parametrize("made", [PHE, SMILE])
def test_on_line_strategies_have_no_use_for_later_labels(made, blob_model):
    with pytest.raises(InputError, match=f"{made.__name__} has no objective for later stages"):
        made(model=blob_model(), stock_labels="use")


@pytest.mark.parametrize("mode", ["mask", "use"])
def test_a_stored_strategy_goes_on_with_the_same_rows(trained_happy, quick_happy, mode, tmp_path):
    benchmark = stock.nc(order=(6, 2, 7, 0, 5, 1, 4, 3))
    settings = {"num_novel": 2, "epochs": (2, 1), "batch_size": 10, "stock_labels": mode}
    whole, broken, resumed = (quick_happy(**settings) for _ in range(3))
    for experience in benchmark.train_stream:
        whole.train(experience)
    for experience in benchmark.train_stream[:2]:
        broken.train(experience)
        save_stage(broken, tmp_path, {})
    restore(resumed, latest(tmp_path), tmp_path)
    resumed.train(benchmark.train_stream[2])
    assert stock.bits(whole) == stock.bits(resumed) and resumed.stock.labels == whole.stock.labels
    assert resumed.report["stock_labels"] == mode


def test_stages_and_stock_experiences_do_not_mix(quick_happy):
    strategy = quick_happy(num_novel=2, epochs=(1, 1), batch_size=10)
    strategy.train(stock.ours().train_stream[0])
    with pytest.raises(InputError, match="stage 0 was no stock experience"):
        strategy.train(stock.data_sets().train_stream[1])


def test_an_unlabeled_row_is_never_shown_as_a_class(trained_happy):
    seen = []

    class Peek(ReplayPlugin):
        def before_training_exp(self, strategy, **kwargs):
            seen.append(strategy.experience)
            super().before_training_exp(strategy, **kwargs)

    trained_happy(stock.nc(), Peek(20), evaluate=False)
    assert [set(e.dataset.targets) for e in seen] == [{0, 1, 2, 3}, {UNLABELED}, {UNLABELED}]
    assert [set(e.classes_in_this_experience) for e in seen] == [{0, 1, 2, 3}, set(), set()]
    assert not any(len(e.future_classes) for e in seen)
