"""Plugins whose state can be stored beside a stage's: which they are, what they hold."""

from __future__ import annotations

import json
import logging
from typing import Any

from torch import Tensor

from cgcd.engine.checkpoint_files import Checkpoint, part_of
from cgcd.engine.evaluation import StageMetric
from cgcd.engine.loss_terms import LossTerms
from cgcd.vocabulary import InputError

log = logging.getLogger(__name__)


def own_plugins(strategy: Any) -> list[Any]:
    """Plugins that were given to the strategy, without those that Avalanche or the engine add."""
    added = ("EvaluationPlugin", "PeriodicEval", "Clock")
    return [plugin for plugin in strategy.plugins if type(plugin).__name__ not in added]


def check_plugins(strategy: Any) -> list[str]:
    """Names of plugins that cannot be stored.

    Raises:
        InputError: if a plugin's state is more than tensors and plain data.
    """
    for name, plugin in _stateful(strategy).items():
        try:
            json.dumps({k: v for k, v in plugin.state_dict().items() if not isinstance(v, Tensor)})
        except TypeError as error:
            raise InputError(
                f"the state of {name} cannot be stored ({error}); its state_dict must hold tensors "
                "and plain data only"
            ) from error
    kept_here = (StageMetric, LossTerms)
    for metric in strategy.evaluator.metrics:
        if not isinstance(metric, kept_here):
            log.warning("%s is not stored: after resuming it knows later stages only", metric)
    return [type(p).__name__ for p in own_plugins(strategy) if not hasattr(p, "state_dict")]


def plugin_states(strategy: Any) -> tuple[dict[str, dict[str, Any]], dict[str, Tensor]]:
    """Plain data of each plugin that can be stored, and the tensors of all."""
    plain: dict[str, dict[str, Any]] = {}
    tensors: dict[str, Tensor] = {}
    for name, plugin in _stateful(strategy).items():
        kept = plugin.state_dict()
        plain[name] = {k: v for k, v in kept.items() if not isinstance(v, Tensor)}
        tensors |= {f"{name}.{k}": v for k, v in kept.items() if isinstance(v, Tensor)}
    return plain, tensors


def load_plugins(strategy: Any, checkpoint: Checkpoint) -> None:
    """Give each plugin that can be stored its state back.

    Raises:
        InputError: if the run was made without one of them.
    """
    stored = checkpoint.state["plugins"]
    for name, plugin in _stateful(strategy).items():
        if name not in stored:
            raise InputError(
                f"the run in {checkpoint.path.parents[1]} was made without {name}; give the "
                "plugins it was made with, or another folder"
            )
        plugin.load_state_dict({**stored[name], **part_of(checkpoint.tensors, name)})


def _stateful(strategy: Any) -> dict[str, Any]:
    plugins = own_plugins(strategy)
    return {
        f"plugin{i}.{type(plugin).__name__}": plugin
        for i, plugin in enumerate(plugins)
        if hasattr(plugin, "state_dict")
    }
