"""Frames, bars, steps and keys: in the figure, where their data are, readable."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.collections import LineCollection, PathCollection, PolyCollection
from matplotlib.figure import Figure
from PIL import Image

from cgcd.tracking.charts import draw_bars, draw_frame, draw_key, draw_steps
from cgcd.tracking.outlines import extent, outline
from cgcd.tracking.pictures import png


@pytest.fixture
def axes() -> Any:
    figure = Figure(figsize=(5, 4), dpi=100)
    made = figure.add_axes((0.2, 0.25, 0.7, 0.6))
    made.set(xlim=(0, 4), ylim=(0, 100))
    return made


def boxes(axes: Any, kind: type) -> list[Any]:
    """Of what artists of a kind draw, pixels."""
    renderer = FigureCanvasAgg(axes.figure).get_renderer()
    found = []
    for artist in axes.collections:
        if isinstance(artist, kind):
            transform = artist.get_transform()
            for place, path in enumerate(artist.get_paths()):
                box = path.get_extents(transform)
                offsets = artist.get_offset_transform().transform(artist.get_offsets())
                x, y = offsets[place % len(offsets)] if kind is PathCollection else (0, 0)
                found.append(box.translated(x, y))
    assert renderer is not None
    return found


def test_a_frame_stays_in_its_figure_and_its_words_apart(axes: Any) -> None:
    ticks = [(0.0, "0"), (2.0, "two"), (4.0, " ")]
    draw_frame(axes, ticks, [(0.0, "0"), (100.0, "100")], "stage", "share, %", "A title", True)
    words = boxes(axes, PathCollection)
    assert len(words) == 4 + 3  # the blank name is none
    width, height = 500, 400
    for box in words:
        assert 0 <= box.x0 and box.x1 <= width and 0 <= box.y0 and box.y1 <= height
    for one, first in enumerate(words):
        assert not any(first.overlaps(other) for other in words[one + 1 :])
    assert not axes.axison
    assert sum(isinstance(artist, LineCollection) for artist in axes.collections) == 2


def test_bars_stand_where_they_are_told(axes: Any) -> None:
    draw_bars(axes, [(1.0, 2.0, 0.0, 50.0, "red"), (2.0, 3.0, 50.0, 50.0, "blue")], "///")
    (bar,) = boxes(axes, PolyCollection)  # one of no height is left out
    inner = axes.get_window_extent()
    assert bar.x0 == pytest.approx(inner.x0 + inner.width / 4)
    assert (bar.y0, bar.y1) == pytest.approx((inner.y0, inner.y0 + inner.height / 2))


def test_a_key_has_a_patch_and_a_word_for_each(axes: Any) -> None:
    draw_key(axes, [("base", "red"), ("novel", "blue")], 0.5)
    patches, words = boxes(axes, PolyCollection), boxes(axes, PathCollection)
    assert len(patches) == len(words) == 2
    for patch, word in zip(patches, words, strict=True):
        assert patch.x1 < word.x0 and patch.y0 < (word.y0 + word.y1) / 2 < patch.y1


def test_steps_go_from_edge_to_edge(axes: Any) -> None:
    axes.set(xlim=(0, 1))
    heights = np.array([10.0, 0.0, 40.0])
    draw_steps(axes, np.linspace(0, 1, 4), [("known (5)", heights, "red", "solid")])
    lines = next(a for a in axes.collections if isinstance(a, LineCollection))
    corners = lines.get_segments()[0]
    assert corners[:, 0] == pytest.approx([0, 1 / 3, 1 / 3, 2 / 3, 2 / 3, 1])
    assert corners[:, 1] == pytest.approx([10, 10, 0, 0, 40, 40])


def test_letters_are_measured_by_their_points() -> None:
    path = outline("known (12)", "left", size=8)
    ours, exact = extent(path), path.get_extents()
    assert ours.bounds == pytest.approx(exact.bounds, abs=0.3)
    assert extent(outline("8", size=14)).height == pytest.approx(
        2 * extent(outline("8", size=7)).height
    )


def test_a_picture_is_a_palette_on_its_own_ground(axes: Any, tmp_path: Any) -> None:
    draw_bars(axes, [(1.0, 2.0, 0.0, 50.0, "#E69F00")])
    axes.set_axis_off()
    (tmp_path / "a.png").write_bytes(png(axes.figure))
    with Image.open(tmp_path / "a.png") as image:
        assert image.mode == "P" and image.size == (500, 400)
        drawn = np.asarray(image.convert("RGB"))
    assert (drawn[0, 0] == 255).all()
    box = axes.get_window_extent()
    x, y = int(box.x0 + 1.5 * box.width / 4), 400 - int(box.y0 + box.height / 4)
    assert np.abs(drawn[y, x].astype(int) - (0xE6, 0x9F, 0x00)).max() <= 8
