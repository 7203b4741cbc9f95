"""Pictures of an analysis: class by stage, who is taken for whom, how sure, how far it moved.

Every picture is a matplotlib figure, legible for ten classes and for a hundred. The colors are
those of Okabe and Ito and the map cividis, which color-blind readers tell apart.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Iterable, Sequence
from functools import cache
from typing import Any

import numpy as np
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.collections import PathCollection
from matplotlib.colors import Normalize, PowerNorm
from matplotlib.figure import Figure
from matplotlib.path import Path
from matplotlib.textpath import TextPath
from matplotlib.ticker import MaxNLocator
from matplotlib.transforms import Affine2D, Bbox

from cgcd.tracking.analysis import Analysis
from cgcd.tracking.names import drawn

BLUE, ORANGE, GREEN, GRAY = "#0072B2", "#E69F00", "#009E73", "#999999"
_DPI = 100
_MAP = colormaps["cividis"].with_extremes(bad="0.92")  # gray where nothing was measured
_ROW, _FEW = 0.17, 20  # inches of a labeled row; up to so many rows their cells hold numbers
_FEW_ROW = 0.32
_MOST_LABELS = 120
_ASCENT = 5.1  # points that a digit of the labels is high
_LETTER, _PAD = 0.072, 0.05  # inches of a letter of the labels, and from them to the map
_UPRIGHT: dict[str, Any] = {"fontsize": 8, "rotation": 90, "va": "center"}
_LEAST_SHOWN = 0.005  # what would read 0 is left empty, and nan
_QUARTERS = (0.0, 0.25, 0.5, 0.75, 1.0)  # every tick costs as much as a curve
_GROUPS = (("base", BLUE), ("earlier", GREEN), ("novel", ORANGE))


def pictures(analysis: Analysis) -> dict[str, Callable[[], Figure]]:
    """What can be drawn of an analysis, by name."""
    arrays = analysis.arrays
    possible: dict[str, tuple[str, Callable[[Analysis], Figure]]] = {
        "class_accuracy": ("class_accuracy", class_accuracy),
        "group_accuracy": ("group_accuracy", group_accuracy),
        "confusion": ("contingency", confusion),
        "prediction_bias": ("prediction_shares", prediction_bias),
        "confidence": ("confidence_all", confidence),
        "drift": ("direction_drift", drift),
    }
    return {
        name: lambda draw=draw: draw(analysis)  # type: ignore[misc]
        for name, (key, draw) in possible.items()
        if key in arrays
    }


def class_accuracy(analysis: Analysis) -> Figure:
    """Accuracy of each class after each stage, in percent."""
    names = [drawn(name) for name in analysis.facts["class_names"]]
    values = 100 * analysis.arrays["class_accuracy"]
    columns = [drawn(column) for column in analysis.facts["columns"]]
    how = "by matching" if analysis.facts["truth"] == "all" else "by its own row"
    title = f"Accuracy of each class, %, {how}"
    return _heat_map(values, names, columns, title, _axis_title(analysis), "class")


def group_accuracy(analysis: Analysis) -> Figure:
    """Accuracy on the classes of each stage (columns) after each stage (rows), in percent."""
    values = 100 * analysis.arrays["group_accuracy"]
    rows = [f"{_axis_title(analysis)} {drawn(c)}" for c in analysis.facts["columns"]]
    columns = [drawn(name) for name in analysis.facts["group_names"]]
    title = "Discovery (diagonal) and forgetting, %"
    return _heat_map(values, rows, columns, title, "classes first met", "")


def confusion(analysis: Analysis) -> Figure:
    """Share of each true class in each category, matched pairs on the diagonal, in percent."""
    arrays, facts = analysis.arrays, analysis.facts
    order, classes = arrays["row_order"], arrays["class_order"]
    counts = arrays["contingency"][order][:, classes]
    filled = counts.any(1)
    filled[np.cumsum(filled) > 2 * counts.shape[1] + 5] = False  # a stream may open thousands
    order, counts = order[filled], counts[filled]
    shares = 100 * counts / np.maximum(counts.sum(0), 1)
    rows = [drawn(facts["category_names"][k]) for k in order]
    columns = [drawn(facts["class_names"][c]) for c in classes]
    title = "Where the samples of each true class went, %"
    return _heat_map(shares.T, columns, rows, title, "category", "true class", square=True)


def prediction_bias(analysis: Analysis) -> Figure:
    """Share of base, earlier and novel classes among truth and predictions, stage by stage."""
    columns = analysis.facts["columns"]
    figure = Figure(figsize=(max(5.0, 1.6 + 0.75 * len(columns)), 3.6), dpi=_DPI)
    axes = figure.subplots()
    sides = [("predicted", analysis.arrays["prediction_shares"], 0.2, "")]
    if "truth_shares" in analysis.arrays:
        sides.insert(0, ("in truth", analysis.arrays["truth_shares"], -0.2, "///"))
    places = np.arange(len(columns))
    for side, shares, offset, hatch in sides:
        bottom = np.zeros(len(columns))
        for group, (name, color) in enumerate(_GROUPS):
            heights = np.nan_to_num(100 * shares[:, group])
            axes.bar(
                places + (offset if len(sides) > 1 else 0.0),
                heights,
                0.36,
                bottom,
                label=f"{name}, {side}",
                color=color,
                hatch=hatch,
                edgecolor="white",
            )
            bottom += heights
    axes.set(xlabel=_axis_title(analysis), ylabel="share of the samples, %", ylim=(0, 100))
    axes.set_xticks(places, [drawn(column) for column in columns])
    axes.set_yticks([100 * share for share in _QUARTERS])
    axes.set_title("What is predicted, beside what is there", fontsize=10)
    figure.subplots_adjust(left=0.62 / figure.get_figwidth(), right=0.97, top=0.9, bottom=0.28)
    figure.legend(loc="lower center", ncols=3, fontsize=7)
    return figure


def confidence(analysis: Analysis) -> Figure:
    """Histograms of confidence and novelty score, of known and novel classes where known."""
    arrays = analysis.arrays
    figure = Figure(figsize=(4.6, 5.2), dpi=_DPI)
    panels = figure.subplots(2, 1)
    titles = ("confidence: largest probability", "novelty: entropy of the prediction / log K")
    for axes, name, title in zip(panels, ("confidence", "novelty"), titles, strict=True):
        parts = [("known", BLUE, "-"), ("novel", ORANGE, "--")]
        if f"{name}_known" not in arrays:
            parts = [("all", GRAY, "-")]
        for part, color, style in parts:
            counts = arrays[f"{name}_{part}"]
            if counts.sum():
                shares = 100 * counts / counts.sum()
                label = f"{part} ({counts.sum()})"
                axes.stairs(shares, arrays["bins"], color=color, ls=style, lw=2, label=label)
        axes.set(xlim=(0, 1), xlabel=title)
        axes.set_xticks(_QUARTERS)
        axes.yaxis.set_major_locator(MaxNLocator(4))
        axes.grid(alpha=0.3)
        axes.legend(fontsize=8)
    for axes in panels:
        axes.set(ylabel="share of the samples, %")
    figure.subplots_adjust(left=0.13, right=0.96, top=0.97, bottom=0.1, hspace=0.3)
    return figure


def drift(analysis: Analysis) -> Figure:
    """Cosine of each head direction, and of each class's mean feature, to its first one."""
    facts, arrays = analysis.facts, analysis.arrays
    tables = [("head direction of the category", arrays["direction_drift"], "category_names")]
    if "mean_drift" in arrays:
        tables.append(("mean feature of the true class", arrays["mean_drift"], "class_names"))
    columns = [drawn(column) for column in facts["columns"]]
    low = min(0.9, float(np.nanmin([np.nanmin(values) for _, values, _ in tables])))
    labels = [[drawn(name, 16) for name in facts[names]] for _, _, names in tables]
    heights = [_rows_height(len(values)) for _, values, _ in tables]
    cell = 0.45 if max(len(v) for _, v, _ in tables) <= _FEW else 0.3
    width = cell * len(columns)
    margin = 0.3 + max(map(_longest, labels))
    figure = Figure(
        figsize=(len(tables) * (margin + max(width, 1.9)) + 0.9, max(heights) + 1.1), dpi=_DPI
    )
    total_width, total = figure.get_size_inches()
    for place, (title, values, _) in enumerate(tables):
        left = margin + place * (margin + max(width, 1.9))
        axes = figure.add_axes(
            (
                left / total_width,
                (0.55 + max(heights) - heights[place]) / total,
                width / total_width,
                heights[place] / total,
            )
        )
        _cells(axes, values, labels[place], columns, Normalize(low, 1.0), "{:.2f}")
        middle, top = (left + width / 2) / total_width, 1 - 0.45 / total
        figure.text(middle, 0.1 / total, _axis_title(analysis), fontsize=8, ha="center")
        figure.text(left / total_width, top, f"Drift: {title}", fontsize=8)
        if place + 1 == len(tables):
            _color_bar(axes, Normalize(low, 1.0), "{:.2f}")
    return figure


