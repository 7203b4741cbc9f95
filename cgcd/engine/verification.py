"""A stored stage against the same stage done again: weights, predictions and numbers."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file

from cgcd.engine.checkpoint_files import STATE, TENSORS, check_sum
from cgcd.vocabulary import InputError

_BACKBONE = "backbone.safetensors"
_COUNTS = ("stage/", "stream/", "count/", "seconds")


@dataclass(frozen=True)
class Comparison:
    """What of a stage is as it was stored.

    Attributes:
        num_tensors: compared, weights and memories.
        other_tensors: names of those that differ, or that only one of the two has.
        num_lines: of predictions, compared.
        other_lines: how many of them differ.
        largest: largest difference of a number that is no count, in its own unit.
    """

    num_tensors: int
    other_tensors: tuple[str, ...]
    num_lines: int
    other_lines: int
    largest: float

    @property
    def is_equal(self) -> bool:
        """Bit for bit."""
        return not self.other_tensors and not self.other_lines and self.largest == 0


def check_whole(run: Path, stages: range) -> None:
    """Refuse checkpoints that are damaged, for nothing could be said by them.

    Args:
        run: the folder of the run.
        stages: whose checkpoints are needed.

    Raises:
        InputError: naming the first that is missing or damaged.
    """
    for stage in stages:
        path = _checkpoint(run, stage)
        try:
            check_sum(path, json.loads((path / STATE).read_text(encoding="utf-8")))
        except (OSError, KeyError, TypeError, ValueError) as error:
            raise InputError(
                f"{path} is damaged or missing ({error}); wanted the checkpoint that the run left: "
                "put a copy back, verify another stage, or make it anew with overwrite=true"
            ) from error


def lend_stages(run: Path, again: Path, before: int) -> None:
    """Give another folder the checkpoints before a stage, as links to those of the run."""
    folder = again / "checkpoints"
    folder.mkdir(parents=True)
    if before == 0:
        return
    _link(str(run / "checkpoints" / _BACKBONE), str(folder / _BACKBONE))
    for stage in range(before):
        target = folder / _checkpoint(run, stage).name
        shutil.copytree(_checkpoint(run, stage), target, copy_function=_link)


def compared(
    run: Path,
    again: Path,
    stage: int | None,
    predictions: tuple[str, ...],
    rows: tuple[Mapping[str, float], Mapping[str, float]],
) -> Comparison:
    """What two folders hold of a stage.

    Args:
        run, again: folders of the run and of what was done again.
        stage: whose weights are compared; None for none.
        predictions: names of the files of predictions to compare.
        rows: numbers of the stage, stored and found now.

    Raises:
        InputError: if the run has lost a file, or one cannot be read.
    """
    num_tensors, other_tensors = (0, ()) if stage is None else _tensors(run, again, stage)
    num_lines = other_lines = 0
    for name in predictions:
        ours, theirs = (_lines(folder / "predictions" / name) for folder in (run, again))
        num_lines += max(len(ours), len(theirs)) - 1
        other_lines += abs(len(ours) - len(theirs))
        other_lines += sum(a != b for a, b in zip(ours, theirs, strict=False))
    return Comparison(num_tensors, other_tensors, num_lines, other_lines, _largest(*rows))


def _tensors(run: Path, again: Path, stage: int) -> tuple[int, tuple[str, ...]]:
    try:
        ours, theirs = (load_file(_checkpoint(f, stage) / TENSORS) for f in (run, again))
    except (OSError, SafetensorError) as error:
        raise InputError(f"{_checkpoint(run, stage)} cannot be read ({error})") from error
    names = sorted(ours.keys() | theirs.keys())
    return len(names), tuple(n for n in names if not _same(ours.get(n), theirs.get(n)))


def _same(ours: Any, theirs: Any) -> bool:
    if ours is None or theirs is None or ours.dtype != theirs.dtype or ours.shape != theirs.shape:
        return False
    return torch.equal(ours, theirs)


def _lines(path: Path) -> list[str]:
    try:
        return path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(
            f"{path} cannot be read ({type(error).__name__}); wanted the predictions that the run "
            "left: put a copy back, or make them anew with overwrite=true"
        ) from error


def _largest(stored: Mapping[str, Any], found: Mapping[str, Any]) -> float:
    keys = {k for k in stored.keys() | found.keys() if not k.startswith(_COUNTS) and k != "stage"}
    numbers = (int, float)
    if not all(isinstance(row.get(k), numbers) for k in keys for row in (stored, found)):
        return float("inf")  # a number that only one of the two has
    return max((abs(stored[k] - found[k]) for k in keys), default=0.0)


def _checkpoint(run: Path, stage: int) -> Path:
    return run / "checkpoints" / f"stage_{stage:03d}"


def _link(source: str, target: str) -> None:
    os.symlink(os.path.abspath(source), target)
