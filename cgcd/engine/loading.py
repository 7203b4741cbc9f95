"""The order of the samples and the epoch of their augmentations, both functions of the seed."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import numpy as np
from torch.utils.data import Dataset, Sampler

from cgcd.engine.processes import share
from cgcd.engine.seeding import Draw, drawing, numpy_generator
from cgcd.vocabulary import UNLABELED

Order = Callable[[np.ndarray, np.random.Generator], np.ndarray]
"""From visible labels (N,) and a generator, the rows of one epoch in order."""


def shuffled(labels: np.ndarray, generator: np.random.Generator) -> np.ndarray:
    """Every row once, in random order."""
    return generator.permutation(len(labels))


def half_labeled(labels: np.ndarray, generator: np.random.Generator) -> np.ndarray:
    """As many draws with replacement as there are rows (N,), half of them labeled in expectation.

    Each of the N_l labeled rows has weight 1 and each of the N_u unlabeled ones N_l / N_u, which is
    a fair coin between the two groups and then any row of the group alike. Where one group is empty
    every row comes once, in random order.

    Args:
        labels: visible labels, `UNLABELED` where hidden, (N,).
        generator: of the epoch.

    Source: the sampler of Vaze et al., GCD, CVPR 2022, that SimGCD (Wen et al., ICCV 2023) and
    ProtoGCD (Ma et al., TPAMI 2025) train with.
    """
    shown = np.asarray(labels) != UNLABELED
    labeled, unlabeled = np.flatnonzero(shown), np.flatnonzero(~shown)
    if not len(labeled) or not len(unlabeled):
        return shuffled(labels, generator)
    size = len(shown)
    return np.where(
        generator.random(size) < 0.5,
        labeled[generator.integers(len(labeled), size=size)],
        unlabeled[generator.integers(len(unlabeled), size=size)],
    )


class EpochBatches(Sampler[list[tuple[int, ...]]]):
    """Batches of (row, epoch), or of (row, epoch, n) where a row comes again for the n-th time.

    Args:
        labels: visible labels, (N,).
        batch_size: samples a batch, 1 <= batch_size <= rows of an epoch.
        draw: seed, stage and phase of the run; the epoch is set by `epoch`.
        order: which rows an epoch holds, and in which order.
        drop_last: leave an incomplete last batch out; one of a single row is always left out.
        shared: of every batch, give this process's share only; see `cgcd.engine.processes`.

    Attributes:
        epoch: whose batches come.
        epochs: this many may come, so that something of the next one can be made ahead.
        skip: so many batches are left out at the beginning; the others stay what they are.
    """

    def __init__(
        self,
        labels: np.ndarray,
        batch_size: int,
        draw: Draw,
        order: Order = shuffled,
        drop_last: bool = True,
        shared: bool = False,
    ) -> None:
        self.labels, self.batch_size, self.draw, self.order = labels, batch_size, draw, order
        self.shared = shared
        self.smallest = batch_size if drop_last else min(2, batch_size)
        self.epoch = 0
        self.epochs = 1
        self.skip = 0

    def __iter__(self) -> Iterator[list[tuple[int, ...]]]:
        for rows, repeats in self.arrays():
            yield [
                (row, self.epoch, again) if again else (row, self.epoch)
                for row, again in zip(rows.tolist(), repeats.tolist(), strict=True)
            ]

    def arrays(self) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """The same batches as rows (B,) and how often each came before in this epoch, (B,)."""
        return self._arrays(self.epoch, self.skip)

    def arrays_from_here(self) -> Iterator[tuple[int, np.ndarray, np.ndarray]]:
        """`arrays` of this epoch and of all that may follow, each behind its epoch."""
        first, skip = self.epoch, self.skip  # which the steps change
        for epoch in range(first, max(self.epochs, first + 1)):
            for rows, repeats in self._arrays(epoch, skip if epoch == first else 0):
                yield epoch, rows, repeats

    def _arrays(self, epoch: int, skip: int) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        rows = self._rows(epoch)
        repeats = _repeats(rows)
        starts = range(0, len(rows) - self.smallest + 1, self.batch_size)
        for start in starts[skip:]:
            part = slice(start, start + self.batch_size)
            own = share(len(rows[part])) if self.shared else slice(None)
            yield rows[part][own], repeats[part][own]

    def __len__(self) -> int:
        return len(range(0, len(self._rows(self.epoch)) - self.smallest + 1, self.batch_size))

    def _rows(self, epoch: int) -> np.ndarray:
        generator = numpy_generator(
            self.draw.seed, self.draw.stage, self.draw.phase, epoch, "order"
        )
        return self.order(self.labels, generator)


class DrawnViews(Dataset):
    """A stage's data set read with the keys of `EpochBatches`: image, label, sample id, task label.

    The task label is there and last whatever the data set, for stock code reads the last part of a
    batch as one.
    """

    def __init__(self, dataset: Any, draw: Draw) -> None:
        self.dataset, self.draw = dataset, draw
        ids = getattr(dataset, "sample_id", None)
        self.ids = np.arange(len(dataset)) if ids is None else np.asarray(list(ids))

    def __len__(self) -> int:
        return len(self.dataset)

    def __getitem__(self, key: tuple[int, ...]) -> tuple[Any, ...]:
        row, epoch, *again = key
        with drawing(replace(self.draw, epoch=epoch, repeat=again[0] if again else 0)):
            image, label, *rest = self.dataset[row]
        return image, label, int(self.ids[row]), *(rest or (0,))


def _repeats(rows: np.ndarray) -> np.ndarray:
    """How often each entry, from 0 on, occurs before its place, (N,)."""
    if np.bincount(rows).max(initial=0) <= 1:  # in most epochs each comes once
        return np.zeros(len(rows), dtype=np.int64)
    order = np.argsort(rows, kind="stable")
    ranked = rows[order]
    first = np.searchsorted(ranked, ranked)
    repeats = np.empty(len(rows), dtype=np.int64)
    repeats[order] = np.arange(len(rows)) - first
    return repeats
