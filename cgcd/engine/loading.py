"""The order of the samples and the epoch of their augmentations, both functions of the seed."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import numpy as np
from torch.utils.data import Dataset, Sampler

from cgcd.engine.seeding import Draw, drawing, numpy_generator

Order = Callable[[np.ndarray, np.random.Generator], np.ndarray]
"""From visible labels (N,) and a generator, the rows of one epoch in order."""


def shuffled(labels: np.ndarray, generator: np.random.Generator) -> np.ndarray:
    """Every row once, in random order."""
    return generator.permutation(len(labels))


class EpochBatches(Sampler[list[tuple[int, int]]]):
    """Batches of (row, epoch).

    Args:
        labels: visible labels, (N,).
        batch_size: samples a batch, 1 <= batch_size <= rows of an epoch.
        draw: seed, stage and phase of the run; the epoch is set by `epoch`.
        order: which rows an epoch holds, and in which order.
        drop_last: leave an incomplete last batch out; one of a single row is always left out.
    """

    def __init__(
        self,
        labels: np.ndarray,
        batch_size: int,
        draw: Draw,
        order: Order = shuffled,
        drop_last: bool = True,
    ) -> None:
        self.labels, self.batch_size, self.draw, self.order = labels, batch_size, draw, order
        self.smallest = batch_size if drop_last else min(2, batch_size)
        self.epoch = 0

    def __iter__(self) -> Iterator[list[tuple[int, int]]]:
        rows = self._rows()
        for start in range(0, len(rows) - self.smallest + 1, self.batch_size):
            yield [(int(row), self.epoch) for row in rows[start : start + self.batch_size]]

    def __len__(self) -> int:
        return len(range(0, len(self._rows()) - self.smallest + 1, self.batch_size))

    def _rows(self) -> np.ndarray:
        generator = numpy_generator(
            self.draw.seed, self.draw.stage, self.draw.phase, self.epoch, "order"
        )
        return self.order(self.labels, generator)


class DrawnViews(Dataset):
    """A stage's data set read with (row, epoch) keys: image, label, sample id, task label.

    The task label is there and last whatever the data set, for stock code reads the last part of a
    batch as one.
    """

    def __init__(self, dataset: Any, draw: Draw) -> None:
        self.dataset, self.draw = dataset, draw
        ids = getattr(dataset, "sample_id", None)
        self.ids = np.arange(len(dataset)) if ids is None else np.asarray(list(ids))

    def __len__(self) -> int:
        return len(self.dataset)

    def __getitem__(self, key: tuple[int, int]) -> tuple[Any, ...]:
        row, epoch = key
        with drawing(replace(self.draw, epoch=epoch)):
            image, label, *rest = self.dataset[row]
        return image, label, int(self.ids[row]), *(rest or (0,))
