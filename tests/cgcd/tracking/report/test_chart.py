"""Charts and matrices: points at their places, numbers in their cells, legible names."""

from __future__ import annotations

import re
import xml.etree.ElementTree as ElementTree

import numpy as np
import pytest

from cgcd.tracking.report.chart import Line, bar_chart, histogram, line_chart, ticks
from cgcd.tracking.report.matrix import MOST_NAMED, heat_map


@pytest.mark.parametrize(
    ("low", "high", "is_whole"), [(0, 1, False), (0, 5, True), (3, 947, True), (0.2, 0.21, False)]
)
def test_ticks_are_round_and_inside(low, high, is_whole):
    found = ticks(low, high, is_whole)
    assert 2 <= len(found) <= 8 and low - 1e-9 <= found[0] and found[-1] <= high + 1e-9
    steps = np.diff(found)
    np.testing.assert_allclose(steps, steps[0])
    assert not is_whole or all(tick == int(tick) for tick in found)


def test_a_line_goes_through_its_points():
    chart = line_chart([Line("<a>", [(0, 0.0), (1, 1.0), (2, 0.5)])], "x", "percent", (0.0, 1.0))
    root = ElementTree.fromstring(f"<div>{chart}</div>")  # well-formed
    dots = [(float(c.get("cx")), float(c.get("cy"))) for c in root.find("svg").iter("circle")]
    (x0, y0), (x1, y1), (x2, y2) = dots
    assert x1 - x0 == pytest.approx(x2 - x1) and x1 > x0
    assert y0 > y2 > y1 and y0 - y2 == pytest.approx(y2 - y1)
    assert "&lt;a&gt;" in chart and "<a>" not in chart


def test_nothing_is_drawn_of_nothing():
    assert not line_chart([Line("a", [])], "x", "y")
    assert not histogram([0, 1], [("a", "#000", [0])], "x")
    assert not heat_map(np.empty((0, 0)), [], [], x_title="")


def test_one_point_and_equal_values_draw():
    assert "circle" in line_chart([Line("a", [(3, 0.0)])], "x", "y")
    assert "rect" in bar_chart(["g"], [("a", "#000", [0.5], [None]), ("b", "#111", [None], [None])])


def test_a_histogram_shows_shares():
    chart = histogram([0, 0.5, 1], [("a", "#000", [1, 3])], "x")
    assert "a (4)" in chart


def test_small_matrices_hold_numbers_and_large_ones_names():
    values = np.array([[1.0, 0.0], [0.25, np.nan]])
    texts = re.findall(r">([^<>]+)</text>", heat_map(values, ["a", "b"], ["c", "d"], x_title="t"))
    assert texts == ["t", "c", "d", "a", "100", "0", "b", "25"]
    hundred = heat_map(np.eye(100), *[[f"class {k}" for k in range(100)]] * 2, x_title="t")
    assert "class 99</text>" in hundred and len(hundred) < 2_000_000
    big = heat_map(np.eye(MOST_NAMED + 1), [""] * 200, [""] * 200, x_title="t")
    assert big.startswith("<img") and "data:image/png;base64," in big


def test_names_in_a_matrix_are_text():
    picture = heat_map(np.eye(1), ["<script>"], ["x" * 99], x_title="t")
    assert "<script>" not in picture and "…" in picture
