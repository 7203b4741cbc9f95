"""Avalanche's learning rate schedulers: they set the rate of every stage, or are refused."""

from __future__ import annotations

import runpy
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from avalanche.training.plugins import LRSchedulerPlugin, ReplayPlugin
from torch.optim.lr_scheduler import CosineAnnealingLR, LambdaLR, ReduceLROnPlateau, StepLR

from cgcd.vocabulary import InputError

stock = SimpleNamespace(**runpy.run_path(str(Path(__file__).with_name("stock_benchmarks.py"))))
pytestmark = pytest.mark.filterwarnings("ignore")


class Rates(ReplayPlugin):
    """The learning rate at the start of every epoch."""

    def __init__(self):
        super().__init__(20)
        self.seen = []

    def before_training_epoch(self, strategy, **kwargs):
        self.seen.append(strategy.optimizer.param_groups[0]["lr"])


def with_schedule(strategy, schedule):
    for name in ("base", "continual"):
        setattr(strategy, name, replace(getattr(strategy, name), schedule=schedule))
    return strategy


@pytest.mark.parametrize(
    ("make", "factors"),
    [
        (lambda o: StepLR(o, 1, 0.5), [1, 0.5, 0.25]),
        (lambda o: LambdaLR(o, lambda epoch: 1 / (1 + epoch)), [1, 1 / 2, 1 / 3]),
        (lambda o: CosineAnnealingLR(o, 3), [1, 0.75, 0.25]),
    ],
    ids=["step", "lambda", "cosine"],
)
def test_a_scheduler_of_avalanche_sets_the_rate_of_every_stage(quick_happy, make, factors):
    rates = Rates()
    strategy = quick_happy(plugins=[rates], num_novel=2, epochs=(3, 3), batch_size=10)
    with_schedule(strategy, "constant")
    strategy.plugins.insert(0, LRSchedulerPlugin(make(strategy.optimizer)))
    for experience in stock.data_sets().train_stream:
        strategy.train(experience)
    wanted = [lr * factor for lr in (0.1, 0.03, 0.03) for factor in factors]
    assert rates.seen == pytest.approx(wanted)


@pytest.mark.parametrize(
    ("schedule", "plugin", "message"),
    [
        ("cosine", lambda o: LRSchedulerPlugin(StepLR(o, 1)), "both set the learning rate"),
        (
            "constant",
            lambda o: LRSchedulerPlugin(
                StepLR(torch.optim.SGD(torch.nn.Linear(1, 1).parameters(), 1), 1)
            ),
            "steps another optimizer",
        ),
        (
            "constant",
            lambda o: LRSchedulerPlugin(ReduceLROnPlateau(o), metric="val_loss"),
            "loss of an evaluation, which is 0",
        ),
    ],
)
def test_a_scheduler_that_cannot_work_is_refused(quick_happy, schedule, plugin, message):
    strategy = with_schedule(quick_happy(batch_size=10, num_novel=2), schedule)
    strategy.plugins.insert(0, plugin(strategy.optimizer))
    with pytest.raises(InputError, match=message):
        strategy.train(stock.data_sets().train_stream[0])


def test_a_plateau_of_the_training_loss_lowers_the_rate(quick_happy):
    rates = Rates()
    strategy = quick_happy(plugins=[rates], num_novel=2, epochs=(4, 2), batch_size=10)
    with_schedule(strategy, "constant")
    strategy.plugins.insert(0, plateau_of_training_loss(strategy.optimizer))
    for experience in stock.data_sets().train_stream[:2]:
        strategy.train(experience)
    assert rates.seen[3] < rates.seen[0] == pytest.approx(0.1)
    assert rates.seen[4] == pytest.approx(0.03)


def plateau_of_training_loss(optimizer):
    plateau = ReduceLROnPlateau(optimizer, factor=0.1, patience=0, threshold=1e3)
    return LRSchedulerPlugin(plateau, metric="train_loss")


@pytest.mark.parametrize("kind", stock.KINDS)
@pytest.mark.parametrize(
    "make",
    [lambda o: LRSchedulerPlugin(StepLR(o, 1, 0.5)), plateau_of_training_loss],
    ids=["step", "plateau"],
)
def test_no_hidden_label_sets_a_rate(quick_happy, make, kind):
    def build(**settings):
        strategy = with_schedule(quick_happy(**settings), "constant")
        strategy.plugins.insert(0, make(strategy.optimizer))
        return strategy

    def after(labels):
        benchmark = stock.KINDS[kind](labels)
        return stock.trained(build, benchmark, evaluate=False, epochs=(3, 2))

    stock.assert_hides(after)
