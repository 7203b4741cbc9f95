"""Images of files, decoded and resized once, memory-mapped from the cache folder in later runs.

What is kept is what no draw changes: pixels after decoding, turning upright and resizing. They are
found again by the bytes of their file, so another file of the same name is decoded anew, and what
comes out has the same bits with and without the cache.
"""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import PIL
import torch
from filelock import FileLock
from PIL import Image
from torch import Tensor

from cgcd.engine.ahead import ahead
from cgcd.engine.cache import read_whole, write_whole
from cgcd.engine.feature_store import DIGEST_BYTES, digest, trim
from cgcd.models import InputSpec
from cgcd.places import cache_folder
from cgcd.vocabulary import InputError
from scenarios.folder import ImageFiles
from scenarios.views import image_of, pixels_of, resized_image

log = logging.getLogger(__name__)

_SHARD_BYTES = 2**26
_THREADS = 8  # decoding leaves Python's lock
_CHANNELS = 3
_VERSION = 1  # to be raised when files are read or resized in another way

Shards = dict[Path, "dict[str, Tensor] | None"]
"""Memory-mapped shards by their path; None for one that is gone."""


@dataclass(frozen=True)
class Place:
    """Where the pixels of an image lie: in the shard `path`, from byte `start` on, (H, W, 3)."""

    path: Path
    start: int
    height: int
    width: int

    @property
    def num_bytes(self) -> int:
        """Of the pixels."""
        return self.height * self.width * _CHANNELS


class CachedImages(Sequence[Image.Image]):
    """Image files as RGB PIL images; those that are kept come resized, from memory-mapped shards.

    Args:
        files: N of them.
        spec: what the kept ones are resized for.
        places: of the kept ones by their index.
        shards: what is open already; each process opens the others when it needs them.
    """

    def __init__(
        self, files: ImageFiles, spec: InputSpec, places: dict[int, Place], shards: Shards
    ) -> None:
        self.files, self.spec, self.places, self.shards = files, spec, places, shards

    def __getstate__(self) -> dict[str, Any]:
        return {**vars(self), "shards": {}}

    @property
    def paths(self) -> tuple[str, ...]:
        """Of the files, (N,)."""
        return self.files.paths

    def __len__(self) -> int:
        return len(self.files)

    def __getitem__(self, index: int) -> Image.Image:  # type: ignore[override]
        pixels = self._kept(index)
        return self.files[index] if pixels is None else image_of(pixels)

    def holds(self, spec: InputSpec) -> bool:
        """The pixels of all images are kept for such a view."""
        return len(self.places) == len(self) and self._is_for(spec)

    def resized(self, index: int, spec: InputSpec) -> Tensor:
        """Pixels of `resized_image`, uint8 (C, H, W), which nobody may change."""
        pixels = self._kept(index) if self._is_for(spec) else None
        return pixels_of(resized_image(self.files[index], spec)) if pixels is None else pixels

    def _is_for(self, spec: InputSpec) -> bool:
        return (spec.resize, spec.interpolation) == (self.spec.resize, self.spec.interpolation)

    def _kept(self, index: int) -> Tensor | None:
        place = self.places.get(index)
        if place is None:
            return None
        if place.path not in self.shards:
            self.shards[place.path] = _opened(place.path)
        shard = self.shards[place.path]
        if shard is None:  # removed in the meantime
            return None
        pixels = shard["pixels"][place.start : place.start + place.num_bytes]
        return pixels.view(place.height, place.width, _CHANNELS).permute(2, 0, 1)


def cached_images(
    parts: Sequence[ImageFiles], spec: InputSpec, most_bytes: int
) -> list[CachedImages]:
    """Image files with their pixels at hand, from the first on as many as there is room for.

    Those that the cache does not hold yet are decoded now; a file that is no readable image is
    passed over, and raises when it is asked for. Processes that do this at once wait for each
    other. What other data sets have left in the cache goes, the oldest first, when room is short.

    Args:
        parts: of a data set, training images first.
        spec: what to resize them for.
        most_bytes: of pixels in the cache folder, > 0.

    Raises:
        InputError: if the cache folder cannot be written.
    """
    started, folder = time.perf_counter(), cache_folder() / "images"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with FileLock(folder / ".lock"):
            kept, num_new = _filled(folder, parts, spec, most_bytes)
    except OSError as error:
        raise InputError(
            f"{folder} cannot be written ({error.strerror}); make room, set CGCD_CACHE to a folder "
            "of yours, or input_cache_gb=0"
        ) from error
    log.info(
        "input cache: %d of %d images, %d decoded now, %.1f s",
        sum(len(part.places) for part in kept),
        sum(map(len, parts)),
        num_new,
        time.perf_counter() - started,
    )
    return kept


