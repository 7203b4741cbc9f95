"""Pictures of an analysis: class by stage, who is taken for whom, how sure, how far it moved.

Every picture is a matplotlib figure, legible for ten classes and for a hundred. The colors are
those of Okabe and Ito and the map cividis, which color-blind readers tell apart.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Iterable, Sequence

import numpy as np
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import Normalize, PowerNorm
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from PIL import Image

from cgcd.tracking.analysis import Analysis
from cgcd.tracking.charts import draw_bars, draw_frame, draw_key, draw_steps
from cgcd.tracking.names import drawn
from cgcd.tracking.outlines import draw_outlines, draw_titles, inches, outline

BLUE, ORANGE, GREEN, GRAY = "#0072B2", "#E69F00", "#009E73", "#999999"
_DPI = 100
_MAP = colormaps["cividis"].with_extremes(bad="0.92")  # gray where nothing was measured
_ROW, _FEW = 0.17, 20  # inches of a labeled row; up to so many rows their cells hold numbers
_FEW_ROW = 0.32
_MOST_LABELS = 120
_LETTER, _PAD = 0.072, 0.05  # inches of a letter of the labels, and from them to the map
_BELOW = 0.15  # inches from the lower edge to the middle of a title there
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
    figure.subplots_adjust(left=0.62 / figure.get_figwidth(), right=0.97, top=0.9, bottom=0.29)
    axes.set(xlim=(-0.65, len(columns) - 0.35), ylim=(0, 100))
    sides = [("predicted", analysis.arrays["prediction_shares"], 0.2, "")]
    if "truth_shares" in analysis.arrays:
        sides.insert(0, ("in truth", analysis.arrays["truth_shares"], -0.2, "///"))
    for place, (side, shares, offset, hatch) in enumerate(sides):
        ends = np.cumsum(np.nan_to_num(100 * shares), axis=1)
        middle = np.arange(len(columns)) + (offset if len(sides) > 1 else 0.0)
        bars = [
            (x - 0.18, x + 0.18, end[group - 1] if group else 0.0, end[group], color)
            for x, end in zip(middle, ends, strict=True)
            for group, (_, color) in enumerate(_GROUPS)
        ]
        draw_bars(axes, bars, hatch)
        names = [(f"{group}, {side}", color) for group, color in _GROUPS]
        draw_key(axes, names, 0.56 + 0.17 * place, hatch)
    draw_frame(
        axes,
        list(enumerate(drawn(column) for column in columns)),
        [(100 * share, f"{100 * share:.0f}") for share in _QUARTERS],
        _axis_title(analysis),
        "share of the samples, %",
        "What is predicted, beside what is there",
    )
    return figure


def confidence(analysis: Analysis) -> Figure:
    """Histograms of confidence and novelty score, of known and novel classes where known."""
    arrays = analysis.arrays
    figure = Figure(figsize=(4.6, 5.2), dpi=_DPI)
    panels = figure.subplots(2, 1)
    titles = ("confidence: largest probability", "novelty: entropy of the prediction / log K")
    figure.subplots_adjust(left=0.13, right=0.96, top=0.95, bottom=0.09, hspace=0.36)
    for axes, name, title in zip(panels, ("confidence", "novelty"), titles, strict=True):
        parts = [("known", BLUE, "solid"), ("novel", ORANGE, "dashed")]
        if f"{name}_known" not in arrays:
            parts = [("all", GRAY, "solid")]
        steps = []
        for part, color, style in parts:
            counts = arrays[f"{name}_{part}"]
            if counts.sum():
                shares = 100 * counts / counts.sum()
                steps.append((f"{part} ({counts.sum()})", shares, color, style))
        highest = max((float(shares.max()) for _, shares, _, _ in steps), default=1.0)
        axes.set(xlim=(0, 1), ylim=(0, 1.05 * highest))
        heights = [h for h in MaxNLocator(4).tick_values(0, highest) if h <= 1.05 * highest]
        draw_frame(
            axes,
            [(share, f"{share:.2f}") for share in _QUARTERS],
            [(height, f"{height:g}") for height in heights],
            title,
            "share of the samples, %",
            grid=True,
        )
        draw_steps(axes, arrays["bins"], steps)
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
    titles = []
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
        titles.append((left + width / 2, _BELOW, outline(_axis_title(analysis), size=8)))
        titles.append((left, total - 0.41, outline(f"Drift: {title}", "left", size=8)))
        if place + 1 == len(tables):
            _color_bar(axes, Normalize(low, 1.0), "{:.2f}")
    draw_titles(figure, titles)
    return figure


def png(figure: Figure) -> bytes:
    """The figure as a PNG of a palette: a third of the bytes, and half the time to pack them."""
    figure.set_dpi(_DPI)
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    size = canvas.get_width_height()
    image = Image.frombuffer("RGBA", size, canvas.buffer_rgba(), "raw", "RGBA", 0, 1).convert("RGB")
    packed = image.quantize(256, Image.Quantize.FASTOCTREE, dither=Image.Dither.NONE)
    palette, ground = packed.getpalette() or [], 3 * packed.getpixel((0, 0))  # type: ignore[operator]
    palette[ground : ground + 3] = image.getpixel((0, 0))  # type: ignore[assignment]
    packed.putpalette(palette)
    file = io.BytesIO()
    packed.save(file, format="png", compress_level=1)
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
    titles = [
        (left + width / 2, _BELOW, outline(x_title, size=8)),
        (0.1, total - 0.17, outline(title, "left", size=9)),
    ]
    if y_title:
        titles.append((0.16, bottom + height / 2, outline(y_title, upright=True, size=8)))
    draw_titles(figure, titles)
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
    box = inches(axes)
    left = -0.5 - _PAD * len(columns) / box.width
    below = len(rows) - 0.5 + _PAD * len(rows) / box.height
    upright = _is_upright(columns, box.width / len(columns))
    draw_outlines(
        axes,
        [(left, place, outline(name, "right")) for place, name in _spread(rows)]
        + [(place, below, outline(name, "below", upright)) for place, name in _spread(columns)],
    )
    if max(values.shape) <= _FEW:
        _numbers(axes, values, norm, number)


def _numbers(axes: Axes, values: np.ndarray, norm: Normalize, number: str) -> None:
    """Every cell's number."""
    cells, shades = np.argwhere(values >= _LEAST_SHOWN).tolist(), np.asarray(norm(values))
    draw_outlines(
        axes,
        [(column, row, outline(number.format(values[row, column]))) for row, column in cells],
        ["white" if shades[row, column] < 0.5 else "black" for row, column in cells],
    )


def _color_bar(axes: Axes, norm: Normalize, number: str) -> None:
    """What the colors of a map mean, on its right; axes of its own would double the time."""
    low, high = float(norm.vmin or 0.0), float(norm.vmax or 1.0)
    box, limits = inches(axes), (axes.get_xlim(), axes.get_ylim())
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
    draw_outlines(
        axes,
        [
            (
                end + 0.05 * inch,
                bottom - share * height * float(norm(value)),
                outline(number.format(value), "left"),
            )
            for value in ticks
            if low <= value <= high
        ],
    )
    axes.set(xlim=limits[0], ylim=limits[1])


def _spread(names: Sequence[str]) -> Iterable[tuple[int, str]]:
    """Places and names, every n-th where there are too many to read; a blank name is none."""
    step = -(-len(names) // _MOST_LABELS)
    return [(place, name) for place, name in list(enumerate(names))[::step] if name.strip()]


def _is_upright(names: Sequence[str], width: float) -> bool:
    return _longest(names) > width


def _longest(names: Sequence[str]) -> float:
    """Inches of the longest name."""
    return _LETTER * max(map(len, names), default=0)
