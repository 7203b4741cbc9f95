"""Embeddings that were computed before, found again by what they were computed from."""

from __future__ import annotations

import hashlib
import logging
import os
import time
from collections.abc import Iterable
from functools import lru_cache
from pathlib import Path

import numpy as np
import torch

from cgcd.engine.cache import read_whole, write_whole
from cgcd.vocabulary import InputError

log = logging.getLogger(__name__)

DIGEST_BYTES = 16
_STALE_SECONDS = 24 * 3600
_OPEN_SHARDS = 8  # images come in the order in which their shards were written


def digest(content: bytes) -> bytes:
    """BLAKE2b of an image as it lies on disk, 16 bytes."""
    return hashlib.blake2b(content, digest_size=DIGEST_BYTES).digest()


class FeatureStore:
    """Embeddings (D,) by the digest of their image, in shards that appear whole or not at all.

    One folder holds the shards of one backbone with one set of settings, so what an interrupted
    extraction leaves, and what another one computed from the same images under other names, is the
    same thing. Several processes may add to a folder at once.

    Args:
        folder: of the shards; made when the first is written.
        dim: width D.
        dtype: of the numbers, float16 or float32.
        fresh: start as if the folder were empty.

    Attributes:
        used: paths of the shards that this object has read or written.
    """

    def __init__(self, folder: Path, dim: int, dtype: np.dtype, fresh: bool = False) -> None:
        self.folder, self.dim, self.dtype = folder, dim, np.dtype(dtype)
        self.used: set[Path] = set()
        self._shard = lru_cache(maxsize=_OPEN_SHARDS)(_shard)
        self._rows: dict[bytes, tuple[Path, int] | np.ndarray] = {}
        for path in () if fresh else sorted(folder.glob("*.safetensors")):
            shard = self._shard(path)
            if shard is None or not self._fits(*shard):
                log.warning("%s is damaged; what it held is computed again", path)
                path.unlink(missing_ok=True)
                continue
            self._know(path, shard[0])
            os.utime(path)  # the time of its last use, by which `trim` goes

    def __len__(self) -> int:
        return len(self._rows)

    def find(self, key: bytes) -> np.ndarray | None:
        """The embedding (D,) of the image with this digest, None if there is none."""
        place = self._rows.get(key)
        if not isinstance(place, tuple):
            return place
        shard = self._shard(place[0])
        return None if shard is None else shard[1][place[1]]  # None: removed in the meantime

    def add(self, digests: np.ndarray, features: np.ndarray) -> None:
        """Write one shard.

        Args:
            digests: of the images, uint8, (n, 16).
            features: their embeddings, (n, D).

        Raises:
            InputError: if it cannot be written.
        """
        path = self.folder / f"{digest(digests.tobytes()).hex()}.safetensors"
        tensors = {"digests": torch.from_numpy(digests), "f": torch.from_numpy(features)}
        try:
            write_whole(path, tensors, {})
        except OSError as error:
            raise InputError(
                f"{path} cannot be written ({error.strerror}); make room, or set CGCD_CACHE to a "
                "folder of yours"
            ) from error
        self._know(path, digests)

    def include(self, digests: np.ndarray, features: np.ndarray) -> None:
        """Know embeddings that lie elsewhere, (n, 16) and (n, D); nothing is written."""
        if self._fits(digests, features):
            for key, row in zip(digests, features, strict=True):
                self._rows.setdefault(key.tobytes(), row)

    def _know(self, path: Path, digests: np.ndarray) -> None:
        self.used.add(path)
        self._rows.update((key.tobytes(), (path, row)) for row, key in enumerate(digests))

    def _fits(self, digests: np.ndarray, features: np.ndarray) -> bool:
        return (
            digests.dtype == np.uint8
            and digests.shape == (len(features), DIGEST_BYTES)
            and features.dtype == self.dtype
            and features.shape[1:] == (self.dim,)
        )


def trim(folder: Path, limit: int, keep: Iterable[Path] = ()) -> int:
    """Remove the shards below a folder that were not used for longest, and torn remains.

    Args:
        folder: that holds the folders of stores.
        limit: bytes that may stay.
        keep: shards that stay even so.

    Returns:
        How many bytes were removed.
    """
    for path in folder.glob("*/.*"):  # what a killed process was writing
        if time.time() - path.stat().st_mtime > _STALE_SECONDS:
            path.unlink(missing_ok=True)
    shards = {path: path.stat() for path in folder.glob("*/*.safetensors")}
    surplus = sum(found.st_size for found in shards.values()) - limit
    removed, kept = 0, set(keep)
    for path in sorted(shards, key=lambda path: shards[path].st_mtime):
        if removed >= surplus:
            break
        if path not in kept:
            path.unlink(missing_ok=True)
            removed += shards[path].st_size
    return removed


def _shard(path: Path) -> tuple[np.ndarray, np.ndarray] | None:
    """Digests (n, 16) and embeddings (n, D) of a shard, None if it is not whole."""
    whole = read_whole(path)
    if whole is None or whole[0].keys() != {"digests", "f"}:
        return None
    return whole[0]["digests"].numpy(), whole[0]["f"].numpy()
