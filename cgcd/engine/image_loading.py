"""Batches of images whose resized pixels are quickly at hand: made whole, one ahead of the step.

What comes out is bit for bit what `DrawnViews` and a `DataLoader` give: the same order, draws,
labels, ids and task labels. A thread makes the next batch while the last one is used, over the
border of two epochs too; workers would have nothing to win. A data set that a plugin changed,
images that must be opened, and views that know no batches are left to that slower way.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from dataclasses import replace
from itertools import islice
from typing import Any, Protocol, runtime_checkable

import numpy as np
import torch
from torch import Tensor

from cgcd.engine.ahead import ahead
from cgcd.engine.loading import EpochBatches
from cgcd.engine.seeding import Draw
from cgcd.engine.stored_rows import StoredRows
from cgcd.models import InputSpec

_AHEAD = 2  # the batch that is used next and the one after it


@runtime_checkable
class PixelSource(Protocol):
    """Images of which the part of a view that no draw changes is at hand."""

    def holds(self, spec: InputSpec) -> bool:
        """It is there, or will stay, of all images; otherwise some are resized at every access."""
        ...

    def resized(self, index: int, spec: InputSpec) -> Tensor:
        """Image `index` resized for its view, uint8 (C, H, W); nobody may change it."""
        ...


@runtime_checkable
class ImageBatches(Protocol):
    """A view of images that can be made for many at once, bit for bit as one by one."""

    spec: InputSpec

    def centered(self, images: Sequence[Tensor], device: torch.device) -> Tensor:
        """The views of resized images, (B, C, H, W), on the device."""
        ...


@runtime_checkable
class RandomImageBatches(Protocol):
    """V random views of many images at once, bit for bit as one by one."""

    spec: InputSpec

    def drawn(
        self,
        images: Sequence[Tensor],
        sample_ids: Sequence[int],
        draw: Draw,
        repeats: Sequence[int],
        device: torch.device,
    ) -> Tensor:
        """The views of resized images, (B, V, C, H, W), on the device."""
        ...


class TrainingImages:
    """Training batches of a stage of images: views (B, V, C, H, W), labels, ids, task labels.

    Args:
        stored: the stage under its training view.
        batches: which rows come when; its `epoch` and `draw` are read at every epoch.
        device: where the views are wanted.
    """

    def __init__(self, stored: StoredRows, batches: EpochBatches, device: torch.device) -> None:
        self.stored, self.batches, self.device = stored, batches, device
        self.ids = torch.from_numpy(stored.rows.astype(np.int64))
        self._begun: tuple[int, Iterator[list[Tensor]]] | None = None

    def __len__(self) -> int:
        return len(self.batches)

    def __iter__(self) -> Iterator[list[Tensor]]:
        epoch, begun, self._begun = self.batches.epoch, self._begun, None
        if begun is not None and begun[0] == epoch and not self.batches.skip:
            made = begun[1]
        else:
            made = ahead(self._made, self.batches.arrays_from_here(), 1, _AHEAD)
        yield from islice(made, len(self.batches) - self.batches.skip)
        if epoch + 1 < self.batches.epochs:
            self._begun = epoch + 1, made

    def _made(self, batch: tuple[int, np.ndarray, np.ndarray]) -> list[Tensor]:
        epoch, rows, repeats = batch
        places = torch.from_numpy(rows)
        ids, images = self.ids[places], _resized(self.stored, rows)
        draw = replace(self.batches.draw, epoch=epoch)
        view: Any = self.stored.view
        views = view.drawn(images, ids.tolist(), draw, repeats.tolist(), self.device)
        return [views, self.stored.labels[places], ids, self.stored.tasks[places]]


class PassImages:
    """One pass over a stage of images: views (B, C, H, W), labels, task labels.

    Args:
        stored: the stage under its evaluation view.
        batches: places in the stage, batch by batch.
        device: where the views are wanted.
    """

    def __init__(
        self, stored: StoredRows, batches: Collection[list[int]], device: torch.device
    ) -> None:
        self.stored, self.batches, self.device = stored, batches, device

    def __len__(self) -> int:
        return len(self.batches)

    def __iter__(self) -> Iterator[list[Tensor]]:
        stored, view = self.stored, self.stored.view

        def made(batch: list[int]) -> list[Tensor]:
            places = torch.tensor(batch)
            images = view.centered(_resized(stored, np.asarray(batch)), self.device)
            return [images, stored.labels[places], stored.tasks[places]]

        return ahead(made, self.batches, 1, _AHEAD)


def training_images(
    dataset: Any, batches: EpochBatches, device: torch.device, workers: int
) -> TrainingImages | None:
    """The fast loader of a data set in its training group; None where workers or samples are.

    Args:
        dataset: of a stage.
        batches: see `TrainingImages`.
        device: where the views are wanted.
        workers: processes that would open and resize what is not at hand.
    """
    stored = _pixels(dataset, workers)
    if stored is None or not isinstance(stored.view, RandomImageBatches):
        return None
    return TrainingImages(stored, batches, device)


def pass_images(
    dataset: Any, batches: Collection[list[int]], device: torch.device, workers: int
) -> PassImages | None:
    """The fast loader of a data set in its evaluation group, as `training_images`."""
    stored = _pixels(dataset, workers)
    if stored is None or not isinstance(stored.view, ImageBatches):
        return None
    return PassImages(stored, batches, device)


def _pixels(dataset: Any, workers: int) -> StoredRows | None:
    """A data set whose images are at hand, or are resized here because there are no workers."""
    stored = StoredRows.of(dataset)
    if stored is None or not isinstance(stored.source, PixelSource):
        return None
    spec = getattr(stored.view, "spec", None)
    return stored if spec is not None and (not workers or stored.source.holds(spec)) else None


def _resized(stored: StoredRows, places: np.ndarray) -> list[Tensor]:
    rows = stored.rows[places]
    return [stored.source.resized(row, stored.view.spec) for row in rows.tolist()]