def _filled(
    folder: Path, parts: Sequence[ImageFiles], spec: InputSpec, most_bytes: int
) -> tuple[list[CachedImages], int]:
    """The parts with what is kept of them, and how many images were not there before."""
    kept = []
    stores: dict[str, _Store] = {}
    room, num_new = most_bytes, 0
    for files in parts:
        name = _settings(files, spec)
        store = stores[name] = stores.get(name) or _Store(folder / name)
        digests: dict[int, bytes] = {}

        def looked_at(
            index: int, files: ImageFiles = files, store: _Store = store
        ) -> tuple[bytes, Tensor | None] | None:
            try:
                key = digest(Path(files.paths[index]).read_bytes())
                known = key in store.places
                return key, None if known else pixels_of(resized_image(files[index], spec))
            except (OSError, InputError):  # whoever asks for this image is told
                return None

        threads = min(_THREADS, os.cpu_count() or 1)
        wanted = range(len(files) if room > 0 else 0)
        for index, found in enumerate(ahead(looked_at, wanted, threads, 4 * threads)):
            if found is None:
                continue
            key, pixels = found
            room -= store.places[key].num_bytes if pixels is None else pixels.nbytes
            if room < 0:
                break
            digests[index] = key
            if pixels is not None:
                num_new += 1
                store.add(key, pixels)
        store.flush()
        places = {index: store.places[key] for index, key in digests.items()}
        kept.append(CachedImages(files, spec, places, store.shards))
    trim(folder, most_bytes, {place.path for part in kept for place in part.places.values()})
    return kept, num_new


class _Store:
    """Pixels by the digest of their file, in one folder of shards that appear whole or not at all.

    Args:
        folder: of images that are read and resized in one way.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.places: dict[bytes, Place] = {}
        self.shards: Shards = {}
        self._waiting: dict[bytes, Tensor] = {}
        for path in sorted(folder.glob("*.safetensors")):
            shard = _opened(path)
            if shard is None:
                log.warning("%s is damaged; its images are decoded again", path)
                path.unlink()
                continue
            os.utime(path)  # the time of its last use, by which `trim` goes
            self.shards[path] = shard
            self._know(path, shard)

    def add(self, key: bytes, pixels: Tensor) -> None:
        """Take the pixels, (C, H, W), of the file of this digest; the shard is written later."""
        self._waiting[key] = pixels
        if sum(some.nbytes for some in self._waiting.values()) >= _SHARD_BYTES:
            self.flush()

    def flush(self) -> None:
        """Write what waits."""
        if not self._waiting:
            return
        keys = b"".join(self._waiting)
        shard = {
            "digests": torch.frombuffer(bytearray(keys), dtype=torch.uint8).view(-1, DIGEST_BYTES),
            "sizes": torch.tensor([some.shape[1:] for some in self._waiting.values()]),
            "pixels": torch.cat([p.permute(1, 2, 0).flatten() for p in self._waiting.values()]),
        }
        path = self.folder / f"{digest(keys).hex()}.safetensors"
        write_whole(path, shard, {})
        self._waiting.clear()
        self._know(path, shard)

    def _know(self, path: Path, shard: dict[str, Tensor]) -> None:
        sizes = shard["sizes"].tolist()
        ends = np.cumsum([height * width * _CHANNELS for height, width in sizes]).tolist()
        for key, (height, width), end in zip(shard["digests"].numpy(), sizes, ends, strict=True):
            place = Place(path, end - height * width * _CHANNELS, height, width)
            self.places[key.tobytes()] = place


def _settings(files: ImageFiles, spec: InputSpec) -> str:
    """Name of the folder of images that are read and resized like these."""
    kind = type(files)
    facts: tuple[Any, ...] = (
        _VERSION,
        f"{kind.__module__}.{kind.__qualname__}",
        getattr(files, "shorter_side", None),
        spec.resize,
        spec.interpolation,
        PIL.__version__,
    )
    return digest(repr(facts).encode()).hex()


def _opened(path: Path) -> dict[str, Tensor] | None:
    """Memory-mapped digests, sizes and pixels of a shard; None if it is not whole."""
    whole = read_whole(path)
    if whole is None or whole[0].keys() != {"digests", "sizes", "pixels"}:
        return None
    return whole[0]
