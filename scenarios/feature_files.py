"""One file of embeddings: vectors with, where the file has them, ids, classes and a split.

`.npy` is one array (N, D), which stays on disk and is read as it is needed. `.npz` has `f` (N, D)
and maybe `y` (N,), `classes` (K,), `ids` (N,) and `split` (N,). `.safetensors` has the tensors `f`,
`y` and `split`; the lists `classes` and `ids` are JSON in its header (`metadata`). `.csv` has a
header; `id` and `label` are columns of texts that may be missing, all others are numbers. No file
is ever unpickled.
"""

from __future__ import annotations

import csv
import json
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError, safe_open

from cgcd.vocabulary import UNLABELED, InputError
from scenarios.arrays import read_npz
from scenarios.cifar import checked_names, kind

MEND = "see cgcd help features for what each kind of file holds"
KINDS = (".npy", ".npz", ".safetensors", ".csv")
_ROWS_AT_ONCE = 4096
_LARGEST = 1e16  # the square of a longer vector's length is no float32 any more


@dataclass(frozen=True, eq=False)
class FeatureFile:
    """N embeddings as a file has them, checked.

    Attributes:
        path: of the file.
        vectors: float16 or float32, finite, maybe memory-mapped, (N, D), D >= 1.
        ids: names, no two alike; None where the file has none, (N,).
        targets: class ids, `UNLABELED` where there is none, int64 in [-1, len(class_names)); None
            where the file has none, (N,).
        class_names: name of class id k at place k; empty without `targets`.
        split: 0 for training, 1 for testing, anything else for neither; None: no such part, (N,).
    """

    path: Path
    vectors: np.ndarray
    ids: tuple[str, ...] | None
    targets: np.ndarray | None
    class_names: tuple[str, ...]
    split: np.ndarray | None

    def __len__(self) -> int:
        return len(self.vectors)

    @property
    def names(self) -> tuple[str, ...]:
        """The ids, or file name and row where there are none."""
        if self.ids is not None:
            return self.ids
        return tuple(f"{self.path.stem}:{row}" for row in range(len(self)))


def read_feature_file(path: str | os.PathLike[str], mend: str = MEND) -> FeatureFile:
    """Read and check a file of one of the `KINDS`.

    Args:
        path: of the file.
        mend: what the user is to do, the end of every message.

    Raises:
        InputError: if there is no such file, it is damaged, a part has another shape or type than
            above, a value is not finite, or two ids are alike.
    """
    path = Path(path)
    reader = _READERS.get(path.suffix.lower())
    if not path.is_file():
        raise InputError(f"{path} is not a file; wanted one of {', '.join(KINDS)}: {mend}")
    if reader is None:
        raise InputError(
            f"{path} ends in {path.suffix or 'nothing'}; wanted one of {', '.join(KINDS)}: {mend}"
        )
    parts = reader(path, mend)
    vectors = parts["f"]
    if vectors.ndim != 2 or not vectors.shape[1] or vectors.dtype not in (np.float16, np.float32):
        raise InputError(
            f"{path}: 'f' is {kind(vectors)}; wanted float16 or float32 rows (N, D): {mend}"
        )
    if not len(vectors):
        raise InputError(f"{path} holds no embedding; wanted at least one: {mend}")
    targets, names = _labels(parts, len(vectors), path, mend)
    ids = _ids(parts.get("ids"), len(vectors), path, mend)
    split = parts.get("split")
    if split is not None and (split.shape != vectors.shape[:1] or split.dtype.kind not in "biu"):
        raise InputError(
            f"{path}: 'split' is {kind(split)} for {len(vectors)} embeddings; wanted one integer"
            f" for each, 0 for at least one: {mend}"
        )
    _check_finite(vectors, ids, path)
    return FeatureFile(path, vectors, ids, targets, names, split)


