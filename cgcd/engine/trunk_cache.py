"""Outputs of the frozen trunk that are kept from pass to pass, for they would be the same again.

After the warm-up the trunk gives the same for an image whenever it is asked: the test set of a
stage is evaluated again after every later stage, and a stage's own samples are looked at for
k-means, for floors and for prototypes. What is kept are whole batches, so bits do not change with
the cache; what does not fit is computed anew. Nothing of it is stored with a run.
"""

from __future__ import annotations

import weakref
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from cgcd.engine.stored_rows import StoredRows
from cgcd.models import Backbone

GIBIBYTE = 2**30


class TrunkCache:
    """Batches of trunk outputs in main memory, the first ones that fit.

    A data set is known by its samples and its view, and what is kept goes with it. When a weight of
    the trunk has been written to since, or the trunk is another one or computes otherwise,
    everything is dropped. A trunk without weights is left alone, and so is one that learns, and a
    data set that a plugin changed. That of a stock benchmark is made anew for every pass.

    Args:
        limit: bytes that may be kept, >= 0.
    """

    def __init__(self, limit: int = GIBIBYTE) -> None:
        self.limit = limit
        self._kept: list[KeptOutputs] = []
        self._state: _TrunkState | None = None

    @property
    def num_bytes(self) -> int:
        """Bytes that are kept."""
        return sum(kept.num_bytes for kept in self._kept)

    def of(self, backbone: Backbone, dataset: Any) -> KeptOutputs | None:
        """What is kept of a data set in its evaluation group; None where nothing may be."""
        if not _is_frozen(backbone):
            return None
        state = _TrunkState.of(backbone)
        if self._state is None or not state.is_same(self._state):
            self._kept, self._state = [], state
        self._kept = [kept for kept in self._kept if not kept.is_over]
        stored = StoredRows.of(dataset)
        if stored is None:
            return None
        found = next((kept for kept in self._kept if kept.is_of(stored)), None)
        if found is None:
            found = KeptOutputs(self, stored)
            self._kept.append(found)
        return found

    def forget(self, dataset: Any) -> None:
        """Drop what is kept of a data set in its evaluation group."""
        stored = StoredRows.of(dataset)
        if stored is not None:
            self._kept = [kept for kept in self._kept if not kept.is_of(stored)]


class KeptOutputs:
    """What is kept of one data set, batch by batch.

    Args:
        cache: that it belongs to.
        stored: the data set.

    Attributes:
        num_bytes: that it takes.
    """

    def __init__(self, cache: TrunkCache, stored: StoredRows) -> None:
        self.cache = cache
        self.num_bytes = 0
        self._rows = weakref.ref(stored.rows)
        self._source, self._view, self._labels = stored.source, stored.view, stored.labels
        self._outputs: dict[tuple[int, ...], Tensor] = {}

    @property
    def is_over(self) -> bool:
        """The data set is gone."""
        return self._rows() is None

    def is_of(self, stored: StoredRows) -> bool:
        """These are the same samples under the same view."""
        same_rows = self._rows() is stored.rows
        return same_rows and self._source is stored.source and self._view is stored.view

    def holds(self, places: Sequence[int]) -> bool:
        """The output of the batch of these places is kept."""
        return tuple(places) in self._outputs

    def output(self, places: Sequence[int], device: torch.device) -> Tensor:
        """A copy of the kept output of the batch of these places, (B, ...)."""
        return self._outputs[tuple(places)].to(device, copy=True)

    def labels(self, places: Sequence[int]) -> Tensor:
        """Visible labels at these places, (B,)."""
        return self._labels[torch.as_tensor(places)]

    def keep(self, places: Sequence[int], output: Tensor) -> None:
        """Keep a copy of the output (B, ...) of a batch, if it fits."""
        size = output.numel() * output.element_size()
        if self.cache.num_bytes + size <= self.cache.limit and len(output) == len(places):
            self._outputs[tuple(places)] = output.detach().to("cpu", copy=True)
            self.num_bytes += size


@dataclass(frozen=True, eq=False)
class _TrunkState:
    """What a trunk computes with, held so that no other tensor can take its place in memory."""

    trunk: nn.Module
    computes: tuple[str, bool]
    tensors: tuple[Tensor, ...]
    versions: tuple[tuple[int, int], ...]

    @classmethod
    def of(cls, backbone: Backbone) -> _TrunkState:
        tensors = (*backbone.trunk.parameters(), *backbone.trunk.buffers())
        versions = tuple((tensor.data_ptr(), tensor._version) for tensor in tensors)
        return cls(backbone.trunk, (backbone.precision, backbone.compiled), tensors, versions)

    def is_same(self, other: _TrunkState) -> bool:
        return (
            self.trunk is other.trunk
            and self.computes == other.computes
            and self.versions == other.versions
            and all(a is b for a, b in zip(self.tensors, other.tensors, strict=True))
        )


def _is_frozen(backbone: Backbone) -> bool:
    weights = list(backbone.trunk.parameters())
    return bool(weights) and not backbone.warming and not any(w.requires_grad for w in weights)
