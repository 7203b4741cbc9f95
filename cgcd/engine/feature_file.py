"""The file of embeddings that `cgcd features` writes, .npz or .safetensors."""

from __future__ import annotations

import json
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import safe_open
from safetensors.torch import save_file

from cgcd.engine.cache import whole_file

SUFFIXES = (".npz", ".safetensors")
_ARRAYS = ("f", "digests", "y", "split")
_NAMES = ("ids", "classes")


@dataclass(frozen=True, eq=False)
class FeatureFile:
    """Embeddings with what they are of and how they came about.

    An .npz of equal content has equal bytes.

    Attributes:
        f: embeddings, float16 or float32, (N, D).
        ids: name of each sample, <U, (N,).
        digests: of each image's content, uint8, (N, 16).
        settings: plain data: backbone, weights, input, versions.
        y: class of each sample, int64, (N,); None where no classes are known.
        split: 0 for training, 1 for testing, int64, (N,); None where nothing is set apart.
        classes: name of class k at place k, <U, (K,); None where `y` is.
    """

    f: np.ndarray
    ids: np.ndarray
    digests: np.ndarray
    settings: dict[str, Any]
    y: np.ndarray | None = None
    split: np.ndarray | None = None
    classes: np.ndarray | None = None

    def write(self, path: Path) -> None:
        """Write the file atomically: in an .npz names and settings are members of text, in a
        .safetensors JSON in the header.
        """
        arrays = {name: getattr(self, name) for name in _ARRAYS if getattr(self, name) is not None}
        names = {name: getattr(self, name) for name in _NAMES if getattr(self, name) is not None}
        settings = json.dumps(self.settings, sort_keys=True)
        with whole_file(path) as temporary:
            if path.suffix == ".npz":
                with temporary.open("wb") as file:
                    np.savez(file, **arrays, **names, settings=np.array(settings))
            else:
                texts = {name: json.dumps(value.tolist()) for name, value in names.items()}
                tensors = {k: torch.from_numpy(np.ascontiguousarray(v)) for k, v in arrays.items()}
                save_file(tensors, temporary, {**texts, "settings": settings})

    @classmethod
    def read(cls, path: Path) -> FeatureFile | None:
        """A file that `write` wrote, None if it is none or damaged."""
        try:
            members = _npz(path) if path.suffix == ".npz" else _safetensors(path)
            members["settings"] = json.loads(str(members["settings"]))
            return cls(**{k: v for k, v in members.items() if k in {f.name for f in fields(cls)}})
        except Exception:  # zip, zlib, NumPy, safetensors and JSON each have their own
            return None

    def equals(self, other: FeatureFile) -> bool:
        """Whether every member is the same."""
        return self.settings == other.settings and all(
            _same(getattr(self, name), getattr(other, name)) for name in (*_ARRAYS, *_NAMES)
        )


def _npz(path: Path) -> dict[str, Any]:
    with path.open("rb") as opened, np.load(opened, allow_pickle=False) as file:
        return {name: file[name] for name in file.files}


def _safetensors(path: Path) -> dict[str, Any]:
    with safe_open(path, "np") as file:
        texts = dict(file.metadata() or {})
        names = {name: np.array(json.loads(texts[name])) for name in _NAMES if name in texts}
        arrays = {name: file.get_tensor(name) for name in file.keys()}
    return {**arrays, **names, "settings": texts["settings"]}


def _same(mine: np.ndarray | None, other: np.ndarray | None) -> bool:
    if mine is None or other is None:
        return mine is other
    return bool(mine.dtype == other.dtype and np.array_equal(mine, other))
