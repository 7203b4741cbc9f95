"""A stage is stored while it is under way, and goes on where it was broken off.

`checkpoints/within_003_00000120/` is stage 3 after 120 of its steps; the last two are kept until
the stage is whole. On resuming the stage is begun again and the stored state is put on top, see
`stage_state`. The order of the samples is a function of the epoch, so the batches that were learned
from are passed over.
"""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from cgcd.engine.cache import read_whole, write_whole
from cgcd.engine.checkpoint import START
from cgcd.engine.checkpoint_files import (
    Checkpoint,
    newest_whole,
    remove_checkpoint,
    stage_of,
    within_folders,
    write_checkpoint,
)
from cgcd.engine.processes import is_first
from cgcd.engine.stage_state import put_back, stage_state
from cgcd.vocabulary import InputError

log = logging.getLogger(__name__)

MINUTES = 10.0
"""Between two checkpoints of a stage, unless told otherwise."""

_KEPT = 2


class StageKeeper:
    """Stores the stage that a strategy trains on, every so many minutes or steps.

    Storing changes no result: nothing is drawn, and a run may be resumed at any of its steps.

    Args:
        folder: the `checkpoints` folder of the run.
        minutes: between two checkpoints, > 0; None for none by time.
        steps: optimizer steps between two, >= 1; None for none by number.

    Raises:
        InputError: for a number out of range.

    Attributes:
        pending: what the next stage goes on from; None: it begins at its beginning.
        seconds: that earlier, broken runs have spent on the stage.
    """

    def __init__(
        self, folder: Path, minutes: float | None = MINUTES, steps: int | None = None
    ) -> None:
        if minutes is not None and not minutes > 0:
            raise InputError(
                f"checkpoint_minutes is {minutes}; wanted a number above 0, or null for none by "
                "time: set checkpoint_minutes=10"
            )
        if steps is not None and steps < 1:
            raise InputError(
                f"checkpoint_steps is {steps}; wanted at least 1, or null for none by number: set "
                "checkpoint_steps=null"
            )
        self.folder, self.minutes, self.steps = folder, minutes, steps
        self.identity: dict[str, Any] = {}
        self.pending: Checkpoint | None = None
        self.seconds = 0.0
        self._quiet: list[Any] | None = None
        self._num_batches = 0
        self._stores = False

    def find(self, stage: int, identity: dict[str, Any]) -> Checkpoint | None:
        """What is stored of a stage under way: the newest that is whole."""
        self.identity = identity
        self.pending = None
        if self.folder.is_dir():
            paths = [path for path in within_folders(self.folder) if stage_of(path) == stage]
            self.pending = newest_whole(reversed(paths), "going back to the one before")
        return self.pending

    # ------------------------------------------------------------ the warm-up

    def keep_start(self, strategy: Any) -> None:
        """Store the whole model after its warm-up, which is not made again."""
        told = {"warm_up": strategy.report["warm_up"], "identity": self.identity}
        tensors = {
            name: tensor.detach().cpu().contiguous().clone()
            for name, tensor in strategy.model.state_dict().items()
        }
        write_whole(self.folder / START, tensors, {k: json.dumps(v) for k, v in told.items()})

    def take_start(self, strategy: Any) -> bool:
        """Put the model behind its warm-up, if that is stored."""
        path = self.folder / START
        found = read_whole(path) if path.is_file() else None
        if found is None or json.loads(found[1].get("identity", "null")) != self.identity:
            return False
        strategy.model.load_state_dict(found[0])
        strategy.report["warm_up"] = json.loads(found[1]["warm_up"])
        return True

    # ------------------------------------------------------------ a stage

    @contextmanager
    def stage(self, strategy: Any) -> Iterator[None]:
        """Around the training on a stage; loggers that have shown its beginning are silent."""
        self.seconds, self._started = 0.0, time.monotonic()
        if self.pending is not None:
            self._quiet = strategy.evaluator.loggers
            loud = [logger for logger in self._quiet if not hasattr(logger, "load_state_dict")]
            strategy.evaluator.loggers = loud
        try:
            yield
        finally:
            if self._quiet is not None:
                strategy.evaluator.loggers, self._quiet = self._quiet, None
            self.pending = None

    def begin(self, strategy: Any) -> None:
        """After the stage was begun: to the epoch that a broken run was in."""
        self._last, self._since = time.monotonic(), 0
        is_wanted = bool(self.minutes or self.steps) and is_first()
        self._stores = is_wanted and strategy.reads_own_batches
        if not strategy.reads_own_batches:
            log.warning(
                "a plugin reads batches of its own, so stage %d is stored when it is whole only",
                strategy.stage_index,
            )
        if self.pending is not None:
            position = self.pending.state["position"]
            strategy.epoch = position["epoch"]
            if not position["batches"]:
                self._restore(strategy)

    def enter_epoch(self, strategy: Any) -> None:
        """At the first batch of an epoch: to the batch that a broken run was at."""
        if self.pending is not None:
            strategy.batches.skip = self.pending.state["position"]["batches"]
            self._restore(strategy)
        self._num_batches = len(strategy.batches)

    def after_step(self, strategy: Any) -> None:
        """After a whole step; not after an epoch's last, whose gradients its end may ask for."""
        self._since += 1
        if strategy.clock.train_epoch_iterations < self._num_batches:
            self._store_where_due(strategy, strategy.clock.train_epoch_iterations)

    def after_epoch(self, strategy: Any) -> None:
        """After the callbacks of an epoch's end."""
        strategy.batches.skip = 0
        self._store_where_due(strategy, 0)

    # ------------------------------------------------------------ storing

    def _store_where_due(self, strategy: Any, batches: int) -> None:
        if not self._stores:
            return
        by_steps = self.steps is not None and self._since >= self.steps
        spent = time.monotonic() - self._last
        if by_steps or (self.minutes is not None and spent >= 60 * self.minutes):
            self.store(strategy, batches)
            self._last, self._since = time.monotonic(), 0

    def store(self, strategy: Any, batches: int) -> None:
        """Write a checkpoint, then remove all but the last two.

        Args:
            strategy: between two steps.
            batches: of this epoch that were learned from.
        """
        step = strategy.clock.train_exp_iterations
        strategy.finite.check()  # the last good checkpoint is not to give way to a ruined one
        strategy.finite.check_weights(strategy.model, step)
        tensors, state = stage_state(strategy, batches)
        state["seconds"] = self.seconds + time.monotonic() - self._started
        state["identity"] = self.identity
        name = f"within_{strategy.stage_index:03d}_{step:08d}"
        write_checkpoint(self.folder / name, tensors, state)
        for path in within_folders(self.folder)[:-_KEPT]:
            remove_checkpoint(path)

    def _restore(self, strategy: Any) -> None:
        found, self.pending = self.pending, None
        assert found is not None and self._quiet is not None
        strategy.evaluator.loggers, self._quiet = self._quiet, None
        put_back(strategy, found)
        self.seconds = found.state["seconds"]
        self._started = time.monotonic()
        log.info(
            "going on inside stage %d, at epoch %d of %d, batch %d",
            *(found.stage, strategy.epoch, strategy.train_epochs, strategy.batches.skip),
        )


def spent_before(strategy: Any) -> float:
    """Seconds that earlier, broken runs have spent on the stage that was trained last."""
    return 0.0 if strategy.keeper is None else strategy.keeper.seconds
