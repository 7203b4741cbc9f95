"""Going on where a run stopped: what it must share with the new one, and where that was."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from cgcd.engine.cache import sweep_temporary
from cgcd.engine.checkpoint import discard_after, latest, restore
from cgcd.engine.checkpoint_files import Checkpoint
from cgcd.engine.processes import is_first, wait_for_all
from cgcd.engine.stored_plugins import check_plugins
from cgcd.engine.strategy import DiscoveryStrategy
from cgcd.stages import DiscoveryScenario
from cgcd.vocabulary import InputError

log = logging.getLogger(__name__)

_LATER = {"precision": "fp32", "compilation": False}
"""Of runs that were stored before these could be chosen."""

_GROWING = (".directions", ".rows")  # parameters with a row a class, or several


def resume(
    strategy: DiscoveryStrategy, scenario: DiscoveryScenario, checkpoints: Path
) -> list[Mapping[str, float]]:
    """Rows of the stages that need not be trained again; the strategy is put behind them.

    Where the next stage is stored under way, its training goes on from there. The first process
    alone changes the folder, when all have read it.
    """
    own, keeper = identity(strategy, scenario), strategy.keeper
    found = latest(checkpoints) if checkpoints.is_dir() else None
    stage = -1 if found is None else found.stage
    within = None if keeper is None else keeper.find(stage + 1, own)
    for stored in (found, within):
        if stored is not None:
            _check_identity(stored, own, checkpoints.parent)
    stateless = check_plugins(strategy)
    if stateless:
        log.warning(
            "%s has no state_dict, so this run starts at stage 0 whenever it is started",
            ", ".join(stateless),
        )
        found = strategy.keeper = None
        stage = -1
    if found is not None:
        restore(strategy, found, checkpoints)
        log.info("going on after stage %d", found.stage)
    wait_for_all()
    if is_first():
        sweep_temporary(checkpoints.parent)
        discard_after(checkpoints, stage, keep_within=strategy.keeper is not None)
    return [] if found is None else list(found.state["rows"])


def _check_identity(found: Checkpoint, own: Mapping[str, Any], folder: Path) -> None:
    stored = found.state["identity"]
    for what, value in own.items():
        then = stored.get(what, _LATER.get(what))
        if then != value:
            raise InputError(
                f"{folder} holds a run with another {what} ({str(then)[:12]} instead "
                f"of {str(value)[:12]}); give another folder or set overwrite=true"
            )


def identity(strategy: DiscoveryStrategy, scenario: DiscoveryScenario) -> dict[str, Any]:
    """What two runs must share for one to go on where the other stopped."""
    backbone = strategy.model.backbone
    return {
        "precision": backbone.precision,
        "compilation": backbone.compiled,
        "stream": scenario.stream_hash,
        "data": scenario.data_hash,
        "strategy": type(strategy).__name__,
        "seed": strategy.seed,
        "setting": _digest(strategy.plain_settings()),
        "model": _digest([backbone.origin, *((n, p.shape) for n, p in _fixed_shapes(strategy))]),
    }


def _fixed_shapes(strategy: DiscoveryStrategy) -> list[tuple[str, Any]]:
    """Parameters that do not grow."""
    return [(n, p) for n, p in strategy.model.named_parameters() if not n.endswith(_GROWING)]


def _digest(plain: Any) -> str:
    return hashlib.sha256(repr(plain).encode()).hexdigest()