def png(figure: Figure) -> bytes:
    """The figure as a PNG."""
    file = io.BytesIO()
    figure.savefig(file, format="png", dpi=_DPI, pil_kwargs={"compress_level": 1})
    return file.getvalue()


def _axis_title(analysis: Analysis) -> str:
    titles = {"online": "samples answered", "single_stage": "part"}
    return titles.get(analysis.facts["setting"], "stage")


def _rows_height(count: int) -> float:
    return count * _FEW_ROW if count <= _FEW else min(count, _MOST_LABELS) * _ROW


def _heat_map(
    values: np.ndarray,
    rows: Sequence[str],
    columns: Sequence[str],
    title: str,
    x_title: str,
    y_title: str,
    square: bool = False,
) -> Figure:
    """Percentages as a map, as large as its labels need."""
    height = max(_rows_height(len(rows)), 0.9)
    many = max(len(rows), len(columns) if square else 0) > _FEW
    cell = (0.17 if square else 0.34) if many else 0.42
    width = max(min(len(columns), _MOST_LABELS) * cell, 0.42)
    left = 0.45 + _longest(rows)
    bottom = 0.4 + (_longest(columns) if _is_upright(columns, cell) else 0.12)
    total_width = max(left + width + 0.7, 0.3 + 0.075 * len(title))
    total = height + bottom + 0.35
    figure = Figure(figsize=(total_width, total), dpi=_DPI)
    axes = figure.add_axes(
        (left / total_width, bottom / total, width / total_width, height / total)
    )
    norm = PowerNorm(0.6, 0, 100) if square else Normalize(0, 100)  # small shares must be seen
    _cells(axes, values, rows, columns, norm, "{:.0f}")
    _color_bar(axes, norm, "{:.0f}")
    middle = (left + width / 2) / total_width
    figure.text(middle, 0.1 / total, x_title, fontsize=8, ha="center")
    figure.text(0.1 / total_width, (bottom + height / 2) / total, y_title, **_UPRIGHT)
    figure.text(0.1 / total_width, 1 - 0.22 / total, title, fontsize=9)
    return figure


