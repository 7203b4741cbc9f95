"""What a stage cost, for loggers that want to know: seconds by phase, throughput, memory."""

from __future__ import annotations

import resource
import sys
from collections.abc import Mapping
from typing import Any

import torch

_MIB = 2**20
_MAXRSS_UNIT = 1 if sys.platform == "darwin" else 1024  # bytes there, KiB elsewhere


def describe_run(strategy: Any, facts: Mapping[str, Any]) -> None:
    """Tell the loggers that want to know what is being run.

    Args:
        strategy: with its loggers.
        facts: plain data that will stand in `results.json`.
    """
    for logger in strategy.evaluator.loggers:
        if hasattr(logger, "describe_run"):
            logger.describe_run({**facts, "settings": plain_numbers(strategy.plain_settings())})


def log_costs(
    strategy: Any, stage: Any, seconds: Mapping[str, float], headline: float | None
) -> None:
    """Give the loggers a finished stage's costs and the headline so far, over the stage.

    Args:
        strategy: after the stage.
        stage: that was trained on.
        seconds: by phase, 0 for what was left out; one of them is "train".
        headline: of the run up to this stage; None without truth.
    """
    index = strategy.stage_index
    numbers = {f"seconds/{phase}": value for phase, value in seconds.items() if value}
    epochs = strategy.recipe.epochs if strategy.takes_steps else 1
    images = epochs * len(stage.dataset)
    numbers["throughput/train_samples_per_second"] = images / max(seconds["train"], 1e-9)
    numbers |= {f"memory/{name}": value for name, value in peak_memory(strategy.device).items()}
    log_end(strategy, index, numbers, headline)


def log_end(
    strategy: Any, stage: int, numbers: Mapping[str, float], headline: float | None
) -> None:
    """Give the loggers the last numbers of a stage, over the stage, and tell them that it ended.

    Args:
        strategy: with its loggers.
        stage: its index.
        numbers: by name.
        headline: of the run up to this stage; None without truth.
    """
    told = {**numbers, **({} if headline is None else {"run/headline": headline})}
    for logger in strategy.evaluator.loggers:
        for name, value in told.items():
            logger.log_single_metric(name, float(value), stage)
        if hasattr(logger, "end_stage"):
            logger.end_stage(stage)


def log_number(strategy: Any, name: str, value: float) -> None:
    """Give the loggers one number of a finished stage."""
    for logger in strategy.evaluator.loggers:
        logger.log_single_metric(name, float(value), strategy.stage_index)


def peak_memory(device: torch.device) -> dict[str, float]:
    """Largest memory so far in MiB: of the process, and on an accelerator of its tensors."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * _MAXRSS_UNIT / _MIB
    if device.type != "cuda":
        return {"peak_process_mib": peak}
    cuda = torch.cuda.max_memory_allocated(device) / _MIB
    return {"peak_process_mib": peak, "peak_device_mib": cuda}


def plain_numbers(settings: Mapping[str, Any]) -> dict[str, float | str | bool]:
    """Settings that are one number, text or switch, recipes' among them by `<recipe>.<name>`."""
    found: dict[str, float | str | bool] = {}
    for name, value in settings.items():
        if isinstance(value, bool | int | float | str):
            found[name] = value
        elif name in ("base", "continual") and value is not None:
            for part in ("epochs", "batch_size"):
                found[f"{name}.{part}"] = getattr(value, part)
            rate = getattr(value.optimizer, "keywords", {}).get("lr")
            if rate is not None:
                found[f"{name}.lr"] = rate
    return found