def feature_width(files: Sequence[str | os.PathLike[str] | None]) -> int:
    """Width D of the embeddings in the first file that is given, reading as little as it can.

    What a config asks for where the width of a model is that of its data.

    Raises:
        InputError: if no file is given, or it cannot be read.
    """
    path = next((file for file in files if file is not None), None)
    if path is None:
        raise InputError(
            "the model takes embeddings and no file of some is given: set data_root=<file> and"
            " scenario=features, or model=resnet10t for images"
        )
    path = Path(path)
    if path.suffix.lower() == ".safetensors" and path.is_file():
        try:
            with safe_open(path, framework="pt") as file:
                shape = file.get_slice("f").get_shape()
        except (SafetensorError, OSError):
            shape = []
        if len(shape) == 2:
            return int(shape[1])
    if path.suffix.lower() == ".npy" and path.is_file():
        vectors = _npy(path, MEND)["f"]
        if vectors.ndim == 2:
            return int(vectors.shape[1])
    return int(read_feature_file(path).vectors.shape[1])


def _npy(path: Path, mend: str) -> dict[str, np.ndarray]:
    try:
        return {"f": np.load(path, mmap_mode="r", allow_pickle=False)}
    except (ValueError, OSError, EOFError) as error:
        raise InputError(
            f"{path} cannot be read ({type(error).__name__}: {error}); wanted one plain array"
            f" (N, D): write the file again or {mend}"
        ) from error


def _npz(path: Path, mend: str) -> dict[str, np.ndarray]:
    return read_npz(path, ("f",), mend, ("y", "ids", "split", "classes"))


def _safetensors(path: Path, mend: str) -> dict[str, Any]:
    try:
        with safe_open(path, framework="pt") as file:
            there = set(file.keys())
            tensors = {name: file.get_tensor(name) for name in there & {"f", "y", "split"}}
            header = file.metadata() or {}
        lists = {name: json.loads(header[name]) for name in ("ids", "classes") if name in header}
    except (SafetensorError, OSError, ValueError) as error:
        raise InputError(
            f"{path} cannot be read ({type(error).__name__}: {error}); wanted a whole safetensors"
            f" file with the tensor 'f': write the file again or {mend}"
        ) from error
    if "f" not in tensors:
        raise InputError(
            f"{path} lacks 'f' (it has {', '.join(sorted(there)) or 'nothing'}); wanted the tensor"
            f" 'f' (N, D): {mend}"
        )
    parts: dict[str, Any] = {
        name: (t.float() if t.dtype == torch.bfloat16 else t).numpy() for name, t in tensors.items()
    }
    for name, texts in lists.items():
        if not isinstance(texts, list) or not all(isinstance(text, str) for text in texts):
            raise InputError(f"{path}: {name!r} in the header is no JSON list of texts: {mend}")
        parts[name] = np.array(texts, dtype=str)
    return parts


def _csv(path: Path, mend: str) -> dict[str, Any]:
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            lines = csv.reader(file, strict=True)
            header = next(lines, [])
            numeric = _numeric_columns(header, path, mend)
            blocks, ids, labels = [np.empty((0, len(numeric)), np.float32)], [], []
            block: list[list[str]] = []
            for number, cells in enumerate(lines, 2):
                if not cells:
                    continue
                if len(cells) != len(header):
                    raise InputError(
                        f"{path}, line {number} has {len(cells)} cells and the header"
                        f" {len(header)}; wanted as many: {mend}"
                    )
                block.append([cells[place] for place in numeric])
                ids += [cells[header.index("id")]] if "id" in header else []
                labels += [cells[header.index("label")].strip()] if "label" in header else []
                if len(block) == _ROWS_AT_ONCE:
                    blocks.append(_numbers(block, path, mend))
                    block = []
            if block:
                blocks.append(_numbers(block, path, mend))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise InputError(
            f"{path} cannot be read ({type(error).__name__}: {error}); wanted a CSV in UTF-8 with a"
            f" header: {mend}"
        ) from error
    parts: dict[str, Any] = {"f": np.concatenate(blocks)}
    if "id" in header:
        parts["ids"] = np.array(ids, dtype=str)
    if "label" in header:
        parts["labels"] = labels
    return parts


