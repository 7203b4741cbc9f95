"""Avalanche's callbacks of an iteration, called where somebody listens and in the stock order.

The stock template asks every plugin at every one of eight places a step, and the evaluation plugin
copies the experience at each to find that no metric is interested. That costs more than a step on
embeddings. Who listens is found out once an epoch here.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from avalanche.core import BasePlugin, BaseSGDPlugin, SupervisedPlugin
from avalanche.evaluation import PluginMetric
from avalanche.logging import BaseLogger
from avalanche.training.plugins import EvaluationPlugin
from avalanche.training.templates.base_sgd import PeriodicEval

from cgcd.engine.loss_terms import StepCurves

_SILENT = (BasePlugin, BaseSGDPlugin, SupervisedPlugin, PluginMetric, BaseLogger)
"""Classes whose own callbacks do nothing."""

TRAINING = (
    "before_training_iteration",
    "before_forward",
    "after_forward",
    "before_backward",
    "after_backward",
    "before_update",
    "after_update",
    "after_training_iteration",
    "after_training_epoch",
)
EVALUATION = (
    "before_eval_iteration",
    "before_eval_forward",
    "after_eval_forward",
    "after_eval_iteration",
)


def listeners(plugins: Sequence[Any], event: str) -> list[Callable[..., Any]]:
    """What is to be called at an event, in the order of the plugins."""
    return [_callback(plugin, event) for plugin in plugins if _listens(plugin, event)]


def _callback(plugin: Any, event: str) -> Callable[..., Any]:
    if type(plugin) is EvaluationPlugin:
        return _EvaluatorCall(plugin, event)
    return getattr(plugin, event)


class _EvaluatorCall:
    """What an evaluation plugin does at one event, without asking those who do nothing there.

    Args:
        plugin: with its metrics and loggers.
        event: name of the callback.
    """

    def __init__(self, plugin: EvaluationPlugin, event: str) -> None:
        self.plugin, self.event = plugin, event
        self.metrics = [getattr(m, event) for m in plugin.metrics if _listens(m, event)]
        self.loggers = [logger for logger in plugin.loggers if _listens(logger, event)]
        self._state = vars(plugin)  # the plugin looks every name up in a slower way of its own
        self._trained = self._logged = None

    def __call__(self, strategy: Any, **kwargs: Any) -> None:
        """The metrics in order; the loggers where one listens or there is something to log."""
        trained = strategy.experience
        if not self._state["_active"]:
            return
        if trained is not self._trained:  # the same one for a whole epoch, mostly
            self._trained, self._logged = trained, trained and trained.logging()
        strategy.experience = self._logged
        try:
            for metric in self.metrics:
                values = metric(strategy)
                if values is not None:
                    self._publish(values)
            if self._state["_metric_values"] or self.loggers:
                self._tell_loggers(strategy)
        finally:
            strategy.experience = trained

    def _publish(self, values: Any) -> None:
        plugin = self.plugin
        if isinstance(values, StepCurves) and not plugin.collect_all:
            plugin.last_metric_results.update(values.last)
            for logger in plugin.loggers:
                if hasattr(logger, "log_curves"):
                    logger.log_curves(values)
                elif _listens(logger, "log_metrics") or _listens(logger, "log_single_metric"):
                    logger.log_metrics(list(values))
            return
        for value in values if isinstance(values, Sequence) else [values]:
            plugin.publish_metric_value(value)

    def _tell_loggers(self, strategy: Any) -> None:
        plugin = self.plugin
        for logger in plugin.loggers:
            logger.log_metrics(plugin._metric_values)
            if logger in self.loggers:
                getattr(logger, self.event)(strategy, plugin._metric_values)
        plugin._metric_values = []


def _listens(plugin: Any, event: str) -> bool:
    """Whether a plugin does something there; one may say in `silent_at` where it now does not."""
    if type(plugin) is EvaluationPlugin:  # hands every event on to its metrics and loggers
        return any(_listens(part, event) for part in (*plugin.metrics, *plugin.loggers))
    if type(plugin) is PeriodicEval and event == "after_training_iteration":
        return plugin.peval_mode == "iteration"
    if event in getattr(plugin, "silent_at", ()):
        return False
    if event in getattr(plugin, "__dict__", {}):
        return True
    for kind in type(plugin).__mro__:
        if event in vars(kind):
            return kind not in _SILENT
    return hasattr(plugin, event)  # made on access


class ListenedCallbacks:
    """The template's calls of an iteration; mixed in before the template."""

    plugins: list[Any]
    _listening: dict[str, list[Callable[..., Any]]]

    def listen(self, events: Sequence[str]) -> None:
        """Find out anew who listens to these events."""
        self._listening = {event: listeners(self.plugins, event) for event in events}

    def _call(self, event: str, kwargs: dict[str, Any]) -> None:
        for callback in self._listening[event]:
            callback(self, **kwargs)

    def training_epoch(self, **kwargs: Any) -> None:
        self.listen(TRAINING)
        super().training_epoch(**kwargs)  # type: ignore[misc]

    def eval_epoch(self, **kwargs: Any) -> None:
        outer = getattr(self, "_listening", {})  # an evaluation inside training
        self.listen(EVALUATION)
        super().eval_epoch(**kwargs)  # type: ignore[misc]
        self._listening = outer

    def _before_training_iteration(self, **kwargs: Any) -> None:
        self._call("before_training_iteration", kwargs)

    def _before_forward(self, **kwargs: Any) -> None:
        self._call("before_forward", kwargs)

    def _after_forward(self, **kwargs: Any) -> None:
        self._call("after_forward", kwargs)

    def _before_backward(self, **kwargs: Any) -> None:
        self._call("before_backward", kwargs)

    def _after_backward(self, **kwargs: Any) -> None:
        self._call("after_backward", kwargs)

    def _before_update(self, **kwargs: Any) -> None:
        self._call("before_update", kwargs)

    def _after_update(self, **kwargs: Any) -> None:
        self._call("after_update", kwargs)

    def _after_training_iteration(self, **kwargs: Any) -> None:
        self._call("after_training_iteration", kwargs)

    def _after_training_epoch(self, **kwargs: Any) -> None:
        self._call("after_training_epoch", kwargs)

    def _before_eval_iteration(self, **kwargs: Any) -> None:
        self._call("before_eval_iteration", kwargs)

    def _before_eval_forward(self, **kwargs: Any) -> None:
        self._call("before_eval_forward", kwargs)

    def _after_eval_forward(self, **kwargs: Any) -> None:
        self._call("after_eval_forward", kwargs)

    def _after_eval_iteration(self, **kwargs: Any) -> None:
        self._call("after_eval_iteration", kwargs)
