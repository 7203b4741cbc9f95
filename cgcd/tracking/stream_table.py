"""The table of a stream: a line a window, and at the end the method beside its bound and floor."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from cgcd.tracking.table import percent

HEADER = (
    "   seen  categories  opened    All  Known  Novel greedy  named  false  bound leader  seconds"
)
_COLUMNS = (
    "strict/all",
    "strict/known",
    "strict/novel",
    "greedy/all",
    "identity/known",
    "identity/false_known",
    "bound/closed_set_strict_all",
    "floor/leader_strict_all",
)
_BESIDE = (
    ("", ""),
    ("closed-set bound", "bound/closed_set_"),
    ("untrained leader", "floor/leader_"),
)


def stream_row(row: Mapping[str, float]) -> str:
    """One window: percent of the stream so far; `opened` of the window alone.

    `named` is the share of known samples that got the name of their class, `false` that of novel
    samples that got the name of a known one.
    """
    cells = "".join(f"{percent(row.get(key)):>7}" for key in _COLUMNS)
    counts = f"{int(row['stream/seen']):>7}  {int(row['stream/categories']):>10}"
    return f"{counts}  {percent(row['stream/opened']):>6}{cells}  {row['seconds']:>7.1f}"


def stream_summary(results: Mapping[str, Any]) -> str:
    """All dialects over the whole stream for the method, its bound and its floor."""
    row = results["stages"][-1]
    created, known = int(row["stream/created"]), int(row["stream/num_known"])
    lines = []
    if results["headline"]["value"] is None:
        lines.append("no truth, no accuracies: see predictions/stream.csv")
    else:
        title = f"{results['strategy']}, {int(row['stream/seen'])} samples"
        lines += [
            f"headline: All {percent(results['headline']['value'])} % = "
            f"{results['headline']['definition']}",
            f"{title:<26}    strict All/Known/Novel    pruned A/K/N         greedy A/K/N       "
            "named  false  created",
        ]
        for name, front in _BESIDE:
            if f"{front}{'strict_all' if front else 'strict/all'}" in row:
                lines.append(_line(name or results["strategy"], front, row))
        lines.append(
            f"categories created: {created}, true novel classes: {int(row['stream/true_novel'])}"
        )
    for part in ("codes", "thresholds"):
        if results.get(part):
            told = ", ".join(f"{name} {value}" for name, value in results[part].items())
            lines.append(f"{part}: {told}")
    lines.append(f"known classes: {known}; the number of novel ones is told to nobody")
    rule = str(results.get("codes", {}).get("rule", ""))
    if rule.startswith("oracle"):
        lines[-1] = f"known classes: {known}; {rule}"
    return "\n".join(lines)


def _line(name: str, front: str, row: Mapping[str, float]) -> str:
    between = "_" if front else "/"

    def cell(*parts: str) -> str:
        return percent(row.get(front + between.join(parts)))

    groups = [
        " / ".join(f"{cell(dialect, group):>5}" for group in ("all", "known", "novel"))
        for dialect in ("strict", "pruned", "greedy")
    ]
    created = row.get("stream/created" if not front else f"{front}created", 0)
    rates = f"{cell('identity', 'known'):>6} {cell('identity', 'false_known'):>6}"
    return f"  {name:<26}  " + "  ".join(groups) + f" {rates}  {int(created):>7}"