def _cells(
    axes: Axes,
    values: np.ndarray,
    rows: Sequence[str],
    columns: Sequence[str],
    norm: Normalize,
    number: str,
) -> None:
    """The map with its labels: a hundred ticks cost ten times as much."""
    axes.imshow(values, cmap=_MAP, norm=norm, aspect="auto")
    axes.set_axis_off()
    box = _inches(axes)
    left = -0.5 - _PAD * len(columns) / box.width
    below = len(rows) - 0.5 + _PAD * len(rows) / box.height
    upright = _is_upright(columns, box.width / len(columns))
    _outlines(
        axes,
        [(left, place, _outline(name, "right")) for place, name in _spread(rows)]
        + [(place, below, _outline(name, "below", upright)) for place, name in _spread(columns)],
    )
    if max(values.shape) <= _FEW:
        _numbers(axes, values, norm, number)


def _numbers(axes: Axes, values: np.ndarray, norm: Normalize, number: str) -> None:
    """Every cell's number."""
    cells, shades = np.argwhere(values >= _LEAST_SHOWN).tolist(), np.asarray(norm(values))
    _outlines(
        axes,
        [(column, row, _outline(number.format(values[row, column]))) for row, column in cells],
        ["white" if shades[row, column] < 0.5 else "black" for row, column in cells],
    )


