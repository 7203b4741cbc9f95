"""The files of an analysis: arrays, plain data, small images, the table of categories."""

from __future__ import annotations

import io
import json
import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from cgcd.engine.cache import whole_file, write_text
from cgcd.tracking.analysis import FOLDER, Analysis, analysis_names
from cgcd.tracking.cells import csv_text

log = logging.getLogger(__name__)

CATEGORIES = "categories.csv"
_SMALLEST = 32  # pixels; smaller images are shown larger


def store_analysis(analysis: Analysis, run_folder: Path) -> None:
    """Write arrays, plain data and small images; each file whole or not at all."""
    folder = run_folder / FOLDER
    with whole_file(folder / f"{analysis.name}.npz") as temporary, temporary.open("wb") as file:
        np.savez_compressed(file, **analysis.arrays)  # type: ignore[arg-type]
    for path, pixels in analysis.images.items():
        _write_image(folder / path, pixels)
    write_text(folder / f"{analysis.name}.json", json.dumps(analysis.facts, indent=1))


def earlier_analysis(run_folder: Path | None, stage: int) -> Analysis | None:
    """That of a stage from its files; None if there is none, or none that can be read."""
    name = f"stage_{stage}"
    if run_folder is None or not (run_folder / FOLDER / f"{name}.json").is_file():
        return None
    try:
        return Analysis.load(run_folder / FOLDER, name)
    except (OSError, ValueError) as error:
        log.warning("the analysis of stage %d is damaged (%s); columns are missing", stage, error)
        return None


def discard_later(run_folder: Path, stage: int) -> None:
    """Remove the analyses of later stages, which an earlier try may have left."""
    for name in analysis_names(run_folder):
        if name.startswith("stage_") and int(name.removeprefix("stage_")) > stage:
            for suffix in (".json", ".npz"):
                (run_folder / FOLDER / f"{name}{suffix}").unlink(missing_ok=True)


def categories_csv(analyses: Sequence[Analysis]) -> str:
    """One line a category: where it comes from, how large it is, what it holds.

    Args:
        analyses: one, or the parts of a single stage; only sizes are taken from the second.
    """
    first = analyses[0]
    if len(analyses) > 1 or first.facts["setting"] == "single_stage":
        titles = [f"size_{analysis.name}" for analysis in analyses]
        sizes = np.stack([analysis.arrays["sizes"][:, -1] for analysis in analyses], 1)
    else:
        titles = [f"size_{column}" for column in first.facts["columns"]]
        sizes = first.arrays["sizes"]
    galleries = {row["id"]: row for row in first.facts["categories"]}
    rows: list[Sequence[Any]] = [
        (
            *("id", "name", "first_stage", *titles, "mean_confidence", "matched_class"),
            *("best_class", "purity", "nearest", "nearest_cosine", "exemplars"),
        )
    ]
    for row in first.table:
        central = galleries.get(row["id"], {}).get("central", [])
        rows.append(
            (
                row["id"],
                row["name"],
                row["first_stage"],
                *sizes[row["id"]].tolist(),
                _cell(row.get("mean_confidence")),
                _cell(row.get("matched_class_name")),
                _cell(row.get("best_class_name")),
                _cell(row.get("purity")),
                _cell(row.get("nearest")),
                _cell(row.get("nearest_cosine")),
                " | ".join(sample["name"] for sample in central),
            )
        )
    return csv_text(rows)


def write_categories(analyses: Sequence[Analysis], run_folder: Path) -> None:
    """Write `categories.csv` of a run folder."""
    write_text(run_folder / CATEGORIES, categories_csv(analyses))


def _cell(value: Any) -> Any:
    return "" if value is None else value


def _write_image(path: Path, pixels: np.ndarray) -> None:
    """A PNG, unless it is there; renamed into place but not synced, for it can be made again."""
    if path.is_file():
        return
    larger = max(1, _SMALLEST // pixels.shape[0])
    shown = pixels.repeat(larger, 0).repeat(larger, 1)
    file = io.BytesIO()
    Image.fromarray(shown).save(file, "PNG", compress_level=1)
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}-new")
    temporary.write_bytes(file.getvalue())
    temporary.replace(path)
