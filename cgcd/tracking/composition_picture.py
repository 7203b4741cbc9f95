"""The composition of a stream as one picture: classes by stages, labeled samples in orange."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib import colormaps
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Colormap, ListedColormap, LogNorm
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from cgcd.tracking.composition import StageCounts, class_matrix

_FINE = 24  # pixels across a stage, so that a mixed cell shows the share of its labels
_MOST_NAMES = 40  # classes up to which each has its name beside it
_MOST_NUMBERS = 20  # classes up to which each cell has its number in it


def draw_composition(
    counts: Sequence[StageCounts], class_names: Sequence[str], title: str, path: Path
) -> None:
    """Write a picture of how many samples of each class each stage holds.

    Blue is unlabeled, orange labeled, white nothing, both on one logarithmic scale; a mixed cell is
    orange as far as its share of labels goes. A line marks where the classes of a stage begin. Blue
    and orange stay apart for all common kinds of color blindness.

    Args:
        counts: of every stage.
        class_names: by row.
        title: above the picture.
        path: of the picture; its suffix decides the format.
    """
    matrix = class_matrix(counts)
    if matrix is None:
        matrix = np.zeros((1, len(counts), 2), dtype=np.int64)
    num_classes, num_stages = matrix.shape[:2]
    height = float(np.clip(0.32 * num_classes, 2.2, 9.0)) + 1.6
    width = float(np.clip(0.95 * num_stages, 1.4, 14.0)) + 3.6
    figure = Figure(figsize=(width, height), layout="constrained")
    axes = figure.subplots()
    norm = LogNorm(1, max(2, int(matrix[..., 1].max())))
    blue, orange = _shades("Blues"), _shades("Oranges")
    axes.imshow(
        _pixels(matrix, norm, blue, orange),
        aspect="auto",
        interpolation="nearest" if num_classes <= 1000 else "antialiased",
        extent=(-0.5, num_stages - 0.5, num_classes - 0.5, -0.5),
    )
    if num_classes <= _MOST_NUMBERS and num_stages <= _MOST_NUMBERS:
        _write_numbers(axes, matrix, norm)
    for place in range(1, num_stages):
        axes.axvline(place - 0.5, color="white", lw=2 if num_stages <= 40 else 0.5)
    starts = {row.num_known for row in counts if row.num_known}
    for start in starts - {num_classes}:
        axes.axhline(start - 0.5, color="black", lw=0.8 if len(starts) <= 40 else 0.3)
    _label_axes(axes, counts, class_names[:num_classes])
    axes.set_title(title, fontsize=10)
    most = int(norm.vmax)
    ticks = [10**power for power in range(len(str(most))) if 10**power < 0.7 * most] + [most]
    for shades, name in ((blue, "unlabeled"), (orange, "labeled")):
        bar = figure.colorbar(ScalarMappable(norm, shades), ax=axes, fraction=0.05, pad=0.02)
        bar.set_ticks(ticks, labels=[str(tick) for tick in ticks], fontsize=7)
        bar.ax.minorticks_off()
        bar.ax.set_title(name, fontsize=7)
        bar.set_label("samples of a class" if name == "unlabeled" else "", fontsize=8)
    figure.savefig(path, dpi=120)


def _shades(name: str) -> Colormap:
    """From a tint that is told from white to a shade that is told from the other color's."""
    return ListedColormap(colormaps[name](np.linspace(0.2, 0.85, 256)))


def _pixels(matrix: np.ndarray, norm: LogNorm, blue: Colormap, orange: Colormap) -> np.ndarray:
    """RGB values of every class and of `_FINE` places across every stage, (K, T * _FINE, 3)."""
    labeled, total = matrix[..., 0], matrix[..., 1]
    depth = norm(np.maximum(total, 1))
    share = np.where(total > 0, labeled / np.maximum(total, 1), 0.0)
    across = (np.arange(_FINE) + 0.5) / _FINE
    is_orange = across < share[..., None]  # (K, T, _FINE)
    colors = np.where(
        is_orange[..., None], orange(depth)[..., None, :3], blue(depth)[..., None, :3]
    )
    colors[total == 0] = 1.0
    return colors.reshape(len(matrix), -1, 3)


def _write_numbers(axes: Any, matrix: np.ndarray, norm: LogNorm) -> None:
    for row, cells in enumerate(matrix.tolist()):
        for place, (labeled, total) in enumerate(cells):
            if total:
                text = f"{labeled}+{total - labeled}" if 0 < labeled < total else str(total)
                dark = float(norm(max(total, 1))) > 0.55
                color = "white" if dark else "black"
                axes.text(place, row, text, ha="center", va="center", fontsize=8, color=color)


def _label_axes(axes: Any, counts: Sequence[StageCounts], names: Sequence[str]) -> None:
    if len(counts) <= 12:
        ticks = [f"{c.index}\n{c.labeled} labeled\n{c.unlabeled} unlabeled" for c in counts]
        axes.set_xticks(range(len(counts)), ticks, fontsize=7)
    else:
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.set_xlabel("stage")
    if 0 < len(names) <= _MOST_NAMES:
        plain = [" ".join(str(name).split()).replace("$", r"\$") for name in names]
        axes.set_yticks(range(len(names)), [n if len(n) <= 20 else f"{n[:17]}..." for n in plain])
        axes.tick_params(axis="y", labelsize=8)
    else:
        axes.yaxis.set_major_locator(MaxNLocator(integer=True))
    axes.set_ylabel("class, in the order in which the stages bring them")
