"""What tells two data sets, or two views of one, apart: so that a run goes on with its own only."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import Any

import numpy as np

_SIMPLE = (str, int, float)
_MOST_SAMPLES = 256
_MOST_FILES = 4096
_NAME_PARTS = 3  # of a path, so that data may move: part, class, file


def data_hash(samples: Sequence[Any], *views: Any) -> str:
    """SHA-256 of samples and of the settings of their views, 64 hex digits.

    Of samples in memory: their number and evenly spaced ones, with type and shape. Of files: their
    number, and names and sizes of evenly spaced ones. Of a view: its class and its plain fields.

    Args:
        samples: arrays (N, ...), or anything of a length and an index that gives arrays or images;
            files where it has `paths`.
        *views: training and evaluation view, or more samples' hashes.
    """
    digest = hashlib.sha256(f"{len(samples)}".encode())
    paths = getattr(samples, "paths", None)
    if paths is not None:
        for place in _spaced(len(paths), _MOST_FILES):
            path = Path(paths[place])
            name = "/".join(path.parts[-_NAME_PARTS:])
            digest.update(f"{name} {path.stat().st_size}\n".encode("utf-8", "surrogateescape"))
    else:
        for place in _spaced(len(samples), _MOST_SAMPLES):
            array = np.asarray(samples[place])
            digest.update(f"{array.dtype.str} {array.shape}".encode())
            digest.update(np.ascontiguousarray(array).tobytes())
    digest.update(repr([_plain(view) for view in views]).encode())
    return digest.hexdigest()


def _spaced(count: int, most: int) -> list[int]:
    return np.linspace(0, count - 1, min(count, most)).astype(np.int64).tolist()


def _plain(value: Any) -> Any:
    """Settings as nested tuples of texts and numbers; of what is neither, its kind alone."""
    if value is None or isinstance(value, _SIMPLE):
        return value
    if isinstance(value, list | tuple):
        return tuple(map(_plain, value))
    kind = f"{type(value).__module__}.{type(value).__qualname__}"
    if isinstance(value, np.ndarray):  # a function of the samples
        return kind, value.dtype.str, value.shape
    if is_dataclass(value):
        return kind, tuple((f.name, _plain(getattr(value, f.name))) for f in fields(value))
    own = getattr(value, "__dict__", {})
    return kind, tuple((k, v) for k, v in sorted(own.items()) if isinstance(v, _SIMPLE))
