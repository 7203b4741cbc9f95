"""The batches of a stage by the quickest way that there is for it; all give the same bits."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass
from typing import Any

import torch
from torch.utils.data import DataLoader

from cgcd.engine.image_loading import pass_images, training_images
from cgcd.engine.kept_workers import KeptWorkers, PassSamples, TrainingSamples
from cgcd.engine.loading import DrawnViews, EpochBatches
from cgcd.engine.stored_rows import StoredRows
from cgcd.engine.tensor_loading import pass_tensors, training_tensors


def training_batches(
    dataset: Any,
    batches: EpochBatches,
    *,
    device: torch.device,
    workers: KeptWorkers,
    generator: torch.Generator,
) -> Iterable[Any]:
    """Views (B, V, ...), labels, sample ids and task labels of a data set in its training group.

    Args:
        dataset: of a stage.
        batches: which rows come when; its `epoch` is read whenever the batches begin.
        device: that the batches are for; they may lie elsewhere.
        workers: processes that read samples where batches are not made whole.
        generator: of what the processes of a data set that a plugin changed draw.
    """
    quick = _TRAINING.quickest(dataset, batches, device, workers)
    if quick is not None:
        return quick
    return DataLoader(
        DrawnViews(dataset, batches.draw),
        batch_sampler=batches,
        num_workers=workers.count,
        persistent_workers=workers.count > 0,
        pin_memory=workers.pin_memory,
        generator=generator,
    )


def pass_batches(
    dataset: Any,
    order: Collection[list[int]],
    *,
    device: torch.device,
    workers: KeptWorkers,
    generator: torch.Generator,
) -> Iterable[Any]:
    """One view (B, ...), labels and task labels of a data set in its evaluation group.

    Args:
        dataset: of a stage.
        order: places of the samples, batch by batch.
        device, workers, generator: see `training_batches`.
    """
    quick = _PASS.quickest(dataset, order, device, workers)
    if quick is not None:
        return quick
    return DataLoader(
        dataset,
        batch_sampler=order,
        num_workers=workers.count,
        pin_memory=workers.pin_memory,
        generator=generator,
    )


@dataclass(frozen=True)
class _Ways:
    """What makes the batches of a data set as `stage_dataset` made it, the quickest first.

    Attributes:
        vectors, images: make whole batches, None where samples are something else.
        samples: lets processes read sample by sample.
    """

    vectors: Callable[[Any, Any], Iterable[Any] | None]
    images: Callable[[Any, Any, torch.device, int], Iterable[Any] | None]
    samples: Callable[[StoredRows, Any, KeptWorkers], Iterable[Any]]

    def quickest(
        self, dataset: Any, batches: Any, device: torch.device, workers: KeptWorkers
    ) -> Iterable[Any] | None:
        """The batches; None where the data set is another, or is read here sample by sample."""
        whole = self.vectors(dataset, batches)
        if whole is None:
            whole = self.images(dataset, batches, device, workers.count)
        if whole is not None or not workers.count:
            return whole
        stored = StoredRows.of(dataset)
        return None if stored is None else self.samples(stored, batches, workers)


_TRAINING = _Ways(training_tensors, training_images, TrainingSamples)
_PASS = _Ways(pass_tensors, pass_images, PassSamples)
