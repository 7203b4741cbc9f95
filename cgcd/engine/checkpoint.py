"""What a finished stage leaves in a run's `checkpoints` folder, and how a strategy takes it back.

`stage_003/` holds tail, heads, memory, counters and metric history, see `checkpoint_files`;
`backbone.safetensors` the trunk and the tail the run started from, once.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file
from torch import Tensor

from cgcd.engine.baselines import Baselines
from cgcd.engine.cache import tensors_digest, write_whole
from cgcd.engine.checkpoint_files import (
    STATE,
    TENSORS,
    Checkpoint,
    check_sum,
    newest_whole,
    part_of,
    remove_checkpoint,
    stage_folders,
    stage_of,
    sweep,
    within_folders,
    write_checkpoint,
)
from cgcd.engine.evaluation import stage_metrics
from cgcd.engine.novelty import NoveltyMetrics
from cgcd.engine.stored_plugins import load_plugins, plugin_states
from cgcd.models import TailSnapshot
from cgcd.vocabulary import InputError

_BACKBONE = "backbone.safetensors"
START = "start.safetensors"
"""The model after its warm-up, as long as stage 0 is under way."""

COUNTERS = ("stage_index", "num_base", "num_known")


def save_stage(strategy: Any, folder: Path, extra: dict[str, Any]) -> None:
    """Store the state after a stage.

    Args:
        strategy: after training and evaluating the stage.
        folder: the `checkpoints` folder.
        extra: plain data of the run that belongs to the stage, such as its table row.
    """
    folder.mkdir(parents=True, exist_ok=True)
    if strategy.stage_index == 0 or not (folder / _BACKBONE).is_file():
        started = {n: t.detach().cpu().contiguous() for n, t in _start_of_run(strategy).items()}
        write_whole(folder / _BACKBONE, {n: t.clone() for n, t in started.items()}, {})
    tensors = part_tensors(strategy)
    for baselines in _baselines(strategy):
        tensors |= {f"baselines.{name}": t for name, t in baselines.tensors().items()}
    for novelty in _novelty(strategy):
        if strategy.stage_index == 0:  # no later stage changes them
            tensors |= {f"novelty.{name}": t for name, t in novelty.tensors().items()}
    plugins, kept = plugin_states(strategy)
    state = {
        "counters": {name: getattr(strategy, name) for name in COUNTERS},
        "clock": dict(vars(strategy.clock)),
        "metrics": {str(m): m.state_dict() for m in stage_metrics(strategy)},
        "plugins": plugins,
        "stock": strategy.stock.state_dict(),
        "report": strategy.report,
        **extra,
    }
    for logger in strategy.evaluator.loggers:
        if hasattr(logger, "state_dict"):
            logger.state_dict()  # writes out what it holds back: nobody shows this stage again
    final = folder / f"stage_{strategy.stage_index:03d}"
    write_checkpoint(final, {**tensors, **kept}, state)
    for path in within_folders(folder):
        if stage_of(path) <= strategy.stage_index:
            remove_checkpoint(path)
    (folder / START).unlink(missing_ok=True)


def part_tensors(strategy: Any) -> dict[str, Tensor]:
    """What a stage changes, by `<part>.<name>`."""
    return {
        f"{part}.{name}": tensor
        for part, module in strategy.state_modules().items()
        for name, tensor in module.state_dict().items()
    }


def discard_after(folder: Path, stage: int, keep_within: bool = False) -> None:
    """Remove what a run that goes on after `stage` must not find: later stages, torn writes.

    Args:
        folder: the `checkpoints` folder.
        stage: the last that counts, -1 for none.
        keep_within: leave what is stored of the next stage under way.
    """
    sweep(folder)
    for path in stage_folders(folder):
        if stage_of(path) > stage:
            remove_checkpoint(path)
    for path in within_folders(folder):
        if not keep_within or stage_of(path) != stage + 1:
            remove_checkpoint(path)


def latest(folder: Path) -> Checkpoint | None:
    """The newest stage that is whole; a damaged one is passed over with a warning.

    Raises:
        InputError: if a checkpoint was written by a newer version.
    """
    return newest_whole(reversed(stage_folders(folder)), "going back one stage")


def restore(strategy: Any, checkpoint: Checkpoint, folder: Path) -> None:
    """Put a fresh strategy into the state after the checkpoint's stage.

    Args:
        strategy: built as for the start of the run.
        checkpoint: what `latest` found.
        folder: the `checkpoints` folder, for the backbone and the base stage.

    Raises:
        InputError: if the tensors do not fit the model, or a file of the base stage is damaged.
    """
    backbone, base = _read_backbone(folder / _BACKBONE), _base_tensors(folder, checkpoint)
    try:
        strategy.model.backbone.load_state_dict(backbone)
        start = strategy.model.snapshot()
        load_parts(strategy, base)
        closed = strategy.model.snapshot()
        load_parts(strategy, checkpoint.tensors)
    except (RuntimeError, KeyError) as error:
        reason = " ".join(str(error).split())[:200]
        raise InputError(
            f"the checkpoint in {folder} does not fit this model ({reason}); use the "
            "config it was made with or set overwrite=true"
        ) from error
    state = checkpoint.state
    for name in COUNTERS:
        setattr(strategy, name, state["counters"][name])
    vars(strategy.clock).update(state["clock"])
    strategy.report = state["report"]
    if "stock" in state:
        strategy.stock.load_state_dict(state["stock"])
    load_plugins(strategy, checkpoint)
    for metric in stage_metrics(strategy):
        if str(metric) in state["metrics"]:
            metric.load_state_dict(state["metrics"][str(metric)])
    for baselines in _baselines(strategy):
        kept = part_of(checkpoint.tensors, "baselines")
        if not kept:
            raise InputError(
                f"the run in {folder.parent} was made without baselines; leave them out or give "
                "another folder"
            )
        baselines.restore(start, closed, kept)
    for novelty in _novelty(strategy):
        kept = part_of(base, "novelty")
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
    tensors = _read(path / TENSORS)
    try:
        check_sum(path, json.loads((path / STATE).read_text(encoding="utf-8")))
    except (OSError, KeyError, ValueError) as error:
        raise InputError(f"{path} is damaged ({error}); start anew with overwrite=true") from error
    return tensors


def _read_backbone(path: Path) -> dict[str, Tensor]:
    """The trunk; a file of before there were checksums in it is taken as it is."""
    tensors = _read(path)
    with safe_open(path, "pt") as file:
        stated = (file.metadata() or {}).get("sha256")
    if stated is not None and stated != tensors_digest(tensors):
        raise InputError(
            f"{path} is damaged (checksum differs) and the run cannot go on without it; put a copy "
            "back, or start it anew with overwrite=true"
        )
    return tensors


def _read(path: Path) -> dict[str, Tensor]:
    try:
        return load_file(path)
    except (OSError, SafetensorError) as error:
        raise InputError(
            f"{path} cannot be read ({error}) and the run cannot go on without it; start it anew "
            "with overwrite=true"
        ) from error


def load_parts(strategy: Any, tensors: dict[str, Tensor]) -> None:
    for part, module in strategy.state_modules().items():
        module.load_state_dict(part_of(tensors, part))


def _baselines(strategy: Any) -> list[Baselines]:
    return [metric for metric in stage_metrics(strategy) if isinstance(metric, Baselines)]


def _novelty(strategy: Any) -> list[NoveltyMetrics]:
    return [metric for metric in stage_metrics(strategy) if isinstance(metric, NoveltyMetrics)]
