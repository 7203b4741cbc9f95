"""Frames, bars, steps and keys of charts, a few artists each.

Matplotlib's own ticks and legends take three times as long to draw as all that they explain, and
a run draws its pictures after every stage.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection, PolyCollection

from cgcd.tracking.outlines import draw_outlines, extent, inches, outline

Tick = tuple[float, str]
"""Where on its axis, and what is written there."""

_TICK, _GAP = 0.045, 0.04  # inches of a tick, and from it to its number
_SAMPLE = 0.24  # inches of a key's patch or line
_SIZE, _TITLE = 9.0, 9.5  # of letters, points


def draw_frame(
    axes: Axes,
    x_ticks: Sequence[Tick],
    y_ticks: Sequence[Tick],
    x_title: str,
    y_title: str,
    title: str = "",
    grid: bool = False,
) -> None:
    """Frame, ticks, their numbers and titles of axes whose limits and place are set.

    Args:
        axes: linear; left without what matplotlib would draw around them.
        x_ticks, y_ticks: in data coordinates; a blank name is left out.
        x_title, y_title, title: below, on the left and above.
        grid: faint lines through the ticks.
    """
    axes.set_axis_off()
    (left, right), (bottom, top), (x_inch, y_inch) = axes.get_xlim(), axes.get_ylim(), _inch(axes)
    frame = [[(left, bottom), (right, bottom), (right, top), (left, top), (left, bottom)]]
    frame += [[(x, bottom), (x, bottom - _TICK * y_inch)] for x, _ in x_ticks]
    frame += [[(left, y), (left - _TICK * x_inch, y)] for y, _ in y_ticks]
    lines = []
    if grid:
        lines += [[(x, bottom), (x, top)] for x, _ in x_ticks]
        lines += [[(left, y), (right, y)] for y, _ in y_ticks]
    _draw_lines(axes, lines, "0.9", 0.8)
    _draw_lines(axes, frame, "black", 0.8)
    below, beside = bottom - (_TICK + _GAP) * y_inch, left - (_TICK + _GAP) * x_inch
    words = [(x, below, outline(name, "below", size=_SIZE)) for x, name in x_ticks if name.strip()]
    words += [
        (beside, y, outline(name, "right", size=_SIZE)) for y, name in y_ticks if name.strip()
    ]
    middle, center = (left + right) / 2, (bottom + top) / 2
    words.append((middle, below - 0.18 * y_inch, outline(x_title, "below", size=_SIZE)))
    outer = beside - 0.36 * x_inch
    words.append((outer, center, outline(y_title, "middle", upright=True, size=_SIZE)))
    if title:
        words.append((middle, top + 0.16 * y_inch, outline(title, "middle", size=_TITLE)))
    draw_outlines(axes, words)


def draw_bars(
    axes: Axes, bars: Sequence[tuple[float, float, float, float, str]], hatch: str = ""
) -> None:
    """Bars with white edges.

    Args:
        bars: left, right, bottom, top and color of each; one of no height is left out.
        hatch: of all.
    """
    corners = [[(a, c), (b, c), (b, d), (a, d)] for a, b, c, d, _ in bars if d > c]
    colors = [color for _, _, c, d, color in bars if d > c]
    patches = PolyCollection(
        corners, facecolors=colors, edgecolors="white", linewidths=1, hatch=hatch or None
    )
    patches.set_clip_on(False)
    axes.add_collection(patches, autolim=False)


def draw_key(axes: Axes, names: Sequence[tuple[str, str]], below: float, hatch: str = "") -> None:
    """A row of patches and what they stand for, spread over the width.

    Args:
        names: label and color of each.
        below: inches from the axes down to the row.
        hatch: of all patches.
    """
    (left, right), (bottom, _), (x_inch, y_inch) = axes.get_xlim(), axes.get_ylim(), _inch(axes)
    y = bottom - below * y_inch
    starts = np.linspace(left, right, len(names), endpoint=False) + 0.15 * x_inch
    half = 0.05 * y_inch
    draw_bars(
        axes,
        [
            (x, x + _SAMPLE * x_inch, y - half, y + half, color)
            for x, (_, color) in zip(starts, names, strict=True)
        ],
        hatch,
    )
    draw_outlines(
        axes,
        [
            (x + (_SAMPLE + 0.06) * x_inch, y, outline(name, "left", size=8))
            for x, (name, _) in zip(starts, names, strict=True)
        ],
    )


def draw_steps(
    axes: Axes, edges: np.ndarray, steps: Sequence[tuple[str, np.ndarray, str, str]]
) -> None:
    """Histograms as steps, their key above the axes.

    Args:
        edges: of the bins, (B + 1,).
        steps: label, heights (B,), color and line style of each.
    """
    (left, _), (_, top), (x_inch, y_inch) = axes.get_xlim(), axes.get_ylim(), _inch(axes)
    x, y = left, top + 0.12 * y_inch
    words = []
    for label, heights, color, style in steps:
        corners = np.column_stack([edges.repeat(2)[1:-1], heights.repeat(2)])
        sample = [(x, y), (x + 1.6 * _SAMPLE * x_inch, y)]
        _draw_lines(axes, [corners, sample], color, 2, style)
        path = outline(label, "left", size=8)
        words.append((x + (1.6 * _SAMPLE + 0.06) * x_inch, y, path))
        x += (1.6 * _SAMPLE + 0.3 + extent(path).width / 72) * x_inch
    if words:
        draw_outlines(axes, words)


def _draw_lines(
    axes: Axes, lines: Sequence[object], color: str, width: float, style: str = "solid"
) -> None:
    """Lines in data coordinates, also beyond the axes."""
    drawn = LineCollection(lines, colors=color, linewidths=width, linestyles=style)  # type: ignore[arg-type]
    drawn.set_clip_on(False)
    axes.add_collection(drawn, autolim=False)


def _inch(axes: Axes) -> tuple[float, float]:
    """How much of each axis's data an inch is."""
    box, (left, right), (bottom, top) = inches(axes), axes.get_xlim(), axes.get_ylim()
    return (right - left) / box.width, (top - bottom) / box.height
