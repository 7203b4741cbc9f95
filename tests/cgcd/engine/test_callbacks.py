"""Who is called in an iteration, and in which order, against the stock template's triggers."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
from avalanche.core import SupervisedPlugin
from avalanche.evaluation import PluginMetric
from avalanche.evaluation.metric_results import MetricValue
from avalanche.logging import BaseLogger
from avalanche.training.plugins import EvaluationPlugin
from avalanche.training.plugins.clock import Clock
from avalanche.training.templates.base_sgd import PeriodicEval

from cgcd.engine.callbacks import EVALUATION, TRAINING, listeners


def plugin(*events: str, base: type = SupervisedPlugin, log: list | None = None) -> Any:
    def callback(event: str) -> Any:
        def call(self: Any, strategy: Any, *args: Any, **kwargs: Any) -> None:
            if log is not None:
                log.append((type(self).__name__, event))

        return call

    methods = {event: callback(event) for event in events}
    if base is PluginMetric:
        methods |= {"reset": lambda self: None, "result": lambda self: None}
    return type("Made", (base,), methods)()


@pytest.mark.parametrize("event", [*TRAINING, *EVALUATION])
def test_only_who_does_something_is_called(event: str) -> None:
    silent, loud = plugin(), plugin(event)
    assert listeners([silent, loud], event) == [getattr(loud, event)]
    heard = listeners([PeriodicEval(1)], event)  # evaluates after epochs
    assert len(heard) == (event == "after_training_epoch")
    assert listeners([plugin("before_training_epoch")], event) == []
    loud.silent_at = (event,)
    assert listeners([loud], event) == []


def test_the_evaluator_listens_for_its_metrics_and_loggers() -> None:
    event, other = "before_forward", "after_forward"
    metric, logger = plugin(event, base=PluginMetric), plugin(event, base=BaseLogger)
    nobody = EvaluationPlugin(plugin(base=PluginMetric), loggers=[plugin(base=BaseLogger)])
    assert listeners([nobody], event) == []
    for parts in (([metric], [plugin(base=BaseLogger)]), ([], [logger])):
        evaluator = EvaluationPlugin(*parts[0], loggers=parts[1])
        assert len(listeners([evaluator], event)) == 1 and listeners([evaluator], other) == []


class _Evaluated:
    """An experience whose logging view says so."""

    is_logging = False

    def logging(self) -> _Evaluated:
        view = _Evaluated()
        view.is_logging = True
        return view


def _told(how: str, is_active: bool) -> list[Any]:
    """What metrics and loggers of an evaluation plugin are told at one event, twice."""
    told: list[Any] = []

    class Metric(PluginMetric):
        def reset(self) -> None: ...

        def result(self) -> None: ...

        def after_update(self, strategy: Any) -> Any:
            told.append(("metric", strategy.experience.is_logging))
            values = [MetricValue(self, name, 1.0, len(told)) for name in "ab"]
            return values if len(told) < 4 else None

    class Logger(BaseLogger):
        def log_single_metric(self, name: str, value: float, x_plot: int) -> None:
            told.append(("logged", name, x_plot))

    class Listening(Logger):
        def after_update(self, strategy: Any, metric_values: Any) -> None:
            told.append(("logger", [value.name for value in metric_values]))

    evaluator = EvaluationPlugin(Metric(), plugin(base=PluginMetric), loggers=[Logger()])
    if how.endswith("listening"):
        evaluator.loggers.append(Listening())
    evaluator.active = is_active
    strategy = SimpleNamespace(experience=_Evaluated())
    call = evaluator.after_update if how.startswith("stock") else None
    call = call or listeners([evaluator], "after_update")[0]
    for _ in range(2):
        call(strategy)
        assert not strategy.experience.is_logging
    told.append(sorted(evaluator.get_last_metrics()))
    return told


@pytest.mark.parametrize("is_active", [True, False])
@pytest.mark.parametrize("loggers", ["", " listening"])
def test_metrics_and_loggers_are_told_what_the_stock_plugin_tells(
    loggers: str, is_active: bool
) -> None:
    ours = _told(f"ours{loggers}", is_active)
    assert ours == _told(f"stock{loggers}", is_active)
    assert len(ours) > 4 * is_active


def test_what_is_made_on_access_or_put_on_an_object_is_called() -> None:
    class Asked(EvaluationPlugin):
        """A subclass may do anything."""

    assert len(listeners([Asked(loggers=[plugin(base=BaseLogger)])], "before_update")) == 1
    changed = plugin()
    changed.before_update = lambda strategy, **kwargs: None
    assert listeners([changed], "before_update") == [changed.before_update]
    assert listeners([object()], "before_update") == []
    by_step = PeriodicEval(1, peval_mode="iteration")
    assert len(listeners([by_step, Clock()], "after_training_iteration")) == 2


def test_a_run_calls_them_in_the_stock_order(quick_happy: Any, blobs: Any) -> None:
    log: list[tuple[str, str]] = []
    strategy = quick_happy(plugins=[plugin(*TRAINING, *EVALUATION, log=log)])
    strategy.train(blobs().train_stream[0])
    *steps, ended = TRAINING
    called = [event for _, event in log]
    assert called[:16] == [*steps, *steps] and called.count(ended) == strategy.epoch
    assert called[-1] == ended
    log.clear()
    strategy.eval(blobs().test_stream[:1])
    assert [event for _, event in log[:4]] == list(EVALUATION)
