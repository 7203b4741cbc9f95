"""Text of pictures as outlines: many words are one artist, at a tenth of the time of texts."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache

from matplotlib.axes import Axes
from matplotlib.collections import PathCollection
from matplotlib.figure import Figure
from matplotlib.path import Path
from matplotlib.textpath import TextPath
from matplotlib.transforms import Affine2D, Bbox, Transform

_ASCENT = 0.73  # height of a digit as a share of its font's size


def draw_outlines(
    axes: Axes, placed: Sequence[tuple[float, float, Path]], colors: Sequence[str] = ("black",)
) -> None:
    """Letters at places of axes, all in one artist: as texts they would take many times as long.

    Args:
        placed: x and y, in data coordinates, and outline of each.
        colors: of each, or one of all.
    """
    axes.add_collection(_letters(placed, colors, axes.transData, axes.figure), autolim=False)


def draw_titles(figure: Figure, placed: Sequence[tuple[float, float, Path]]) -> None:
    """Letters at places of a figure.

    Args:
        placed: x and y, in inches from the lower left corner, and outline of each.
    """
    figure.add_artist(_letters(placed, ("black",), figure.dpi_scale_trans, figure))


def _letters(
    placed: Sequence[tuple[float, float, Path]],
    colors: Sequence[str],
    places: Transform,
    figure: Figure,
) -> PathCollection:
    return PathCollection(
        [path for _, _, path in placed],
        facecolors=colors,
        linewidths=0,
        offsets=[(x, y) for x, y, _ in placed],
        offset_transform=places,
        transform=Affine2D().scale(1 / 72) + figure.dpi_scale_trans,
        clip_on=False,
    )


@cache
def outline(text: str, side: str = "middle", upright: bool = False, size: float = 7) -> Path:
    """Of a text's letters, in points about where it stands.

    Args:
        text: one line, not blank.
        side: of the text at which that is: its middle, its left or right end, or "below" the place.
        upright: turned to be read from below.
        size: of the font, points.
    """
    ascent = _ASCENT * size
    path = Affine2D().scale(size).transform_path(_unit_outline(text))
    if upright:
        path = Affine2D().rotate_deg(90).transform_path(path)
    box = extent(path)
    if side == "middle":
        x, y = (box.x0 + box.x1) / 2, (box.y0 + box.y1) / 2
    elif side == "below":
        x, y = (box.x0 + box.x1) / 2, box.y1 if upright else ascent
    else:
        x, y = box.x0 if side == "left" else box.x1, ascent / 2
    return Affine2D().translate(-x, -y).transform_path(path)


@cache
def _unit_outline(text: str) -> Path:
    """To set the letters takes most of the time, and a text stands in several sizes and places."""
    return TextPath((0, 0), text, size=1)


def extent(path: Path) -> Bbox:
    """Of letters, by the points their curves are made of: measuring the curves takes longer."""
    corners = path.vertices[path.codes != Path.CLOSEPOLY]
    return Bbox([corners.min(0), corners.max(0)])


def inches(axes: Axes) -> Bbox:
    """Where axes are on their figure, inches."""
    return axes.get_window_extent().transformed(axes.figure.dpi_scale_trans.inverted())
