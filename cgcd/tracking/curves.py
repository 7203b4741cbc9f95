"""Accuracies over the stages, or of the parts of one, with floor and bound, as one picture."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

_LINES = (
    ("All", "accuracy/all", {"color": "black", "lw": 2.4, "marker": "o"}),
    ("Known", "accuracy/known", {"color": "tab:blue", "marker": "o", "ms": 4}),
    ("Novel", "accuracy/novel", {"color": "tab:orange", "marker": "o", "ms": 4}),
    ("Base", "accuracy/base", {"color": "tab:green", "marker": "o", "ms": 4}),
)
_BY_NAME = ("Base by name", "held/base", {"color": "tab:green", "ls": "--", "marker": "s", "ms": 4})
_BESIDE = (
    ("nearest mean", "floor/nearest_mean_all", {"color": "tab:gray", "ls": "--"}),
    ("k-means", "floor/kmeans_all", {"color": "tab:gray", "ls": ":"}),
    ("closed-set bound", "bound/closed_set_all", {"color": "tab:red", "ls": "-."}),
)


_STREAM_LINES = (
    ("strict All", "strict/all", {"color": "black", "lw": 2.4}),
    ("strict Known", "strict/known", {"color": "tab:blue"}),
    ("strict Novel", "strict/novel", {"color": "tab:orange"}),
    ("known by name", "identity/known", {"color": "tab:green"}),
    ("untrained leader, All", "floor/leader_strict_all", {"color": "tab:gray", "ls": "--"}),
    ("closed-set bound, All", "bound/closed_set_strict_all", {"color": "tab:red", "ls": "-."}),
    ("closed-set bound, Novel", "bound/closed_set_strict_novel", {"color": "tab:red", "ls": ":"}),
)


def draw_curves(results: Mapping[str, Any], path: Path) -> None:
    """The picture of a run, whatever its setting."""
    draws = {"online": draw_stream_curves, "single_stage": draw_part_bars}
    draws.get(results.get("setting", ""), draw_stage_curves)(results, path)


def draw_stream_curves(results: Mapping[str, Any], path: Path) -> None:
    """Write a PNG of a stream: running accuracies in percent, and categories over time.

    Args:
        results: content of `results.json`.
        path: of the picture; its suffix decides the format.
    """
    figure = Figure(figsize=(7, 6), layout="constrained")
    above, below = figure.subplots(2, 1, sharex=True, height_ratios=(2, 1))
    rows = results["windows"]
    seen = [row["stream/seen"] for row in rows]
    for title, key, style in _STREAM_LINES:
        if all(key in row for row in rows):
            above.plot(seen, [100 * row[key] for row in rows], label=title, **style)
    above.set(ylabel="accuracy so far (%)", ylim=(0, 102))
    above.set_title(_run_name(results))
    if above.lines:  # curves may be anywhere
        figure.legend(handles=above.lines, loc="outside lower center", ncols=3, fontsize=8)
    below.plot(seen, [row["stream/created"] for row in rows], color="black", label="created")
    if all("stream/true_novel" in row for row in rows):
        true = [row["stream/true_novel"] for row in rows]
        below.plot(seen, true, color="tab:green", ls="--", label="novel classes so far")
    below.set(xlabel="samples answered", ylabel="categories")
    below.legend(fontsize=8)
    for axes in (above, below):
        axes.grid(alpha=0.3)
    figure.savefig(path, dpi=110)


def draw_part_bars(results: Mapping[str, Any], path: Path) -> None:
    """Write a PNG of a single stage: All, Known, Novel of each part, with floors and bound.

    Args:
        results: content of `results.json`.
        path: of the picture; its suffix decides the format.
    """
    figure = Figure(figsize=(7, 4), layout="constrained")
    row, parts = results["stages"][0], list(results["parts"])
    panels = figure.subplots(1, len(parts), sharey=True, squeeze=False)[0]
    for axes, part in zip(panels, parts, strict=True):
        for place, (title, key, style) in enumerate(_LINES[:3]):
            value = row.get(f"{part}/{key}")
            if value is not None:
                bars = axes.bar(place, 100 * value, label=title, color=style["color"])
                axes.bar_label(bars, fmt="%.1f", fontsize=8)
        for title, key, style in _BESIDE:
            if f"{part}/{key}" in row:
                axes.axhline(100 * row[f"{part}/{key}"], label=f"{title}, All", **style)
        axes.set(title=f"{part}, {results['parts'][part]} samples", ylim=(0, 108))
        axes.set_xticks(range(3), [title for title, _, _ in _LINES[:3]])
        axes.grid(alpha=0.3, axis="y")
    panels[0].set(ylabel="accuracy (%)")
    if panels[0].containers:  # none where there is no truth
        figure.legend(handles=panels[0].lines, loc="outside lower center", ncols=3, fontsize=8)
    figure.suptitle(_run_name_and_count(results), fontsize=10)
    figure.savefig(path, dpi=110)


def draw_stage_curves(results: Mapping[str, Any], path: Path) -> None:
    """Write a PNG of a run's accuracies in percent over its stages.

    Args:
        results: content of `results.json`.
        path: of the picture; its suffix decides the format.
    """
    figure = Figure(figsize=(7, 4), layout="constrained")
    axes = figure.subplots()
    rows = results["stages"]
    without_truth = any("accuracy/all" not in row for row in rows)
    for title, key, style in (_BY_NAME,) if without_truth else (*_LINES, *_BESIDE):
        points = [(row["stage"], 100 * row[key]) for row in rows if key in row]
        if points:
            axes.plot(*zip(*points, strict=True), label=title, **style)
    axes.set(xlabel="stage", ylabel="accuracy (%)", ylim=(0, 102))
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.grid(alpha=0.3)
    axes.set_title(_run_name_and_count(results), fontsize=10)
    if axes.lines:  # none where there is no truth
        figure.legend(loc="outside lower center", ncols=4, fontsize=8)  # curves may be anywhere
    figure.savefig(path, dpi=110)


def _run_name(results: Mapping[str, Any]) -> str:
    return f"{results['strategy']} on {results['scenario']}, seed {results['seed']}"


def _run_name_and_count(results: Mapping[str, Any]) -> str:
    return f"{_run_name(results)} (number of novel classes: {results['num_novel']})"
