"""The stage table and the closing lines, from plain result rows; needs no torch."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

_COLUMNS = (
    ("All", "accuracy/all"),
    ("Known", "accuracy/known"),
    ("Novel", "accuracy/novel"),
    ("Base", "accuracy/base"),
    ("M_f", "forgetting/m_f"),
    ("bound", "bound/closed_set_all"),
)

_BASE_BY_NAME = "held/base"  # all that can be told of base classes where some truth is hidden

HEADER = "stage  known novel found" + "".join(f"{title:>7}" for title, _ in _COLUMNS) + "  seconds"


def table_row(row: Mapping[str, float]) -> str:
    """One stage: classes known before, new, predicted at least once; percent; seconds.

    Base is by name where there is no truth of the others: nobody can tell what took their place.
    M_f is the largest loss of base accuracy so far, bound what a model scores that discovers
    nothing.
    """
    stage = int(row["stage"])
    known = 0 if stage == 0 else int(row["stage/num_known"])
    novel = int(row["stage/num_classes"]) - known
    if "accuracy/all" not in row and _BASE_BY_NAME in row:
        row = {**row, "accuracy/base": row[_BASE_BY_NAME]}
    cells = "".join(f"{percent(row.get(key)):>7}" for _, key in _COLUMNS)
    counts = f"{stage:>5}  {known:>5} {novel:>5} {int(row['stage/found']):>5}"
    return f"{counts}{cells}  {row['seconds']:>7.1f}"


def table(rows: Sequence[Mapping[str, float]]) -> str:
    """Header and all rows."""
    return "\n".join([HEADER, *map(table_row, rows)])


def summary(results: Mapping[str, Any]) -> str:
    """Headline, floors and bound of `results.json`, averaged over the continual stages."""
    rows = results["stages"][1:]
    value = results["headline"]["value"]
    lines = []
    if value is None:
        lines.append("no truth, no accuracies: see predictions/")
        last = results["stages"][-1]
        if "base_test" in results and _BASE_BY_NAME in last:
            lines.append(
                f"base classes by name at the end: {percent(last[_BASE_BY_NAME])} % of the "
                f"{results['composition'][0]['test']} {results['base_test']}"
            )
    else:
        lines.append(f"headline: All {percent(value)} % = {results['headline']['definition']}")
        beside = [
            f"{title} {percent(_mean(rows, key))}"
            for title, key in (
                ("plain k-means of the start features", "floor/kmeans_all"),
                ("their nearest means with k-means", "floor/nearest_mean_all"),
                ("closed-set bound", "bound/closed_set_all"),
            )
            if _mean(rows, key) is not None
        ]
        if beside:
            lines.append("for scale: " + ", ".join(beside))
        for name, key in (
            ("k-means", "floor/kmeans_all"),
            ("nearest mean", "floor/nearest_mean_all"),
        ):
            lost = [int(r["stage"]) for r in rows if r.get(key, -1.0) > r["accuracy/all"]]
            if lost:
                lines.append(f"{name} scores higher at stage {', '.join(map(str, lost))}")
    return "\n".join([*lines, count_line(results)])


def estimate_text(count: Mapping[str, Any]) -> str:
    """An estimate, and what was counted where that is less than the one class there must be."""
    estimated = count["estimated"]
    counted = count.get("counted", estimated)
    return str(estimated) if counted == estimated else f"{estimated} (counted {counted})"


def count_line(results: Mapping[str, Any]) -> str:
    """How the number of novel classes was known; where it was estimated, every estimate."""
    line = f"number of novel classes: {results['num_novel']}"
    counts = results.get("counts", [])
    if counts:
        line += ", by stage " + ", ".join(map(estimate_text, counts))
        chosen = {count["estimator"] for count in counts}
        if chosen != {results["num_novel"].removeprefix("estimated (").removesuffix(")")}:
            line += f", chosen estimator {', '.join(sorted(chosen))}"
    counted = {count["stage"] for count in counts}
    true = [
        int(row["stage/num_novel_true"])
        for row in results["stages"]
        if "stage/num_novel_true" in row and row["stage"] in counted
    ]
    return f"{line}; in truth {', '.join(map(str, true))}" if true else line


def _mean(rows: Sequence[Mapping[str, float]], key: str) -> float | None:
    values = [row[key] for row in rows if key in row]
    return sum(values) / len(values) if values else None


def percent(value: float | None) -> str:
    """A fraction as percent, "-" where there is none."""
    return "-" if value is None else f"{100 * value:.1f}"