def _outlines(
    axes: Axes, placed: Sequence[tuple[float, float, Path]], colors: Sequence[str] = ("black",)
) -> None:
    """Letters at places of the map, all in one artist: as texts they would take many times as long.

    Args:
        placed: x, y and outline of each.
        colors: of each, or one of all.
    """
    axes.add_collection(
        PathCollection(
            [path for _, _, path in placed],
            facecolors=colors,
            linewidths=0,
            offsets=[(x, y) for x, y, _ in placed],
            offset_transform=axes.transData,
            transform=Affine2D().scale(1 / 72) + axes.figure.dpi_scale_trans,
            clip_on=False,
        ),
        autolim=False,
    )


@cache
def _outline(text: str, side: str = "middle", upright: bool = False) -> Path:
    """Of a text's letters, in points about where it stands.

    Args:
        text: one line, not blank.
        side: of the text at which that is: its middle, its left or right end, or "below" the place.
        upright: turned to be read from below.
    """
    path = TextPath((0, 0), text, size=7)
    if upright:
        path = Affine2D().rotate_deg(90).transform_path(path)
    box = path.get_extents()
    if side == "middle":
        x, y = (box.x0 + box.x1) / 2, (box.y0 + box.y1) / 2
    elif side == "below":
        x, y = (box.x0 + box.x1) / 2, box.y1 if upright else _ASCENT
    else:
        x, y = box.x0 if side == "left" else box.x1, _ASCENT / 2
    return Affine2D().translate(-x, -y).transform_path(path)


def _color_bar(axes: Axes, norm: Normalize, number: str) -> None:
    """What the colors of a map mean, on its right; axes of its own would double the time."""
    low, high = float(norm.vmin or 0.0), float(norm.vmax or 1.0)
    box, limits = _inches(axes), (axes.get_xlim(), axes.get_ylim())
    (_, right), (bottom, top) = limits
    width, height = right + 0.5, bottom - top
    inch, share = width / box.width, min(1.0, 4.0 / box.height)
    left, end = right + 0.12 * inch, right + 0.27 * inch
    shades = np.linspace(1.0, 0.0, 128)[:, None]
    bar = axes.imshow(
        shades,
        cmap=_MAP,
        norm=Normalize(0.0, 1.0),
        aspect="auto",
        extent=(left, end, bottom, bottom - share * height),
    )
    bar.set_clip_on(False)
    ticks = MaxNLocator(5, steps=[1, 2, 5, 10]).tick_values(low, high)
    _outlines(
        axes,
        [
            (
                end + 0.05 * inch,
                bottom - share * height * float(norm(value)),
                _outline(number.format(value), "left"),
            )
            for value in ticks
            if low <= value <= high
        ],
    )
    axes.set(xlim=limits[0], ylim=limits[1])


def _inches(axes: Axes) -> Bbox:
    return axes.get_window_extent().transformed(axes.figure.dpi_scale_trans.inverted())


def _spread(names: Sequence[str]) -> Iterable[tuple[int, str]]:
    """Places and names, every n-th where there are too many to read; a blank name is none."""
    step = -(-len(names) // _MOST_LABELS)
    return [(place, name) for place, name in list(enumerate(names))[::step] if name.strip()]


def _is_upright(names: Sequence[str], width: float) -> bool:
    return _longest(names) > width


def _longest(names: Sequence[str]) -> float:
    """Inches of the longest name."""
    return _LETTER * max(map(len, names), default=0)
