"""Batches of vectors in memory: one gather a batch in place of an access and a stack a sample.

What comes out is bit for bit what `DrawnViews` and a `DataLoader` give: the same order, draws,
labels, ids and task labels. A data set that a plugin changed and views that know no batches are
left to that slower way; `image_loading` is the like for images.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from dataclasses import replace
from typing import Any, Protocol, runtime_checkable

import numpy as np
import torch
from torch import Tensor

from cgcd.engine.loading import EpochBatches
from cgcd.engine.seeding import Draw
from cgcd.engine.stored_rows import StoredRows

_MOST_PREPARED = 2**31  # bytes of a stage's vectors that are prepared once and not batch by batch
_ROWS_AT_ONCE = 4096


@runtime_checkable
class VectorBatches(Protocol):
    """A view of vectors that can be made for many at once, bit for bit as one by one."""

    def prepared(self, vectors: np.ndarray) -> np.ndarray:
        """What no draw changes of vectors (B, D), row by row; float32, (B, D)."""
        ...


@runtime_checkable
class RandomVectorBatches(VectorBatches, Protocol):
    """V random views of many vectors at once."""

    def drawn(
        self,
        copies: np.ndarray,
        sample_ids: Sequence[int] | np.ndarray,
        draw: Draw,
        repeats: Sequence[int] | np.ndarray | None = None,
    ) -> np.ndarray:
        """The random views of prepared vectors that are there V times, (B, V, D); in place."""
        ...


class VectorRows(StoredRows):
    """A stage of vectors as `stage_dataset` made it; its source is (M, D), maybe memory-mapped."""

    @classmethod
    def of(cls, dataset: Any) -> VectorRows | None:
        """What such a data set holds; None for any other."""
        stored = StoredRows.of(dataset)
        ours = (
            stored is not None
            and isinstance(stored.source, np.ndarray)
            and stored.source.ndim == 2
            and isinstance(stored.view, VectorBatches)
        )
        return cls(**vars(stored)) if ours else None

    def prepared(self, part: slice | np.ndarray = slice(None)) -> Tensor:
        """Some of the stage's vectors as the view prepares them, float32, (n, D)."""
        rows = self.rows[part]
        made = np.empty((len(rows), self.source.shape[1]), dtype=np.float32)
        for start in range(0, len(rows), _ROWS_AT_ONCE):
            block = slice(start, start + _ROWS_AT_ONCE)
            made[block] = self.view.prepared(self.source[rows[block]])
        return torch.from_numpy(made)


class TrainingTensors:
    """Training batches of a stage of vectors: views (B, V, D), labels, sample ids, task labels.

    Args:
        source: the stage under its training view.
        batches: which rows come when; its `epoch` and `draw` are read at every epoch.
    """

    def __init__(self, source: VectorRows, batches: EpochBatches) -> None:
        self.source, self.batches = source, batches
        self.ids = torch.from_numpy(source.rows.astype(np.int64))
        size = 4 * len(source.rows) * source.source.shape[1]
        self._prepared = source.prepared() if size <= _MOST_PREPARED else None

    def __len__(self) -> int:
        return len(self.batches)

    def __iter__(self) -> Iterator[list[Tensor]]:
        source, num_views = self.source, self.batches.draw.num_views
        draw = replace(self.batches.draw, epoch=self.batches.epoch)
        batches = list(self.batches.arrays())
        if not batches:
            return
        sizes = [len(rows) for rows, _ in batches]
        order = torch.from_numpy(np.concatenate([rows for rows, _ in batches]))
        copies = order.repeat_interleave(num_views).split([num_views * size for size in sizes])
        known = (part[order].split(sizes) for part in (source.labels, self.ids, source.tasks))
        for (rows, repeats), places, labels, ids, tasks in zip(
            batches, copies, *known, strict=True
        ):
            views = self._gathered(rows, places, num_views).view(len(rows), num_views, -1)
            source.view.drawn(views.numpy(), ids.numpy(), draw, repeats)  # type: ignore[attr-defined]
            yield [views, labels, ids, tasks]

    def _gathered(self, rows: np.ndarray, places: Tensor, num_views: int) -> Tensor:
        """Prepared vectors of rows (B,) in memory of their own, each V times as `places` says."""
        if self._prepared is None:
            return self.source.prepared(rows).repeat_interleave(num_views, 0)
        return self._prepared.index_select(0, places)


class PassTensors:
    """One pass over a stage of vectors: views (B, D), labels, task labels.

    Args:
        source: the stage under its evaluation view.
        batches: places in the stage, batch by batch.
    """

    def __init__(self, source: VectorRows, batches: Collection[list[int]]) -> None:
        self.source, self.batches = source, batches

    def __len__(self) -> int:
        return len(self.batches)

    def __iter__(self) -> Iterator[list[Tensor]]:
        source = self.source
        for batch in self.batches:
            places = np.asarray(batch)
            which = torch.from_numpy(places)
            yield [source.prepared(places), source.labels[which], source.tasks[which]]


def training_tensors(dataset: Any, batches: EpochBatches) -> TrainingTensors | None:
    """The fast loader of a data set in its training group; None where it must be read by sample."""
    source = VectorRows.of(dataset)
    if source is None or not isinstance(source.view, RandomVectorBatches):
        return None
    return TrainingTensors(source, batches)


def pass_tensors(dataset: Any, batches: Collection[list[int]]) -> PassTensors | None:
    """The fast loader of a data set in its evaluation group; None where there is none for it."""
    source = VectorRows.of(dataset)
    if source is None or isinstance(source.view, RandomVectorBatches):
        return None
    return PassTensors(source, batches)
