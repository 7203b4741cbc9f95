"""The batches of a stage by the quickest way that there is for it; all give the same bits."""

from __future__ import annotations

from collections.abc import Collection, Iterable
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
    vectors = training_tensors(dataset, batches)
    if vectors is not None:
        return vectors
    images = training_images(dataset, batches, device, workers.count)
    if images is not None:
        return images
    stored = StoredRows.of(dataset) if workers.count else None
    if stored is not None:
        return TrainingSamples(stored, batches, workers)
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
    vectors = pass_tensors(dataset, order)
    if vectors is not None:
        return vectors
    images = pass_images(dataset, order, device, workers.count)
    if images is not None:
        return images
    stored = StoredRows.of(dataset) if workers.count else None
    if stored is not None:
        return PassSamples(stored, order, workers)
    return DataLoader(
        dataset,
        batch_sampler=order,
        num_workers=workers.count,
        pin_memory=workers.pin_memory,
        generator=generator,
    )
