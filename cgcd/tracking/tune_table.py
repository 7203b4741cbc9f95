"""The tables of a comparison of settings, from plain data; needs no torch."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from cgcd.tracking.table import percent

HEADER = "    run  fold  score  seconds  candidate"
_SUMMARY_HEADER = "  mean    std  seconds  candidate"


def trial_row(trial: Any, number: int, total: int) -> str:
    """One candidate on one fold; percent; seconds."""
    name = " ".join(f"{key}={value}" for key, value in trial.values.items()) or "default"
    place = f"{number}/{total}"
    return f"{place:>7}  {trial.fold:>4}  {percent(trial.score):>5}  {trial.seconds:>7.1f}  {name}"


def tune_summary(results: Mapping[str, Any]) -> str:
    """Every candidate by falling mean, the floors, the best one and its command."""
    rows = results["table"]
    folds = len(rows[0]["folds"])
    lines = [
        f"mean and spread (n - 1) over {folds} fold{'s' if folds > 1 else ''} of "
        f"{results['score']}, percent",
        _SUMMARY_HEADER,
    ]
    for row in rows:
        seconds = "-" if row["seconds"] is None else f"{row['seconds']:.1f}"
        scores = f"{percent(row['mean']):>6} {percent(row['std']):>6}"
        floor = " (floor)" if row["kind"] == "floor" else ""
        lines.append(f"{scores}  {seconds:>7}  {row['name']}{floor}")
    for fold, names in enumerate(results["hidden_classes"]):
        lines.append(f"fold {fold} hid {_some(names)}")
    (default,) = (row for row in rows if row["kind"] == "default")
    if results["best"]:
        gains = [a - b for a, b in zip(rows[0]["folds"], default["folds"], strict=True)]
        each = ", ".join(f"{100 * gain:+.1f}" for gain in gains)
        lines.append(f"best beside the default, fold by fold: {each}")
    else:
        lines.append("nothing beats the default")
    if "command" in results:
        lines.append(f"to run it: {results['command']}")
    return "\n".join(lines)


def _some(names: list[str]) -> str:
    shown = ", ".join(names[:8])
    return shown if len(names) <= 8 else f"{shown} and {len(names) - 8} more"
