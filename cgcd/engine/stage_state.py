"""All that the steps of a stage change, taken out of a strategy and put back into it.

What the beginning of a stage makes (teacher, new rows, floors) is a function of the stage before
and of the seed, so it is made again and not stored.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from cgcd.engine.checkpoint import COUNTERS, load_parts, part_tensors
from cgcd.engine.checkpoint_files import Checkpoint, part_of
from cgcd.engine.evaluation import StageMetric
from cgcd.engine.loss_terms import LossTerms
from cgcd.engine.processes import is_first
from cgcd.engine.seeding import generator_states, set_generator_states
from cgcd.engine.stored_plugins import load_plugins, plugin_states
from cgcd.vocabulary import InputError


def stage_state(strategy: Any, batches: int) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Tensors and plain data of a strategy between two steps.

    Args:
        strategy: on whose stage it is.
        batches: of this epoch that were learned from.
    """
    plugins, tensors = plugin_states(strategy)
    optimizer, moments = strategy.staged.state()
    tensors |= part_tensors(strategy)
    tensors |= {f"optimizer.{name}": tensor for name, tensor in moments.items()}
    tensors |= {f"random.{name}": tensor for name, tensor in generator_states().items()}
    for name, generator in _generators(strategy).items():
        tensors[f"generator.{name}"] = generator.get_state()
    return tensors, {
        "counters": {name: getattr(strategy, name) for name in COUNTERS},
        "position": {"epoch": strategy.epoch, "batches": batches},
        "clock": dict(vars(strategy.clock)),
        "metrics": {str(m): m.state_dict() for m in _metrics(strategy)},
        "plugins": plugins,
        "optimizer": optimizer,
        "report": strategy.report,
        "loggers": {name: part.state_dict() for name, part in _loggers(strategy).items()},
    }


def put_back(strategy: Any, checkpoint: Checkpoint) -> None:
    """Put a strategy that has begun the stage anew to where the checkpoint was written.

    Raises:
        InputError: if the stage begins otherwise here, or a plugin is missing there.
    """
    _check_fit(strategy, checkpoint)
    tensors, state = checkpoint.tensors, checkpoint.state
    load_parts(strategy, tensors)
    strategy.staged.load(strategy.model, state["optimizer"], part_of(tensors, "optimizer"))
    strategy.optimized_param_id = dict(strategy.model.named_parameters())
    for name in COUNTERS:
        setattr(strategy, name, state["counters"][name])
    vars(strategy.clock).update(state["clock"])
    strategy.report = state["report"]
    load_plugins(strategy, checkpoint)
    for metric in _metrics(strategy):
        if str(metric) in state["metrics"]:
            metric.load_state_dict(state["metrics"][str(metric)])
    generators = _generators(strategy)
    for name, content in part_of(tensors, "generator").items():
        generators[name].set_state(content)
    for name, logger in _loggers(strategy).items():
        if name in state["loggers"]:
            logger.load_state_dict(state["loggers"][name])
        elif hasattr(logger, "begin_stage"):  # the broken run went without it
            logger.begin_stage(strategy.stage_index)
    if is_first():  # the others have streams of their own
        set_generator_states(part_of(tensors, "random"))  # last, for nothing may draw any more


def _generators(strategy: Any) -> dict[str, torch.Generator]:
    """Generators that a method draws from step by step."""
    return {k: v for k, v in vars(strategy).items() if isinstance(v, torch.Generator)}


def _metrics(strategy: Any) -> list[Any]:
    return [m for m in strategy.evaluator.metrics if isinstance(m, StageMetric | LossTerms)]


def _loggers(strategy: Any) -> dict[str, Any]:
    """Loggers that can go on where they were."""
    return {
        f"{place}.{type(logger).__name__}": logger
        for place, logger in enumerate(strategy.evaluator.loggers)
        if hasattr(logger, "load_state_dict")
    }


def _check_fit(strategy: Any, found: Checkpoint) -> None:
    parts = strategy.state_modules()
    stored = {k: v.shape for k, v in found.tensors.items() if k.split(".")[0] in parts}
    own = {k: v.shape for k, v in part_tensors(strategy).items()}
    differing = {k for k in stored.keys() | own.keys() if stored.get(k) != own.get(k)}
    if differing:
        raise InputError(
            f"{found.path} does not fit the stage as it begins here ({min(differing)} differs): "
            "another machine or other library versions? Remove that folder to train the stage from "
            "its beginning, or set overwrite=true"
        )
