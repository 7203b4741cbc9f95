"""Charts as SVG: lines with bands, bars, histograms; no script, no reference, legends as text.

Colors are those of Okabe and Ito, told apart with all common kinds of color blindness; dashes and
marks say the same again.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from cgcd.tracking.report.markup import Markup, element, joined

BLACK, BLUE, ORANGE, GREEN, PURPLE, SKY, RED = (
    "#000000",
    "#0072b2",
    "#e69f00",
    "#009e73",
    "#cc79a7",
    "#56b4e9",
    "#d55e00",
)
COLORS = (BLUE, RED, GREEN, PURPLE, ORANGE, SKY, BLACK)
DASHES = (None, "7 3", "2 3", "9 3 2 3")
_SHAPES = {
    RED: "m-3-3h6v6h-6",
    GREEN: "m0-4l4 7h-8",
    PURPLE: "m0-4l4 4l-4 4l-4-4",
    ORANGE: "m0 4l4-7h-8",
    SKY: "m-1-4h2v8h-2",
}
GRAY, DARK = "#767676", "#444444"

_WIDTH, _HEIGHT = 480, 300
_LEFT, _RIGHT, _TOP, _BOTTOM = 46, 12, 10, 44
_FONT = 14


@dataclass(frozen=True)
class Line:
    """One line of a chart.

    Attributes:
        title: in the legend.
        points: (x, y) in order.
        band: lower and upper end at each point, or empty.
        color, dash, is_marked: how it is drawn; `dash` as SVG writes it.
        width: in units of the picture.
    """

    title: str
    points: Sequence[tuple[float, float]]
    band: Sequence[tuple[float, float]] = ()
    color: str = BLACK
    dash: str | None = None
    is_marked: bool = True
    width: float = 2.0


@dataclass(frozen=True)
class _Plane:
    """Where numbers lie in a picture."""

    x0: float
    x1: float
    y0: float
    y1: float

    def x(self, value: float) -> float:
        share = (value - self.x0) / ((self.x1 - self.x0) or 1.0)
        return round(_LEFT + share * (_WIDTH - _LEFT - _RIGHT), 1)

    def y(self, value: float) -> float:
        share = (value - self.y0) / ((self.y1 - self.y0) or 1.0)
        return round(_HEIGHT - _BOTTOM - share * (_HEIGHT - _TOP - _BOTTOM), 1)


def line_chart(
    lines: Sequence[Line],
    x_title: str,
    y_title: str,
    y_range: tuple[float, float] | None = None,
    marks: Sequence[tuple[float, str, str]] = (),
    is_whole: bool = True,
) -> Markup:
    """Lines over one x axis, with a legend below; nothing where no line has a point.

    Args:
        lines: to draw, the last on top.
        x_title, y_title: of the axes.
        y_range: of the y axis; None: as the lines need it, from 0.
        marks: vertical lines (x, title, color).
        is_whole: whether x ticks stand at whole numbers only.
    """
    lines = [line for line in lines if line.points]
    if not lines:
        return Markup("")
    xs = [x for line in lines for x, _ in line.points]
    ys = [y for line in lines for _, y in line.points]
    ys += [y for line in lines for pair in line.band for y in pair]
    low, high = y_range or (min(0.0, *ys), max(ys))
    x0, x1 = (min(xs), max(xs)) if min(xs) < max(xs) else (min(xs) - 0.5, max(xs) + 0.5)
    plane = _Plane(x0, x1, low, high if high > low else low + 1)
    drawn = [_axes(plane, x_title, y_title, is_whole)]
    for line in lines:
        if line.band:
            upper = [(x, b) for (x, _), (_, b) in zip(line.points, line.band, strict=True)]
            lower = [(x, a) for (x, _), (a, _) in zip(line.points, line.band, strict=True)]
            path = _path(plane, [*upper, *reversed(lower)]) + "Z"
            drawn.append(element("path", d=path, fill=line.color, fill_opacity=0.16))
    for line in lines:
        drawn.append(_stroke(_path(plane, line.points), line))
        if line.is_marked and len(line.points) <= 40:
            drawn += [_dot(plane, x, y, line.color) for x, y in line.points]
    for x, _, color in marks:
        style = {"stroke": color, "stroke_width": 1.5, "stroke_dasharray": "3 2"}
        drawn.append(
            element("line", x1=plane.x(x), x2=plane.x(x), y1=_TOP, y2=_HEIGHT - _BOTTOM, **style)
        )
    keys = [_key(line.title, line.color, line.dash, line.is_marked) for line in lines]
    keys += [_key(title, color, "3 2") for _, title, color in marks]
    return joined(_svg(*drawn), element("div", *keys, class_="row small"))


def bar_chart(
    groups: Sequence[str],
    series: Sequence[tuple[str, str, Sequence[float | None], Sequence[float | None]]],
    levels: Sequence[tuple[str, str, str | None, float]] = (),
) -> Markup:
    """Bars of fractions side by side, in percent, each with its number and spread.

    Args:
        groups: below the axis.
        series: title, color, value and spread in each group.
        levels: horizontal lines: title, color, dash, height.
    """
    plane = _Plane(0, len(groups), 0, 1.08)
    drawn = [_axes(plane, "", "percent", True, has_x=False)]
    width = 0.8 / max(1, len(series))
    for place, group in enumerate(groups):
        drawn.append(_text(plane.x(place + 0.5), _HEIGHT - _BOTTOM + 18, group, "middle"))
        for index, (_, color, values, spreads) in enumerate(series):
            value, spread = values[place], spreads[place]
            if value is None:
                continue
            left, right = (plane.x(place + 0.1 + (index + i) * width) for i in (0.04, 0.96))
            top, bottom = plane.y(value), plane.y(0)
            box = {"x": left, "width": round(right - left, 1), "y": top, "height": bottom - top}
            drawn.append(element("rect", fill=color, fill_opacity=0.8, **box))
            middle = round((left + right) / 2, 1)
            if spread is not None:
                ends = {"y1": plane.y(value - spread), "y2": plane.y(value + spread)}
                drawn.append(element("line", x1=middle, x2=middle, stroke=BLACK, **ends))
            if right - left > 26:
                lift = 0.0 if spread is None else spread
                drawn.append(
                    _text(middle, plane.y(value + lift) - 4, f"{100 * value:.1f}", "middle")
                )
    for _, color, dash, height in levels:
        ends = {"x1": _LEFT, "x2": _WIDTH - _RIGHT, "y1": plane.y(height), "y2": plane.y(height)}
        drawn.append(element("line", stroke=color, stroke_dasharray=dash, stroke_width=2, **ends))
    keys = [_key(title, color, None) for title, color, _, _ in series if len(series) > 1]
    keys += [_key(title, color, dash) for title, color, dash, _ in levels]
    return joined(_svg(*drawn), element("div", *keys, class_="row small"))


def histogram(
    edges: Sequence[float], series: Sequence[tuple[str, str, Sequence[float]]], x_title: str
) -> Markup:
    """Steps of the share of samples in each bin, one outline a series.

    Args:
        edges: of the n bins, n + 1.
        series: title, color, counts.
        x_title: below the axis.
    """
    lines = []
    for place, (title, color, counts) in enumerate(series):
        total = sum(counts)
        if not total:
            continue
        points = [(edges[0], 0.0)]
        for left, right, count in zip(edges, edges[1:], counts, strict=False):
            points += [(left, count / total), (right, count / total)]
        points.append((edges[-1], 0.0))
        dash = DASHES[place % len(DASHES)]
        band = [(0.0, y) for _, y in points]
        lines.append(Line(f"{title} ({int(total)})", points, band, color, dash, False))
    return line_chart(lines, x_title, "percent of samples", is_whole=False)


def ticks(low: float, high: float, is_whole: bool = False, most: int = 6) -> list[float]:
    """Round numbers from `low` to `high`.

    >>> ticks(0, 1)
    [0.0, 0.2, 0.4, 0.6, 0.8, 1.0]
    """
    span = high - low
    if span <= 0:
        return [low]
    step = 10.0 ** math.floor(math.log10(span / most))
    step = next(step * f for f in (1, 2, 5, 10, 20) if span / (step * f) <= most)
    if is_whole:
        step = max(1.0, math.ceil(step))
    first = math.ceil(low / step - 1e-9)
    last = math.floor(high / step + 1e-9)
    return [round(place * step, 10) for place in range(first, last + 1)]


def _axes(plane: _Plane, x_title: str, y_title: str, is_whole: bool, has_x: bool = True) -> Markup:
    bottom, parts = _HEIGHT - _BOTTOM, []
    is_percent = "percent" in y_title
    for y in ticks(plane.y0, plane.y1):
        if y > 1.0 and is_percent:
            continue
        ends = {"y1": plane.y(y), "y2": plane.y(y)}
        parts.append(element("line", x1=_LEFT, x2=_WIDTH - _RIGHT, stroke="#e2e2e2", **ends))
        text = f"{100 * y:g}" if is_percent else f"{y:g}"
        parts.append(_text(_LEFT - 6, plane.y(y) + 4, text, "end"))
    for x in ticks(plane.x0, plane.x1, is_whole) if has_x else ():
        place = plane.x(x)
        parts.append(element("line", x1=place, x2=place, y1=bottom, y2=bottom + 4, stroke=GRAY))
        parts.append(_text(place, bottom + 18, f"{x:g}", "middle"))
    parts.append(element("line", x1=_LEFT, x2=_WIDTH - _RIGHT, y1=bottom, y2=bottom, stroke=GRAY))
    middle = (_LEFT + _WIDTH - _RIGHT) / 2
    parts.append(_text(middle, _HEIGHT - 6, x_title, "middle"))
    height = (_TOP + bottom) / 2
    parts.append(_text(12, height, y_title, "middle", transform=f"rotate(-90 12 {height})"))
    return joined(*parts)


def _svg(*children: object) -> Markup:
    box = f"0 0 {_WIDTH} {_HEIGHT}"
    return element("svg", *children, viewBox=box, class_="fluid", font_size=_FONT, role="img")


def _text(x: float, y: float, text: str, anchor: str, **more: object) -> Markup:
    return element("text", text, x=x, y=y, text_anchor=anchor, fill="#333", **more)


def _path(plane: _Plane, points: Sequence[tuple[float, float]]) -> str:
    return "M" + "L".join(f"{plane.x(x):g} {plane.y(y):g}" for x, y in points)


def _stroke(path: str, line: Line) -> Markup:
    style = {"stroke": line.color, "stroke_width": line.width, "stroke_dasharray": line.dash}
    return element("path", d=path, fill="none", stroke_linejoin="round", **style)


def _dot(plane: _Plane, x: float, y: float, color: str) -> Markup:
    return _mark(plane.x(x), plane.y(y), color, element("title", f"{x:g}: {y:.4g}"))


def _mark(x: float, y: float, color: str, title: Markup | None = None) -> Markup:
    """A shape of each color's own, round where it has none."""
    if color not in _SHAPES:
        return element("circle", title, cx=x, cy=y, r=3, fill=color)
    return element("path", title, d=f"M{x:g} {y:g}{_SHAPES[color]}z", fill=color)


def _key(title: str, color: str, dash: str | None, is_marked: bool = False) -> Markup:
    line = element(
        "line", x1=0, x2=30, y1=6, y2=6, stroke=color, stroke_width=3, stroke_dasharray=dash
    )
    mark = _mark(15, 6, color) if is_marked else None
    swatch = element("svg", line, mark, width=30, height=12, style="display:inline-block")
    return element("span", swatch, " ", title)