def _numeric_columns(header: Sequence[str], path: Path, mend: str) -> list[int]:
    if len(set(header)) != len(header):
        raise InputError(f"{path} has two columns of one name; wanted names that differ: {mend}")
    numeric = [place for place, name in enumerate(header) if name not in ("id", "label")]
    as_number = [header[place] for place in numeric if _is_number(header[place])]
    if not numeric or (len(as_number) == len(header) and not _counts_up(as_number)):
        raise InputError(
            f"{path} begins with {', '.join(header[:3]) or 'nothing'}; wanted a header with a name"
            f" for each column, id and label where there are some, then the numbers: {mend}"
        )
    return numeric


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def _counts_up(names: Sequence[str]) -> bool:
    """Columns named 0, 1, 2, ... or 1, 2, 3, ..., as tables are written."""
    numbers = [float(name) for name in names]
    return numbers in (list(range(len(names))), list(range(1, len(names) + 1)))


def _numbers(block: list[list[str]], path: Path, mend: str) -> np.ndarray:
    """Lines of numbers as float32; the message names the first that is none."""
    try:
        return np.array(block, dtype=np.float32)
    except ValueError as error:
        bad = next(text for row in block for text in row if not _is_number(text))
        raise InputError(
            f"{path} holds {bad!r} where a number belongs; wanted numbers in every column but id"
            f" and label: {mend}"
        ) from error


def _labels(
    parts: dict[str, Any], count: int, path: Path, mend: str
) -> tuple[np.ndarray | None, tuple[str, ...]]:
    """Class ids and names, out of integers or of texts."""
    if "labels" in parts:
        texts = parts["labels"]
        whole = all(text.isdecimal() for text in texts if text)
        names = sorted({t for t in texts if t}, key=lambda t: (int(t), t) if whole else (0, t))
        place = {name: k for k, name in enumerate(names)} | {"": UNLABELED}
        return np.array([place[text] for text in texts], dtype=np.int64), tuple(names)
    if "y" not in parts:
        return None, ()
    targets, names_given = np.asarray(parts["y"]), checked_names(parts, path, mend)
    if targets.dtype.kind not in "iu" or targets.shape != (count,):
        raise InputError(
            f"{path}: the labels are {kind(targets)} for {count} embeddings; wanted one integer"
            f" for each, {UNLABELED} where there is none: {mend}"
        )
    limit = count if names_given is None else len(names_given)
    if targets.min() < UNLABELED or targets.max() >= limit:
        raise InputError(
            f"{path}: labels run from {targets.min()} to {targets.max()}; wanted 0 to {limit - 1},"
            f" or {UNLABELED} where there is none: {mend}"
        )
    names_by_id = names_given or tuple(map(str, range(int(targets.max()) + 1)))
    return targets.astype(np.int64), names_by_id


def _ids(given: Any, count: int, path: Path, mend: str) -> tuple[str, ...] | None:
    if given is None:
        return None
    ids = np.asarray(given)
    if ids.shape != (count,) or ids.dtype.kind not in "Uiu":
        raise InputError(
            f"{path}: 'ids' is {kind(ids)} for {count} embeddings; wanted one text or integer for"
            f" each: {mend}"
        )
    texts = tuple(map(str, ids.tolist()))
    first: dict[str, int] = {}
    for row, text in enumerate(texts):
        if first.setdefault(text, row) != row:
            raise InputError(
                f"{path}: the id {text!r} is there twice, in the rows {first[text]} and {row};"
                f" wanted ids that differ: leave one out or {mend}"
            )
    return texts


def _check_finite(vectors: np.ndarray, ids: tuple[str, ...] | None, path: Path) -> None:
    """Refuse what has no length in float32: nan, infinite and huge values."""
    bad, first = 0, -1
    for start in range(0, len(vectors), _ROWS_AT_ONCE):
        rows = vectors[start : start + _ROWS_AT_ONCE].astype(np.float32)  # the limit is no float16
        finite = (np.abs(rows) <= _LARGEST).all(1)
        if not finite.all():
            first = start + int(np.argmin(finite)) if first < 0 else first
            bad += int((~finite).sum())
    if bad:
        name = "" if ids is None else f" (id {ids[first]!r})"
        raise InputError(
            f"{path}: {bad} embeddings hold a value beyond {_LARGEST:g} or not finite, the first is"
            f" row {first}{name}; wanted numbers: leave them out or compute them again"
        )


_READERS = {".npy": _npy, ".npz": _npz, ".safetensors": _safetensors, ".csv": _csv}
