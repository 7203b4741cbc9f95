"""Matrices as pictures: shares by color, names beside, legible from 2 to 120 rows."""

from __future__ import annotations

import base64
import io
from collections.abc import Sequence
from unicodedata import east_asian_width

import numpy as np
from PIL import Image

from cgcd.tracking.report.markup import Markup, element, shown

MOST_NAMED = 120
"""Rows or columns up to which each has its name; a larger matrix is a plain picture."""

_LONGEST = 22
_CIVIDIS = np.array(
    [[0, 34, 78], [67, 78, 108], [125, 124, 120], [188, 174, 108], [254, 232, 56]], float
)
_BLUES = np.array([[255, 255, 255], [158, 202, 225], [66, 146, 198], [8, 81, 156], [8, 48, 107]])
_MISSING = np.array([238, 238, 238], float)


def heat_map(
    values: np.ndarray,
    row_names: Sequence[str],
    column_names: Sequence[str],
    *,
    x_title: str,
    scale: str = "blues",
    low: float = 0.0,
    high: float = 1.0,
    hides_zero: bool = False,
) -> Markup:
    """A matrix of fractions in percent.

    Args:
        values: (R, C), nan where there is nothing.
        row_names, column_names: beside.
        x_title: above the columns.
        scale: "blues" from white, or "cividis" from dark; both tell apart for everybody.
        low, high: ends of the scale.
        hides_zero: leave cells below 0.5 % empty.
    """
    if not values.size:
        return Markup("")
    if max(values.shape) > MOST_NAMED:
        return _plain(values, scale, low, high)
    height = _side(len(values))
    has_numbers = height >= 16
    width = height if values.shape[1] > 25 else max(height, 30 if has_numbers else 20)
    font = min(12, height - 1)
    rows, columns = [_short(n) for n in row_names], [_short(n) for n in column_names]
    longest = max(map(_width, columns), default=0.0)
    is_upright = 0.62 * font * longest > width
    top = 22 + (0.6 * font * longest if is_upright else font) + 4
    left = 8 + 0.6 * font * max(map(_width, rows), default=0.0)
    colors = _colors(values, scale, low, high)
    parts = [element("text", x_title, x=left, y=14, font_size=12, fill="#333")]
    for c, name in enumerate(columns):
        x = left + (c + 0.5) * width
        turned: dict[str, object] = {"text_anchor": "middle", "y": top - 4}
        if is_upright:
            x += 0.35 * font
            turned = {"y": top - 4, "transform": f"rotate(-90 {x:.1f} {top - 4:.1f})"}
        parts.append(element("text", name, x=f"{x:.1f}", fill="#333", **turned))
    for r, name in enumerate(rows):
        y = top + (r + 0.5) * height + 0.35 * font
        parts.append(
            element("text", name, x=f"{left - 5:.1f}", y=f"{y:.1f}", text_anchor="end", fill="#333")
        )
        for c in range(values.shape[1]):
            value = float(values[r, c])
            if np.isnan(value) or (hides_zero and value < 0.005):
                continue
            x, above = left + c * width, top + r * height
            color = colors[r, c]
            box = {"x": f"{x:.1f}", "y": f"{above:.1f}", "width": width, "height": height}
            hint = f"{shown(row_names[r])} / {shown(column_names[c])}: {100 * value:.1f} %"
            parts.append(element("rect", element("title", hint), fill=_hexadecimal(color), **box))
            if has_numbers:
                ink = "#fff" if color @ (0.299, 0.587, 0.114) < 140 else "#000"
                middle = {"x": f"{x + width / 2:.1f}", "text_anchor": "middle"}
                parts.append(
                    element(
                        "text",
                        f"{100 * value:.0f}",
                        y=f"{above + height / 2 + 4:.1f}",
                        fill=ink,
                        font_size=10,
                        **middle,
                    )
                )
    total_width = left + max(values.shape[1] * width, 6.6 * len(x_title)) + 4
    total_height = top + len(values) * height + 4
    frame = element(
        "rect",
        x=f"{left:.1f}",
        y=f"{top:.1f}",
        width=values.shape[1] * width,
        height=len(values) * height,
        fill="none",
        stroke="#888",
    )
    return element(
        "svg",
        *parts,
        frame,
        viewBox=f"0 0 {total_width:.0f} {total_height:.0f}",
        width=f"{total_width:.0f}",
        height=f"{total_height:.0f}",
        font_size=font,
        role="img",
    )


def png_uri(pixels: np.ndarray) -> str:
    """RGB pixels (H, W, 3) uint8 as a `data:` address."""
    file = io.BytesIO()
    Image.fromarray(pixels, "RGB").save(file, "PNG", optimize=True)
    return f"data:image/png;base64,{base64.b64encode(file.getvalue()).decode()}"


def _plain(values: np.ndarray, scale: str, low: float, high: float) -> Markup:
    pixels = np.repeat(np.repeat(_colors(values, scale, low, high), 2, 0), 2, 1).astype(np.uint8)
    most = 1600
    pixels = pixels[:: -(-len(pixels) // most), :: -(-pixels.shape[1] // most)]
    style = "image-rendering:pixelated;border:1px solid #888"
    return element("img", src=png_uri(np.ascontiguousarray(pixels)), alt="matrix", style=style)


def _colors(values: np.ndarray, scale: str, low: float, high: float) -> np.ndarray:
    stops = _CIVIDIS if scale == "cividis" else _BLUES
    share = np.clip((np.nan_to_num(values) - low) / ((high - low) or 1.0), 0, 1)
    at = np.linspace(0, 1, len(stops))
    colors = np.stack([np.interp(share, at, stops[:, channel]) for channel in range(3)], -1)
    colors[np.isnan(values)] = _MISSING
    return colors


def _side(count: int) -> int:
    return 20 if count <= 25 else 13 if count <= 60 else 9


def _hexadecimal(color: np.ndarray) -> str:
    return "#" + "".join(f"{round(float(part)):02x}" for part in color)


def _width(name: str) -> float:
    """In letters; ideographs are wider."""
    return sum(1.7 if east_asian_width(c) in "WF" else 1.0 for c in name)


def _short(name: str) -> str:
    plain = shown(name)
    return plain if len(plain) <= _LONGEST else f"{plain[: _LONGEST - 1]}…"
