"""Processes that read samples one by one, started once for all epochs, passes and stages."""

from __future__ import annotations

from collections import deque
from collections.abc import Collection, Iterable, Iterator
from contextlib import nullcontext
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from cgcd.engine.loading import EpochBatches
from cgcd.engine.seeding import Draw, drawing
from cgcd.engine.stored_rows import StoredRows
from cgcd.stages import Sample

Keys = list[tuple[int, "Draw | None"]]
"""Samples of a batch and, for a training view, the draw of each."""


class KeptWorkers:
    """Processes that give views of samples, batch by batch, in order.

    They are told at their start which images and views there are; images or a view that were not
    among them start them anew, which a run does a few times at its beginning.

    Args:
        count: of the processes; 0 for none, which is for others to mind.
        pin_memory: batches come in pinned memory.
    """

    def __init__(self, count: int, pin_memory: bool) -> None:
        self.count, self.pin_memory = count, pin_memory
        self._pairs: list[tuple[Any, Any]] = []
        self._keys = _GivenKeys()
        self._loader: DataLoader[Tensor] | None = None
        self._busy = False

    def views(self, stored: StoredRows, batches: Iterable[Keys]) -> Iterator[Tensor]:
        """The view of every sample, (B, ...) each; one who asks in between gets others' processes.

        Args:
            stored: whose images and view are wanted.
            batches: sample ids, and draws, of the batches.
        """
        place = self._place(stored)
        wanted = ([(place, *key) for key in batch] for batch in batches)
        if self._busy:
            yield from self._loader_of(_GivenKeys(wanted), persistent=False)
            return
        if self._loader is None:
            self._loader = self._loader_of(self._keys, persistent=True)
        self._keys.batches, self._busy = wanted, True
        try:
            yield from self._loader
        finally:
            self._busy = False

    def _place(self, stored: StoredRows) -> int:
        for place, (source, view) in enumerate(self._pairs):
            if source is stored.source and view is stored.view:
                return place
        self._pairs.append((stored.source, stored.view))
        self._loader = None  # whoever reads from it still holds it
        return len(self._pairs) - 1

    def _loader_of(self, keys: _GivenKeys, persistent: bool) -> DataLoader[Tensor]:
        return DataLoader(
            _Views(tuple(self._pairs)),
            batch_sampler=keys,
            num_workers=self.count,
            persistent_workers=persistent,
            pin_memory=self.pin_memory,
            generator=torch.Generator(),  # of nothing that anybody sees
        )


class TrainingSamples:
    """Training batches by processes: views (B, V, ...), labels, sample ids, task labels.

    Args:
        stored: the stage under its training view.
        batches: which rows come when; its `epoch` and `draw` are read at every epoch.
        workers: that read the samples.
    """

    def __init__(self, stored: StoredRows, batches: EpochBatches, workers: KeptWorkers) -> None:
        self.stored, self.batches, self.workers = stored, batches, workers
        self.ids = torch.from_numpy(stored.rows.astype(np.int64))

    def __len__(self) -> int:
        return len(self.batches)

    def __iter__(self) -> Iterator[list[Tensor]]:
        stored = self.stored
        draw = replace(self.batches.draw, epoch=self.batches.epoch)
        under_way: deque[Tensor] = deque()

        def keys() -> Iterator[Keys]:
            for rows, repeats in self.batches.arrays():
                places = torch.from_numpy(rows)
                under_way.append(places)
                ids = self.ids[places].tolist()
                draws = [replace(draw, repeat=again) for again in repeats.tolist()]
                yield list(zip(ids, draws, strict=True))

        for views in self.workers.views(stored, keys()):
            places = under_way.popleft()
            yield [views, stored.labels[places], self.ids[places], stored.tasks[places]]


class PassSamples:
    """One pass by processes: views (B, ...), labels, task labels.

    Args:
        stored: the stage under its evaluation view.
        batches: places in the stage, batch by batch.
        workers: that read the samples.
    """

    def __init__(
        self, stored: StoredRows, batches: Collection[list[int]], workers: KeptWorkers
    ) -> None:
        self.stored, self.batches, self.workers = stored, batches, workers

    def __len__(self) -> int:
        return len(self.batches)

    def __iter__(self) -> Iterator[list[Tensor]]:
        stored = self.stored
        under_way: deque[Tensor] = deque()

        def keys() -> Iterator[Keys]:
            for batch in self.batches:
                under_way.append(torch.tensor(batch))
                yield [(row, None) for row in stored.rows[batch].tolist()]

        for views in self.workers.views(stored, keys()):
            places = under_way.popleft()
            yield [views, stored.labels[places], stored.tasks[places]]


@dataclass
class _GivenKeys:
    """Batches of keys as somebody gives them, for a loader that outlives them."""

    batches: Iterable[list[tuple[Any, ...]]] = ()

    def __iter__(self) -> Iterator[list[tuple[Any, ...]]]:
        return iter(self.batches)


class _Views(Dataset[Tensor]):
    """Views of the samples of several sources; its keys are pair, sample id, and draw or None."""

    def __init__(self, pairs: tuple[tuple[Any, Any], ...]) -> None:
        self.pairs = pairs

    def __getitem__(self, key: tuple[int, int, Draw | None]) -> Tensor:
        place, row, draw = key
        source, view = self.pairs[place]
        with nullcontext() if draw is None else drawing(draw):
            return view(Sample(source[row], row))
