"""Stage checkpoints: tensors as safetensors, everything else as JSON, whole or not at all.

`checkpoints/stage_003/` holds `tensors.safetensors` (tail, heads, memory) and `state.json` (sizes,
counters, metric history, checksum). `checkpoints/backbone.safetensors` holds the trunk and the tail
the run started from, once. Nothing is ever pickled.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
import shutil
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from cgcd.engine.baselines import Baselines
from cgcd.engine.cache import write_tensors
from cgcd.engine.evaluation import LossTerms, StageMetric, stage_metrics
from cgcd.engine.novelty import NoveltyMetrics
from cgcd.models import TailSnapshot
from cgcd.vocabulary import SCHEMA_VERSION, InputError

log = logging.getLogger(__name__)

_TENSORS, _STATE, _BACKBONE = "tensors.safetensors", "state.json", "backbone.safetensors"
_STAGE_FOLDERS = "stage_[0-9][0-9][0-9]"
_COUNTERS = ("stage_index", "num_base", "num_known")


@dataclass(frozen=True)
class Checkpoint:
    """One stored stage.

    Attributes:
        stage: its index.
        state: content of `state.json`.
        tensors: content of `tensors.safetensors`.
    """

    stage: int
    state: dict[str, Any]
    tensors: dict[str, Tensor]


def save_stage(strategy: Any, folder: Path, extra: dict[str, Any]) -> None:
    """Store the state after a stage.

    Args:
        strategy: after training and evaluating the stage.
        folder: the `checkpoints` folder.
        extra: plain data of the run that belongs to the stage, such as its table row.
    """
    folder.mkdir(parents=True, exist_ok=True)
    if strategy.stage_index == 0 or not (folder / _BACKBONE).is_file():
        write_tensors(folder / _BACKBONE, _start_of_run(strategy))
    tensors = {
        f"{part}.{name}": tensor
        for part, module in strategy.state_modules().items()
        for name, tensor in module.state_dict().items()
    }
    for baselines in _baselines(strategy):
        tensors |= {f"baselines.{name}": t for name, t in baselines.tensors().items()}
    for novelty in _novelty(strategy):
        if strategy.stage_index == 0:  # no later stage changes them
            tensors |= {f"novelty.{name}": t for name, t in novelty.tensors().items()}
    plugins: dict[str, dict[str, Any]] = {}
    for name, plugin in _stateful(strategy).items():
        kept = plugin.state_dict()
        plugins[name] = {k: v for k, v in kept.items() if not isinstance(v, Tensor)}
        tensors |= {f"{name}.{k}": v for k, v in kept.items() if isinstance(v, Tensor)}
    final = folder / f"stage_{strategy.stage_index:03d}"
    temporary = Path(tempfile.mkdtemp(dir=folder, prefix=f".{final.name}-"))
    try:
        write_tensors(temporary / _TENSORS, tensors)
        state = {
            "schema_version": SCHEMA_VERSION,
            "sha256": hashlib.sha256((temporary / _TENSORS).read_bytes()).hexdigest(),
            "counters": {name: getattr(strategy, name) for name in _COUNTERS},
            "clock": dict(vars(strategy.clock)),
            "metrics": {str(m): m.state_dict() for m in stage_metrics(strategy)},
            "plugins": plugins,
            "stock": strategy.stock.state_dict(),
            "report": strategy.report,
            **extra,
        }
        (temporary / _STATE).write_text(json.dumps(state, indent=1), encoding="utf-8")
        with (temporary / _STATE).open("rb") as file:
            os.fsync(file.fileno())
        if final.exists():
            shutil.rmtree(final)
        temporary.replace(final)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


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


def discard_after(folder: Path, stage: int) -> None:
    """Remove what a run that goes on after `stage` must not find: later stages, torn writes."""
    for path in folder.glob(".stage_*"):
        shutil.rmtree(path)
    for path in folder.glob(_STAGE_FOLDERS):
        if int(path.name[-3:]) > stage:
            shutil.rmtree(path)


def latest(folder: Path) -> Checkpoint | None:
    """The newest stage that is whole; a damaged one is passed over with a warning.

    Raises:
        InputError: if a checkpoint was written by a newer version.
    """
    for path in sorted(folder.glob(_STAGE_FOLDERS), reverse=True):
        try:
            state = json.loads((path / _STATE).read_text(encoding="utf-8"))
            if state["schema_version"] > SCHEMA_VERSION:
                raise InputError(
                    f"{path} has schema version {state['schema_version']} and this cgcd reads "
                    f"up to {SCHEMA_VERSION}; continue it with the newer cgcd or set overwrite=true"
                )
            _check_sum(path, state)
            return Checkpoint(int(path.name[-3:]), state, load_file(path / _TENSORS))
        except (OSError, KeyError, TypeError, UnicodeDecodeError, json.JSONDecodeError) as error:
            log.warning("%s is damaged (%s); going back one stage", path, error)
    return None


def restore(strategy: Any, checkpoint: Checkpoint, folder: Path) -> None:
    """Put a fresh strategy into the state after the checkpoint's stage.

    Args:
        strategy: built as for the start of the run.
        checkpoint: what `latest` found.
        folder: the `checkpoints` folder, for the backbone and the base stage.

    Raises:
        InputError: if the tensors do not fit the model, or a file of the base stage is damaged.
    """
    backbone, base = _read(folder / _BACKBONE), _base_tensors(folder, checkpoint)
    try:
        strategy.model.backbone.load_state_dict(backbone)
        start = strategy.model.snapshot()
        _load_parts(strategy, base)
        closed = strategy.model.snapshot()
        _load_parts(strategy, checkpoint.tensors)
    except (RuntimeError, KeyError) as error:
        reason = " ".join(str(error).split())[:200]
        raise InputError(
            f"the checkpoint in {folder} does not fit this model ({reason}); use the "
            "config it was made with or set overwrite=true"
        ) from error
    state = checkpoint.state
    for name in _COUNTERS:
        setattr(strategy, name, state["counters"][name])
    vars(strategy.clock).update(state["clock"])
    strategy.report = state["report"]
    if "stock" in state:
        strategy.stock.load_state_dict(state["stock"])
    for name, plugin in _stateful(strategy).items():
        if name not in state["plugins"]:
            raise InputError(
                f"the run in {folder.parent} was made without {name}; give the plugins it was made "
                "with, or another folder"
            )
        plugin.load_state_dict({**state["plugins"][name], **_part(checkpoint.tensors, name)})
    for metric in stage_metrics(strategy):
        if str(metric) in state["metrics"]:
            metric.load_state_dict(state["metrics"][str(metric)])
    for baselines in _baselines(strategy):
        kept = _part(checkpoint.tensors, "baselines")
        if not kept:
            raise InputError(
                f"the run in {folder.parent} was made without baselines; leave them out or give "
                "another folder"
            )
        baselines.restore(start, closed, kept)
    for novelty in _novelty(strategy):
        kept = _part(base, "novelty")
        if not kept:
            raise InputError(
                f"the run in {folder.parent} was made without outliers; leave them out or give "
                "another folder"
            )
        novelty.restore(kept)


def _start_of_run(strategy: Any) -> dict[str, Tensor]:
    """Trunk, and the tail before the base stage if a floor is measured on it."""
    tensors = dict(strategy.model.backbone.state_dict())
    for baselines in _baselines(strategy):
        if baselines.start is not None:
            tail: TailSnapshot = baselines.start
            tensors |= {f"tail.{k}": v for k, v in tail.tail.state_dict().items()}
    return tensors


def _base_tensors(folder: Path, checkpoint: Checkpoint) -> dict[str, Tensor]:
    if checkpoint.stage == 0:
        return checkpoint.tensors
    path = folder / "stage_000"
    tensors = _read(path / _TENSORS)
    try:
        _check_sum(path, json.loads((path / _STATE).read_text(encoding="utf-8")))
    except (OSError, KeyError, ValueError) as error:
        raise InputError(f"{path} is damaged ({error}); start anew with overwrite=true") from error
    return tensors


def _check_sum(path: Path, state: dict[str, Any]) -> None:
    if hashlib.sha256((path / _TENSORS).read_bytes()).hexdigest() != state["sha256"]:
        raise OSError("checksum differs")


def _stateful(strategy: Any) -> dict[str, Any]:
    plugins = own_plugins(strategy)
    return {
        f"plugin{i}.{type(plugin).__name__}": plugin
        for i, plugin in enumerate(plugins)
        if hasattr(plugin, "state_dict")
    }


def _read(path: Path) -> dict[str, Tensor]:
    try:
        return load_file(path)
    except (OSError, SafetensorError) as error:
        raise InputError(
            f"{path} cannot be read ({error}) and the run cannot go on without it; start it anew "
            "with overwrite=true"
        ) from error


def _load_parts(strategy: Any, tensors: dict[str, Tensor]) -> None:
    for part, module in strategy.state_modules().items():
        module.load_state_dict(_part(tensors, part))


def _part(tensors: dict[str, Tensor], part: str) -> dict[str, Tensor]:
    prefix = f"{part}."
    return {k.removeprefix(prefix): v for k, v in tensors.items() if k.startswith(prefix)}


def _baselines(strategy: Any) -> list[Baselines]:
    return [metric for metric in stage_metrics(strategy) if isinstance(metric, Baselines)]


def _novelty(strategy: Any) -> list[NoveltyMetrics]:
    return [metric for metric in stage_metrics(strategy) if isinstance(metric, NoveltyMetrics)]
