"""Steps of a strategy and of a bare loop take turns, on the same machine at once.

The bare loop is what one writes without a framework: batches, model, losses, backward, optimizer.
It works on copies of what the strategy has after its first epoch.
"""

from __future__ import annotations

import copy
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

import numpy as np
import torch
from avalanche.training.plugins import SupervisedPlugin
from torch import Tensor

from cgcd.engine import Batch
from cgcd.engine.optimization import parameter_groups

Batches = Callable[[], Iterable[tuple[Tensor, Tensor, Tensor]]]
"""One epoch of views (B, V, ...), visible labels (B,) and sample ids (B,)."""


class BareLoop:
    """A strategy's training step without the framework around it.

    Args:
        strategy: in the stage that is measured; model and optimizer are made anew beside it.
        batches: of every epoch.
    """

    def __init__(self, strategy: Any, batches: Batches) -> None:
        self.batches = batches
        self.twin = copy.copy(strategy)  # its losses, on a model and draws of their own
        self.twin.model = self.model = copy.deepcopy(strategy.model)
        if hasattr(strategy, "draws"):
            self.twin.draws = torch.Generator().manual_seed(0)
        self.recipe = strategy.recipe
        self.optimizer = self.recipe.optimizer(
            [
                {**group, "params": [parameter for _, parameter in group["params"]]}
                for group in parameter_groups(self.model)
                if group["params"]
            ]
        )

    def epoch(self) -> None:
        """One pass over the batches, as many as the strategy's."""
        for batch in self.batches():
            self.step(*batch)

    def step(self, views: Tensor, labels: Tensor, ids: Tensor) -> None:
        """In the order of the framework's: when memory is freed counts too."""
        self.optimizer.zero_grad()
        self.recipe.total(self.losses(views, labels, ids)).backward()
        self.optimizer.step()

    def losses(self, views: Tensor, labels: Tensor, ids: Tensor) -> Mapping[str, Tensor]:
        """The strategy's terms of one batch."""
        trunk = self.model.trunk_output(views)
        return self.twin.losses(Batch(trunk, self.model.from_trunk(trunk), labels, ids))


class Turns(SupervisedPlugin):
    """After each epoch of the strategy's stage, an epoch of a bare loop; or after each step a step.

    Args:
        bare: makes the bare loop of the strategy, after the first epoch.
        stage: which is measured.
        warm: first epochs that do not count.
        by_step: take turns between one step and the next, so that what slows the machine down
            slows both; only where batches are not made ahead in another thread, for that would
            count for the loop.

    Attributes:
        framework, loop: seconds a step, one an epoch; see `clock`.
        framework_elapsed, loop_elapsed: the same by the clock on the wall, for an idle machine.
        bare: the bare loop.
    """

    def __init__(
        self,
        bare: Callable[[Any], BareLoop],
        *,
        stage: int = 0,
        warm: int = 1,
        by_step: bool = False,
    ) -> None:
        super().__init__()
        self.build, self.stage, self.warm, self.by_step = bare, stage, warm, by_step
        self._seconds: list[tuple[np.ndarray, np.ndarray]] = []
        self.bare: BareLoop

    def before_training_epoch(self, strategy: Any, **kwargs: Any) -> None:
        self._steps = strategy.clock.train_iterations
        self._loop_seconds = np.zeros(2)
        if self.by_step:
            self._loader = strategy.dataloader
            if self._seconds:
                strategy.dataloader = self._with_turns(strategy)
        self._started = _clocks(strategy.device)

    def _with_turns(self, strategy: Any) -> Iterator[Any]:
        """The strategy's batches; before each is made, a step of the loop."""
        batches, own = iter(self.bare.batches()), iter(self._loader)
        while True:
            started = _clocks(strategy.device)
            given = next(batches, None)
            if given is None:
                return
            self.bare.step(*given)
            self._loop_seconds += _clocks(strategy.device) - started
            yield next(own)

    def after_training_epoch(self, strategy: Any, **kwargs: Any) -> None:
        if strategy.stage_index != self.stage:
            return
        ours = _clocks(strategy.device) - self._started - self._loop_seconds
        steps = strategy.clock.train_iterations - self._steps
        if self.by_step and self._seconds:
            strategy.dataloader = self._loader
        else:
            if not self._seconds:
                self.bare = self.build(strategy)
            started = _clocks(strategy.device)
            self.bare.epoch()
            self._loop_seconds = _clocks(strategy.device) - started
        self._seconds.append((ours / steps, self._loop_seconds / steps))

    @property
    def framework(self) -> list[float]:
        return self._column(0, 0)

    @property
    def loop(self) -> list[float]:
        return self._column(1, 0)

    @property
    def framework_elapsed(self) -> list[float]:
        return self._column(0, 1)

    @property
    def loop_elapsed(self) -> list[float]:
        return self._column(1, 1)

    def _column(self, side: int, which: int) -> list[float]:
        """Seconds of the strategy (0) or the loop (1) by one of `_clocks`."""
        return [float(epoch[side][which]) for epoch in self._seconds[self.warm :]]


def _clocks(device: torch.device) -> np.ndarray:
    """`clock` and the one on the wall, (2,)."""
    return np.array([clock(device), time.perf_counter()])


def clock(device: torch.device) -> float:
    """Seconds of the processor on a CPU, however busy it is; elsewhere of the clock, work ended."""
    if device.type == "cpu":
        return time.process_time()
    torch.accelerator.synchronize(device)
    return time.perf_counter()
