"""The stage-wise analysis of a run as plain data, and where its files lie; needs no torch.

`analysis/<name>.npz` holds arrays, `analysis/<name>.json` names, galleries and the numbers of each
category; `<name>` is that of the predictions: `stage_<t>`, `unlabeled`, `test`, `stream`. A key is
absent where there is nothing to tell: no truth, no features, no confidences.
"""

from __future__ import annotations

import json
import re
import zipfile
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

FOLDER = "analysis"
PARTS = ("unlabeled", "test", "stream")
_STAGE = re.compile(r"stage_(\d+)")


@dataclass(frozen=True)
class Analysis:
    """What one evaluation showed, with the columns of the stages before.

    Attributes:
        name: of its files.
        arrays: content of the `.npz`.
        facts: content of the `.json`.
        images: thumbnails by their path in the folder, (H, W, 3) uint8; not read back.
        table: numbers of every category, not only of those with a gallery; not read back.
        tiles: a thumbnail of each drawn point, (M, S, S, 3) uint8; None without images.
    """

    name: str
    arrays: Mapping[str, np.ndarray]
    facts: Mapping[str, Any]
    images: Mapping[str, np.ndarray] = field(default_factory=dict)
    table: Sequence[Mapping[str, Any]] = ()
    tiles: np.ndarray | None = None

    @property
    def stage(self) -> int:
        return int(self.facts["stage"])

    @classmethod
    def load(cls, folder: Path, name: str) -> Analysis:
        """Read an analysis from an `analysis` folder.

        Raises:
            ValueError: if a file is damaged.
            OSError: if there is none.
        """
        try:
            with np.load(folder / f"{name}.npz", allow_pickle=False) as file:
                arrays = dict(file)
            facts = json.loads((folder / f"{name}.json").read_text(encoding="utf-8"))
        except (zipfile.BadZipFile, zlib.error, EOFError, TypeError, ValueError) as error:
            raise ValueError(f"the analysis {folder / name} is damaged ({error})") from error
        return cls(name, arrays, facts)


def analysis_names(run_folder: Path) -> list[str]:
    """Names of a run's stored analyses, in the order of the stages or parts."""
    found = {path.stem for path in (run_folder / FOLDER).glob("*.json")}
    stages = sorted(int(match[1]) for name in found if (match := _STAGE.fullmatch(name)))
    return [f"stage_{stage}" for stage in stages] + [part for part in PARTS if part in found]


def stored_analyses(run_folder: Path) -> list[Analysis]:
    """All analyses of a run, in the order of the stages or parts; empty where there is none."""
    return [Analysis.load(run_folder / FOLDER, name) for name in analysis_names(run_folder)]
