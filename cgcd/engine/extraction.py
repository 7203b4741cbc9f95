"""Embeddings of many images: read ahead in threads, once through the backbone, none twice."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor

from cgcd.engine.ahead import ahead
from cgcd.engine.feature_store import DIGEST_BYTES, FeatureStore, digest
from cgcd.models import Backbone
from cgcd.stages import Sample
from cgcd.vocabulary import InputError

_SHARD_ROWS, _SHARD_SECONDS = 512, 30.0  # what an interrupt may cost at most
_BATCHES_AHEAD = 3


@dataclass
class Profile:
    """Where the time of an extraction went, in seconds of the clock.

    Attributes:
        backbone: in the backbone, with the way of a batch to its device and back.
        waiting: for images that were not read yet.
        writing: of shards.
        total: all of it.
    """

    backbone: float = 0.0
    waiting: float = 0.0
    writing: float = 0.0
    total: float = 0.0


@dataclass(frozen=True, eq=False)
class Extraction:
    """Embeddings of those of N images that can be read.

    Attributes:
        rows: indices of these images, increasing, (n,).
        features: their embeddings, (n, D).
        digests: of their contents, uint8, (n, 16).
        skipped: index of each image that cannot be read, and why.
        num_computed: how many went through the backbone; the others were known, or are copies.
        profile: where the time went.
    """

    rows: np.ndarray
    features: np.ndarray
    digests: np.ndarray
    skipped: list[tuple[int, str]]
    num_computed: int
    profile: Profile


def extract(
    images: Sequence[Any],
    content: Callable[[int], bytes],
    transform: Callable[[Sample], Tensor],
    backbone: Backbone,
    store: FeatureStore,
    *,
    device: torch.device,
    batch_size: int = 32,
    threads: int = 2,
    max_skipped: float = 0.05,
    on_progress: Callable[[int], None] | None = None,
) -> Extraction:
    """Embeddings of images in their order, from the store where it has them.

    Each image is read once; equal ones go through the backbone once. Batches are made of the images
    that are new, in order, and a shard ends with a batch: what goes on after an interrupt gives the
    same bits as what was never interrupted.

    Args:
        images: N images, opened on access in threads; one that raises counts as unreadable.
        content: bytes of image i, from which it is known again.
        transform: from a sample to the backbone's input, (C, H, W).
        backbone: moved to the device, in channels-last order there.
        store: what is known; new embeddings are added to it.
        device: of the backbone.
        batch_size: images a pass, >= 1.
        threads: that read ahead, >= 1.
        max_skipped: share in [0, 1] of the images that may be unreadable.
        on_progress: told how many images are done.

    Raises:
        InputError: if too many images are unreadable, or an embedding is not finite.
    """
    started, profile, count = time.perf_counter(), Profile(), len(images)
    features = np.empty((count, backbone.dim), store.dtype)
    digests = np.zeros((count, DIGEST_BYTES), np.uint8)
    first: dict[bytes, int] = {}
    copies: list[tuple[int, int]] = []
    skipped: list[tuple[int, str]] = []

    def load(index: int) -> _Loaded:
        try:
            key = digest(content(index))
            known = store.find(key)
            seen = known if known is not None else transform(Sample(images[index], index))
        except Exception as error:  # a damaged file can raise nearly anything; all mean the same
            return b"", f"{type(error).__name__}: {' '.join(str(error).split())}"
        return key, seen

    new = _NewImages(backbone.to(device).eval(), store, features, digests, batch_size, profile)
    try:
        arriving = ahead(load, range(count), threads, _BATCHES_AHEAD * batch_size)
        asked = time.perf_counter()
        for index, (key, seen) in enumerate(arriving):
            profile.waiting += time.perf_counter() - asked
            if isinstance(seen, str):
                skipped.append((index, seen))
                if len(skipped) > max_skipped * count:
                    raise InputError(_too_many(len(skipped), index + 1, count, seen, max_skipped))
            else:
                digests[index] = np.frombuffer(key, np.uint8)
                if first.setdefault(key, index) != index:
                    copies.append((index, first[key]))
                elif isinstance(seen, np.ndarray):
                    features[index] = seen
                else:
                    new.take(index, seen)
            if on_progress is not None:
                on_progress(index + 1)
            asked = time.perf_counter()
        new.run()
    finally:
        new.flush()
    for index, original in copies:
        features[index] = features[original]
    rows = np.setdiff1d(np.arange(count), [index for index, _ in skipped])
    if len(rows) < count:
        features, digests = features[rows], digests[rows]
    profile.total = time.perf_counter() - started
    return Extraction(rows, features, digests, skipped, new.num_computed, profile)


_Loaded = tuple[bytes, "Tensor | np.ndarray | str"]
"""Digest of an image, and its input, or its embedding, or why it cannot be read."""


@dataclass
class _NewImages:
    """Collects inputs to batches and embeddings to shards."""

    backbone: Backbone
    store: FeatureStore
    features: np.ndarray
    digests: np.ndarray
    batch_size: int
    profile: Profile
    num_computed: int = 0
    _waiting: list[tuple[int, Tensor]] = field(default_factory=list)
    _done: list[int] = field(default_factory=list)
    _stored: float = field(default_factory=time.perf_counter)

    def __post_init__(self) -> None:
        self.backbone.to(memory_format=torch.channels_last)  # twice as fast for convolutions
        self._device = next(self.backbone.parameters()).device
        self._dtype = getattr(torch, self.features.dtype.name)

    def take(self, index: int, image: Tensor) -> None:
        """One more input (C, H, W); runs the backbone when a batch is full."""
        self._waiting.append((index, image))
        if len(self._waiting) == self.batch_size:
            self.run()

    @torch.inference_mode()
    def run(self) -> None:
        """Take what waits through the backbone."""
        if not self._waiting:
            return
        started = time.perf_counter()
        rows = [index for index, _ in self._waiting]
        batch = torch.stack([image for _, image in self._waiting])
        batch = batch.to(self._device).contiguous(memory_format=torch.channels_last)
        self.features[rows] = self.backbone(batch).cpu().to(self._dtype).numpy()
        self._waiting.clear()
        finite = np.isfinite(self.features[rows]).all(1)
        self.profile.backbone += time.perf_counter() - started
        if not finite.all():
            raise InputError(
                f"the backbone gives image {rows[int(np.argmin(finite))]} a value that is not"
                f" finite as {self.features.dtype}; set dtype=float32, or other weights"
            )
        self.num_computed += len(rows)
        self._done += rows
        late = time.perf_counter() - self._stored > _SHARD_SECONDS
        if len(self._done) >= _SHARD_ROWS or late:
            self.flush()

    def flush(self) -> None:
        """Write what was computed and is not stored."""
        if self._done:
            started = time.perf_counter()
            self.store.add(self.digests[self._done], self.features[self._done])
            self._done.clear()
            self._stored = time.perf_counter()
            self.profile.writing += self._stored - started


def _too_many(bad: int, seen: int, count: int, reason: str, max_skipped: float) -> str:
    return (
        f"{bad} of the first {seen} of {count} images cannot be read, the last of them because of"
        f" {reason}; wanted at most {max_skipped:.1%} of all: fetch them again, remove them or"
        " raise max_skipped"
    )
