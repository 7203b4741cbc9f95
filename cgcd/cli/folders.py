"""The folder of a run: its name, what it holds of an earlier run, and taking it over."""

from __future__ import annotations

import copy
import hashlib
import json
import logging
import os
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from cgcd.vocabulary import SCHEMA_VERSION, InputError

log = logging.getLogger(__name__)

RESULTS = "results.json"
PICTURE = "stage_curves.png"
COUNTS_PICTURE = "class_counts.png"
REPORT = "report.html"
PROFILE = "profile"
TUNING = "tune.json"
LIVE = "live"
LIVE_LOCK = f"{LIVE}/.lock"
"""Held by whoever answers with the run and writes its book."""

NO_RESULT_KEYS = (
    ("device",),
    ("deterministic",),
    ("torch_threads",),
    ("num_workers",),
    ("input_cache_gb",),
    ("tracking",),
    ("analysis",),
    ("profile",),
    ("trunk_cache_gb",),
    ("checkpoint_minutes",),
    ("checkpoint_steps",),
    ("runs_root",),
    ("overwrite",),
    ("data_root",),  # where a scenario reads it, it is a key of the scenario too
    ("strategy", "device"),
    ("strategy", "num_workers"),
)

_LATER_KEYS = {"precision": "fp32", "compile": False}
_LATER_STRATEGY_KEYS = {"memory_branch": None, "memory_features": 3000}
"""With these values a run is the same as one of before there were these keys."""

_PATH_KEYS = ("data_root", "labeled", "stages", "truth")
"""Of a scenario: files or folders, or lists of them."""


def run_folder(content: Mapping[str, Any], chosen: Mapping[str, str], front: str = "") -> Path:
    """`<scenario>-<strategy>-s<seed>-<8 hex digits>` under `runs_root`.

    The digits are a hash of every value that changes results, so that the same command finds its
    own folder from wherever the rest differs.

    Args:
        content: the config as plain data.
        chosen: file of every group.
        front: of the name.
    """
    hashed = result_content(content)
    digest = hashlib.sha256(json.dumps(hashed, sort_keys=True).encode()).hexdigest()[:8]
    name = f"{front}{chosen['scenario']}-{chosen['strategy']}-s{content['seed']}-{digest}"
    return Path(content["runs_root"]) / name


def result_content(content: Mapping[str, Any]) -> dict[str, Any]:
    """Those values of a config, as plain data, that change results."""
    hashed: Any = copy.deepcopy(dict(content))
    for *parents, key in NO_RESULT_KEYS:
        part = hashed
        for parent in parents:
            part = part[parent]
        part.pop(key, None)
    for part, later in ((hashed, _LATER_KEYS), (hashed["strategy"], _LATER_STRATEGY_KEYS)):
        for key, value in later.items():
            if key in part and part[key] == value:
                del part[key]
    backbone = hashed["model"]["backbone"]
    if isinstance(backbone, dict) and isinstance(backbone.get("dim"), dict):
        del backbone["dim"]  # found in the file that a key of the scenario names
    for key in _PATH_KEYS:
        value = hashed["scenario"].get(key)
        if value is not None:
            hashed["scenario"][key] = _resolved(value)
    return hashed


def _resolved(value: Any) -> Any:
    if isinstance(value, list):
        return [_resolved(v) for v in value]
    return os.path.realpath(str(value))  # goes through loops of links, which building refuses


def stored_results(
    folder: Path, name: str = RESULTS, parts: tuple[str, ...] = ("finished", "stages")
) -> dict[str, Any] | None:
    """`results.json` of a folder; None where there is none, or none that can be read.

    Args:
        folder: of a run.
        name: of another file to read in its place.
        parts: keys without whose values the file is not finished.

    Raises:
        InputError: if a newer version wrote it.
    """
    path = folder / name
    if not path.is_file():
        return None
    try:
        stored = json.loads(path.read_text(encoding="utf-8"))
        version, finished = stored["schema_version"], all([stored[part] for part in parts])
        newer = version > SCHEMA_VERSION
        rows = [row for part in parts if isinstance(stored[part], list) for row in stored[part]]
        if not newer and not all(isinstance(row, dict) for row in rows):
            raise TypeError("what should be rows is none")
    except (ValueError, KeyError, TypeError, OSError, RecursionError) as error:
        log.warning("%s is damaged (%s); it is written again", path, error)
        return None
    if newer:
        raise InputError(
            f"{path} has schema version {version} and this cgcd reads up to {SCHEMA_VERSION}; use "
            "the newer cgcd or set overwrite=true"
        )
    return stored if finished else None


def take_folder(folder: Path, config_text: str, overwrite: bool) -> None:
    """Make the folder ready for a run: emptied where wanted, its config written.

    Only what runs leave is removed, nothing else.

    Raises:
        InputError: if another run is in it, a live writer answers with what is to be removed, or it
            cannot be written.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with FileLock(folder / ".lock").acquire(timeout=0):
            if overwrite:
                _empty(folder)
            (folder / "config.yaml").write_text(config_text, encoding="utf-8")
    except Timeout as error:
        raise InputError(
            f"{folder} is in use by another run; wait for it or give another runs_root"
        ) from error
    except OSError as error:
        raise InputError(
            f"{folder} cannot be written ({error.strerror}); set runs_root=<a folder of yours>"
        ) from error


def _empty(folder: Path) -> None:
    if not (folder / LIVE).is_dir():
        _remove_run(folder)
        return
    try:
        with FileLock(folder / LIVE_LOCK).acquire(timeout=0):
            _remove_run(folder)
    except Timeout as error:
        raise InputError(
            f"a process answers with {folder} (open_run); close it there, or give another runs_root"
        ) from error


def _remove_run(folder: Path) -> None:
    """Remove what a run leaves; first what says that it is finished, for the rest may fail."""
    for name in (
        RESULTS,
        "metrics.csv",
        "skipped.csv",
        "categories.csv",
        PICTURE,
        COUNTS_PICTURE,
        REPORT,
        TUNING,
        "table.csv",
    ):
        (folder / name).unlink(missing_ok=True)
    for name in ("checkpoints", "predictions", "analysis", "tensorboard", PROFILE, "trials"):
        shutil.rmtree(folder / name, ignore_errors=True)
    for path in (folder / LIVE).glob("*.safetensors*"):  # the lock stays, for it is held
        path.unlink()
