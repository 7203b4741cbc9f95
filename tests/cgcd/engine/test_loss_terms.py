"""Curves of training: as a table to who takes one, as Avalanche's values to everybody else."""

from __future__ import annotations

from collections import defaultdict
from typing import Any

import pytest
import torch
from avalanche.evaluation.metric_results import MetricValue
from avalanche.logging import BaseLogger

from cgcd.engine import discovery_evaluator
from cgcd.engine.loss_terms import LossTerms, StepCurves


class Stock(BaseLogger):
    """As Avalanche has them: one number at a time."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: list[tuple[str, float, int]] = []

    def log_single_metric(self, name: str, value: Any, x_plot: int) -> None:
        if name.startswith("train/"):
            self.seen.append((name, value, x_plot))


class Tables(Stock):
    def log_curves(self, curves: StepCurves) -> None:
        self.seen += [(one.name, one.value, one.x_plot) for one in curves]


def curves() -> StepCurves:
    return StepCurves("origin", ["a", "b"], [3, 4, 7], [[1.0, 2.0], [3.0, 4.0], [5.0, 6.0]])


def test_curves_are_a_sequence_of_metric_values() -> None:
    found = list(curves())
    assert all(isinstance(one, MetricValue) and one.origin == "origin" for one in found)
    told = [(one.name, one.value, one.x_plot) for one in found]
    assert told[:3] == [("a", 1.0, 3), ("b", 2.0, 3), ("a", 3.0, 4)]
    assert len(curves()) == len(found) == 6 and curves()[-1].value == 6.0
    assert [one.value for one in curves()[1:4]] == [2.0, 3.0, 4.0]
    assert curves().last == {"a": 5.0, "b": 6.0}
    with pytest.raises(IndexError):
        curves()[6]


@pytest.mark.parametrize("collect_all", [False, True])
def test_every_logger_learns_every_number(quick_happy: Any, blobs: Any, collect_all: bool) -> None:
    stock, tables = Stock(), Tables()
    evaluator = discovery_evaluator(loggers=[stock, tables])
    evaluator.collect_all = collect_all
    if collect_all:
        evaluator.all_metric_results = defaultdict(lambda: ([], []))
    wanted: list[tuple[str, float, int]] = []
    strategy = quick_happy(evaluator=evaluator)
    see = strategy.finite.see

    def note(terms: Any, total: torch.Tensor, step: int) -> None:
        see(terms, total, step)
        x = strategy.clock.train_iterations
        rows = {**{n: t.item() for n, t in terms.items()}, "total": total.item()}
        wanted.extend((f"train/loss/{n}", v, x) for n, v in rows.items())
        wanted.append(("train/learning_rate", strategy.optimizer.param_groups[0]["lr"], x))

    strategy.finite.see = note
    strategy.train(blobs().train_stream[0])
    assert stock.seen == tables.seen == wanted
    last = strategy.evaluator.get_last_metrics()
    assert {name: last[name] for name, _, _ in wanted} == {n: v for n, v, _ in wanted}


def test_what_waits_on_an_accelerator_comes_in_one_transfer() -> None:
    terms = LossTerms()
    terms._names, terms._steps = ("a",), [(0, 0.1), (1, 0.1)]
    terms._numbers = [[1.0, 2.0]]
    terms._waiting = [[torch.tensor(3.0), torch.tensor([4.0], dtype=torch.bfloat16)]]
    state = terms.state_dict()
    assert state == {"names": ["a"], "steps": [(0, 0.1), (1, 0.1)], "terms": [[1, 2], [3, 4]]}
    again = LossTerms()
    again.load_state_dict(state)
    assert [one.value for one in again.after_training_epoch(None)] == [1, 2, 0.1, 3, 4, 0.1]
