"""Accuracies over the stages with floor and bound, as one picture."""

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
_BESIDE = (
    ("nearest mean", "floor/nearest_mean_all", {"color": "tab:gray", "ls": "--"}),
    ("k-means", "floor/kmeans_all", {"color": "tab:gray", "ls": ":"}),
    ("closed-set bound", "bound/closed_set_all", {"color": "tab:red", "ls": "-."}),
)


def draw_stage_curves(results: Mapping[str, Any], path: Path) -> None:
    """Write a PNG of a run's accuracies in percent over its stages.

    Args:
        results: content of `results.json`.
        path: of the picture; its suffix decides the format.
    """
    figure = Figure(figsize=(7, 4), layout="constrained")
    axes = figure.subplots()
    for title, key, style in (*_LINES, *_BESIDE):
        points = [(row["stage"], 100 * row[key]) for row in results["stages"] if key in row]
        if points:
            axes.plot(*zip(*points, strict=True), label=title, **style)
    axes.set(xlabel="stage", ylabel="accuracy (%)", ylim=(0, 102))
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.grid(alpha=0.3)
    name = f"{results['strategy']} on {results['scenario']}, seed {results['seed']}"
    axes.set_title(f"{name} (number of novel classes: {results['num_novel']})", fontsize=10)
    if axes.lines:  # none where there is no truth
        axes.legend(loc="lower left", ncols=2, fontsize=8)
    figure.savefig(path, dpi=110)
