"""One checkpoint on disk: a folder of tensors and plain data that appears whole or not at all.

`tensors.safetensors` holds tensors, `state.json` everything else with the checksum of the first.
Both are written into a folder of another name, synced, and renamed. Nothing is ever pickled.
"""

from __future__ import annotations

import hashlib
import json
import logging
import shutil
import tempfile
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from cgcd.engine.cache import named_errors, sync, write_tensors
from cgcd.vocabulary import SCHEMA_VERSION, InputError

log = logging.getLogger(__name__)

TENSORS, STATE = "tensors.safetensors", "state.json"
_OWN_SUM = "state_sha256"
_HEAD = ("schema_version", "sha256", _OWN_SUM)
_STAGE = "stage_[0-9][0-9][0-9]"
_WITHIN = "within_[0-9][0-9][0-9]_[0-9]*"
_GOING = ".gone-"  # what is being removed: nobody reads it, whoever finds it removes the rest


@dataclass(frozen=True)
class Checkpoint:
    """One stored stage, or one stored while it was under way.

    Attributes:
        stage: its index.
        state: content of `state.json`.
        tensors: content of `tensors.safetensors`.
        path: where it lies.
    """

    stage: int
    state: dict[str, Any]
    tensors: dict[str, Tensor]
    path: Path


def stage_folders(folder: Path) -> list[Path]:
    """Those of whole stages, ascending."""
    return sorted(folder.glob(_STAGE))


def within_folders(folder: Path) -> list[Path]:
    """Those of stages under way, ascending by stage, then by step."""
    found = [path for path in folder.glob(_WITHIN) if path.name.rsplit("_", 1)[1].isdigit()]
    return sorted(found, key=lambda path: (stage_of(path), int(path.name.rsplit("_", 1)[1])))


def stage_of(path: Path) -> int:
    """Stage that a folder's name tells."""
    return int(path.name.split("_")[1])


def part_of(tensors: Mapping[str, Tensor], part: str) -> dict[str, Tensor]:
    """Tensors whose names begin with `<part>.`, by the rest of their names."""
    prefix = f"{part}."
    return {k.removeprefix(prefix): v for k, v in tensors.items() if k.startswith(prefix)}


def write_checkpoint(final: Path, tensors: Mapping[str, Tensor], state: Mapping[str, Any]) -> None:
    """Write a checkpoint in place of what is there.

    Args:
        final: its folder.
        tensors: by name.
        state: plain data; version and checksum are added.
    """
    final.parent.mkdir(parents=True, exist_ok=True)
    temporary = Path(tempfile.mkdtemp(dir=final.parent, prefix=f".{final.name}-"))
    try:
        with named_errors(final / TENSORS):
            write_tensors(temporary / TENSORS, tensors)
        head = {
            "schema_version": SCHEMA_VERSION,
            "sha256": file_digest(temporary / TENSORS),
            _OWN_SUM: _state_digest(state),
        }
        text = json.dumps({**head, **state}, indent=1)
        with named_errors(final / STATE):
            (temporary / STATE).write_text(text, encoding="utf-8")
            sync(temporary / STATE)
            sync(temporary)
            if final.exists():
                remove_checkpoint(final)
            temporary.replace(final)
            sync(final.parent)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def remove_checkpoint(path: Path) -> None:
    """Remove a checkpoint so that no part of it is ever taken for one."""
    gone = path.with_name(f"{_GOING}{path.name}")
    shutil.rmtree(gone, ignore_errors=True)
    path.replace(gone)
    shutil.rmtree(gone)


def sweep(folder: Path) -> None:
    """Remove what broken writes and removals have left."""
    for pattern in (".stage_*", ".within_*", f"{_GOING}*"):
        for path in folder.glob(pattern):
            shutil.rmtree(path, ignore_errors=True)


def newest_whole(paths: Iterable[Path], instead: str) -> Checkpoint | None:
    """The first of these that is whole; a damaged one is passed over with a warning.

    Args:
        paths: newest first.
        instead: what is done where one is damaged, for the warning.

    Raises:
        InputError: if a checkpoint was written by a newer version.
    """
    for path in paths:
        try:
            state = json.loads((path / STATE).read_text(encoding="utf-8"))
            if state["schema_version"] > SCHEMA_VERSION:
                raise InputError(
                    f"{path} has schema version {state['schema_version']} and this cgcd reads "
                    f"up to {SCHEMA_VERSION}; continue it with the newer cgcd or set overwrite=true"
                )
            check_sum(path, state)
            return Checkpoint(stage_of(path), state, load_file(path / TENSORS), path)
        except InputError:
            raise
        except (
            OSError,
            KeyError,
            TypeError,
            ValueError,
            RecursionError,
            SafetensorError,
        ) as error:
            log.warning("%s is damaged (%s); %s", path, error, instead)
    return None


def check_sum(path: Path, state: Mapping[str, Any]) -> None:
    """Raise OSError if tensors or state are not those that were written together."""
    if file_digest(path / TENSORS) != state["sha256"]:
        raise OSError("checksum differs")
    stated = {k: v for k, v in state.items() if k not in _HEAD}
    if _OWN_SUM in state and _state_digest(stated) != state[_OWN_SUM]:
        raise OSError("checksum of the state differs")


def _state_digest(state: Mapping[str, Any]) -> str:
    plain = json.loads(json.dumps(state))  # as it will be read, where keys are texts
    return hashlib.sha256(json.dumps(plain, sort_keys=True).encode()).hexdigest()


def file_digest(path: Path) -> str:
    """SHA-256 of a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
