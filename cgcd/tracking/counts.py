"""The evidence for the number of novel classes, where it was estimated, as one picture."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from cgcd.tracking.table import estimate_text


def draw_counts(results: Mapping[str, Any], path: Path) -> None:
    """Write the picture of `counts_figure`; the suffix of the path decides the format."""
    counts_figure(results).savefig(path, dpi=110)


def counts_figure(results: Mapping[str, Any]) -> Figure:
    """For each stage, the estimator's curves over the numbers that were tried.

    A solid line stands at the estimate, a dashed one at the truth where there is one. Curves of
    other units share a panel, each drawn between its own least and largest value.

    Args:
        results: content of `results.json` with `counts`.
    """
    counts = results["counts"]
    true = {int(row["stage"]): row.get("stage/num_novel_true") for row in results["stages"]}
    figure = Figure(figsize=(3.2 * len(counts) + 0.6, 3.2), layout="constrained")
    panels = figure.subplots(1, len(counts), squeeze=False)[0]
    for axes, count in zip(panels, counts, strict=True):
        for name, scores in count["scores"].items():
            numbers = [s for s in scores if s == s and abs(s) != float("inf")]
            low, high = min(numbers, default=0.0), max(numbers, default=1.0)
            span = (high - low) or 1.0
            heights = [(score - low) / span for score in scores]
            axes.plot(count["candidates"], heights, marker="o", ms=3, label=name)
        axes.axvline(count["estimated"], color="black", label="estimated")
        truth = true.get(count["stage"])
        if truth is not None:
            axes.axvline(truth, color="tab:green", ls="--", label="in truth")
        axes.set(title=f"stage {count['stage']}: {estimate_text(count)}", xlabel="novel classes")
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        axes.set_yticks([0, 1], ["least", "largest"])
        axes.grid(alpha=0.3)
    panels[0].legend(fontsize=7)
    name = f"{results['strategy']} on {results['scenario']}, seed {results['seed']}"
    figure.suptitle(f"{name}: counted by {counts[-1]['estimator']}", fontsize=10)
    return figure
