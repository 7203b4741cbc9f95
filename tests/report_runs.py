"""Run folders written by hand, for tests of what reads them."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from cgcd.tracking.cells import csv_text

HEADLINES = {
    "continual": "mean All over the continual stages, last weights of each stage",
    "single_stage": "All on the unlabeled part of the training samples, last weights",
    "online": "strict All over the stream so far, one matching of all answers",
}


def write_run(
    folder: Path,
    rows: Sequence[Mapping[str, float]],
    answers: Mapping[str, Sequence[tuple[str, int]]],
    base: Sequence[str] = (),
    *,
    headline: float | None = None,
    setting: str = "continual",
    config: Mapping[str, Any] | None = None,
    **facts: Any,
) -> Path:
    """Write `results.json`, `config.yaml` and predictions as a run leaves them.

    Args:
        folder: of the run.
        rows: of the stages, or windows.
        answers: by file (true class, category) of every sample; "" is a hidden class.
        base: names of the first categories.
        headline: value.
        setting: of the run.
        config: content of the YAML; None writes none.
        facts: in `results.json`, over those of a plain run.
    """
    folder.mkdir(parents=True)
    known = {
        "schema_version": 1,
        "headline": {"definition": HEADLINES[setting], "value": headline},
        "finished": True,
        "scenario": "digits",
        "strategy": "Happy",
        "seed": 0,
        "stream_hash": "0123456789abcdef",
        "num_stages": len(rows),
        "num_novel": "given",
        "commit": "abc1234",
        "versions": {"torch": "2.15.0"},
        "stages": list(rows[-1:] if setting == "online" else rows),
    }
    if setting == "single_stage":
        known |= {"setting": setting, "parts": {n: len(a) for n, a in answers.items()}}
    if setting == "online":
        known |= {"setting": setting, "windows": list(rows), "known_class_names": list(base)}
        known |= {"stream_length": rows[-1]["stream/seen"], "window": 10}
    (folder / "results.json").write_text(json.dumps({**known, **facts}), encoding="utf-8")
    if config is not None:
        (folder / "config.yaml").write_text(json.dumps(config), encoding="utf-8")  # JSON is YAML
    (folder / "predictions").mkdir()
    for name, pairs in answers.items():
        table = [_line(setting, place, *pair, base) for place, pair in enumerate(pairs)]
        columns = "position sample true_class category category_name opened distance"
        if setting != "online":
            columns = "path true_class category category_name is_new confidence"
        text = csv_text([columns.split(), *table])
        (folder / "predictions" / f"{name}.csv").write_text(text, encoding="utf-8")
    return folder


def _line(setting: str, place: int, true: str, category: int, base: Sequence[str]) -> list[Any]:
    name = base[category] if category < len(base) else f"new-{category}"
    if setting == "online":
        return [place, place, true, category, name, 0, 0]
    is_new = int(category >= len(base))
    return [f"img/{place}.png", true, category, name, is_new, f"{0.5 + place % 5 / 10:.4f}"]
