"""One training step of several processes: shares go in, one loss over the whole batch comes out.

Every process takes its rows of the batch through trunk, tail and heads. What comes out is gathered
with gradient, and each computes all loss terms over the whole batch. So contrastive and
mean-entropy terms see every sample, no method knows of processes, and modules that a loss calls (a
hash head with batch norm, the head on replayed prototypes) see the same rows in every process. All
of it is the forward of the one module that `DistributedDataParallel` wraps, which finds in its
graph the parameters that get a gradient, whoever calls them, and averages it.

What a loss draws must come from a generator of the strategy, which is the same in every process;
the global generators are not, so that dropout in the tail differs from share to share.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cached_property
from typing import Any

from avalanche.training.plugins import EarlyStoppingPlugin, LRSchedulerPlugin
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from cgcd.engine.batch import Batch
from cgcd.engine.checkpoint import part_tensors
from cgcd.engine.processes import gathered, num_processes, row_counts, take_from_first
from cgcd.engine.stored_plugins import own_plugins
from cgcd.vocabulary import GCDOutput, InputError

_FIT = (LRSchedulerPlugin, EarlyStoppingPlugin)
"""They look at numbers only, which are the same in every process."""


class SharedBatch(Batch):
    """A batch of which each process has made its rows.

    Attributes:
        trunk: of the whole batch, (B, V, ...); gathered when it is asked for, which costs time.
            `Batch.frozen` needs no more than the own rows.
    """

    def __init__(self, trunk: Tensor, out: GCDOutput, labels: Tensor, ids: Tensor | None) -> None:
        """Takes the rows of this process; see `Batch`."""
        counts = row_counts(len(trunk))
        set_field = object.__setattr__  # the fields are frozen
        set_field(self, "own_trunk", trunk)
        set_field(self, "counts", counts)
        # one by one: a parameter behind an output that no term uses gets no gradient, not even 0
        set_field(self, "out", GCDOutput(*(gathered(part, counts) for part in out)))
        set_field(self, "labels", gathered(labels, counts))
        set_field(self, "sample_ids", None if ids is None else gathered(ids, counts))

    @cached_property
    def trunk(self) -> Tensor:  # type: ignore[override]
        return gathered(self.own_trunk, self.counts)

    def frozen(self, compute: Callable[[Tensor], Tensor]) -> Tensor:
        return gathered(compute(self.own_trunk), self.counts)


class SharedStep:
    """The loss of a stage's steps; wraps the model when the first of them comes.

    A new one is made at every stage, for the head has grown and its parameter is another.
    """

    def __init__(self) -> None:
        self._wrapped: DistributedDataParallel | None = None

    def loss(self, strategy: Any, trunk: Tensor) -> Tensor:
        """Weighed sum of the loss terms over the whole batch; leaves it as the strategy's batch.

        Args:
            strategy: in a training step.
            trunk: trunk output of this process's rows, (n, V, ...).
        """
        if self._wrapped is None:
            take_from_first(part_tensors(strategy))
            self._wrapped = DistributedDataParallel(
                _WholeLoss(strategy), init_sync=False, find_unused_parameters=True
            )
            self._wrapped.broadcast_buffers = False  # they are equal, and writing costs a cache
        return self._wrapped(trunk)


class _WholeLoss(nn.Module):
    def __init__(self, strategy: Any) -> None:
        super().__init__()
        self.model, self.strategy = strategy.model, strategy

    def forward(self, trunk: Tensor) -> Tensor:
        strategy = self.strategy
        out = strategy.outputs(trunk)
        batch = SharedBatch(trunk, out, strategy.mb_y, strategy._mb_ids)
        strategy.batch, strategy.mbatch[1] = batch, batch.labels
        return strategy.weighed_terms()


def check_shared_plugins(strategy: Any) -> None:
    """Refuse Avalanche plugins that would see, or keep, one process's share of a batch only.

    Raises:
        InputError: naming them.
    """
    others = [type(p).__name__ for p in own_plugins(strategy) if not isinstance(p, _FIT)]
    if others:
        raise InputError(
            f"{', '.join(others)} would see the share of one process and not the whole batch; with "
            f"{num_processes()} processes leave plugins other than LRSchedulerPlugin and "
            "EarlyStoppingPlugin out, or run in one process"
        )
