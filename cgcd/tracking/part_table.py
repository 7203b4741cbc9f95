"""The table of a single stage: a line a part, the method beside its floors and its bound."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from cgcd.tracking.table import count_line, percent

PARTS = {"unlabeled": "unlabeled training samples", "test": "test samples"}

_COLUMNS = (
    ("All", "accuracy/all"),
    ("Known", "accuracy/known"),
    ("Novel", "accuracy/novel"),
    ("NMI", "agreement/nmi"),
    ("k-means", "floor/kmeans_all"),
    ("nearest", "floor/nearest_mean_all"),
    ("bound", "bound/closed_set_all"),
)

HEADER = "part       known novel found" + "".join(f"{t:>8}" for t, _ in _COLUMNS) + "  seconds"


def is_part_row(row: Mapping[str, float]) -> bool:
    """The row is that of a single stage and its numbers name their part."""
    return "unlabeled/count/found" in row


def part_rows(row: Mapping[str, float]) -> str:
    """A line a part: labeled classes, novel ones, categories with a sample of it; percent; seconds.

    `k-means` and `nearest` are the floors' All, `bound` that of what discovers nothing; the seconds
    are those of the training and of both parts.
    """
    known = int(row["stage/num_known"])
    novel = int(row["stage/num_classes"]) - known
    lines: list[str] = []
    for part in PARTS:
        if f"{part}/count/found" not in row:
            continue
        cells = "".join(f"{percent(row.get(f'{part}/{key}')):>8}" for _, key in _COLUMNS)
        counts = f"{part:<9}  {known:>5} {novel:>5} {int(row[f'{part}/count/found']):>5}"
        seconds = f"{row['seconds']:>9.1f}" if not lines else ""
        lines.append(f"{counts}{cells}{seconds}".rstrip())
    return "\n".join(lines)


def part_summary(results: Mapping[str, Any]) -> str:
    """Headline, what is better or worse for scale, and how the number of classes was known."""
    row = results["stages"][0]
    lines = []
    if results["headline"]["value"] is None:
        lines.append("no truth, no accuracies: see predictions/unlabeled.csv")
    else:
        lines.append(
            f"headline: All {percent(results['headline']['value'])} % = "
            f"{results['headline']['definition']}"
        )
    for part, title in PARTS.items():
        all_, groups = row.get(f"{part}/accuracy/all"), []
        if all_ is None:
            continue
        for name, front in (
            (results["strategy"], "accuracy/"),
            ("k-means of the start features", "floor/kmeans_"),
            ("their nearest means with k-means", "floor/nearest_mean_"),
            ("closed-set bound", "bound/closed_set_"),
        ):
            scores = [row.get(f"{part}/{front}{group}") for group in ("all", "known", "novel")]
            if scores[0] is not None:
                groups.append(f"  {name:<34}" + " / ".join(f"{percent(s):>5}" for s in scores))
        lines += [f"{results['parts'][part]} {title}, All / Known / Novel:", *groups]
        for name, key in (("k-means", "kmeans"), ("nearest mean", "nearest_mean")):
            if row.get(f"{part}/floor/{key}_all", -1.0) > all_:
                lines.append(f"  {name} scores higher")
    novel = int(row["stage/num_classes"] - row["stage/num_known"])
    if "counts" in results:
        lines.append(count_line(results))
    else:
        true = results.get("true_novel")
        truth = "" if true is None else f"; in truth {true}"
        lines.append(f"number of novel classes: {results['num_novel']}, {novel}{truth}")
    return "\n".join(lines)
