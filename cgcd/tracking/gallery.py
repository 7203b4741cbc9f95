"""Galleries: for each category its most central, its most doubtful and some other images."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from functools import cache
from typing import Any

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from cgcd.tracking.analysis import Analysis
from cgcd.tracking.names import drawn, font_file

ROWS_A_PAGE = 40
_COLUMNS = (("central", 3), ("doubtful", 2), ("random", 3))
_SIDE, _GAP, _TEXT, _HEAD = 48, 4, 200, 22  # pixels


def gallery_pages(analysis: Analysis) -> dict[str, bytes]:
    """PNGs of the galleries, `found_1`, `found_2`, ... and `base_1`, ...; empty without images.

    A row is a category: its name and size, what it stands for where that is known, then images.
    """
    if not analysis.images:
        return {}
    pages: dict[str, bytes] = {}
    num_base = analysis.facts["num_base"]
    rows = analysis.facts["categories"]
    kinds = {
        "found": [row for row in rows if row["id"] >= num_base and row["sizes"][-1]],
        "base": [row for row in rows if row["id"] < num_base and row["sizes"][-1]],
    }
    for kind, members in kinds.items():
        for page, first in enumerate(range(0, len(members), ROWS_A_PAGE), start=1):
            part = members[first : first + ROWS_A_PAGE]
            pages[f"{kind}_{page}"] = _page(part, analysis.images)
    return pages


def _page(rows: Sequence[Mapping[str, Any]], images: Mapping[str, np.ndarray]) -> bytes:
    step = _SIDE + _GAP
    width = _TEXT + sum(most for _, most in _COLUMNS) * step + 2 * 3 * _GAP
    page = Image.new("RGB", (width, _HEAD + len(rows) * step), "white")
    pen = ImageDraw.Draw(page)
    left = _TEXT
    for title, most in _COLUMNS:
        pen.text((left, 4), title, fill="black", font=_font(12))
        for place, row in enumerate(rows):
            top = _HEAD + place * step
            for number, sample in enumerate(row.get(title, ())):
                if sample.get("thumbnail") in images:
                    shown = _squared(images[sample["thumbnail"]])
                    page.paste(shown, (left + number * step, top))
        left += most * step + 3 * _GAP
    for place, row in enumerate(rows):
        top = _HEAD + place * step
        pen.text((4, top + 6), _name(row), fill="black", font=_font(12))
        pen.text((4, top + 26), _second_line(row), fill="#555555", font=_font(10))
    file = io.BytesIO()
    page.save(file, "PNG", compress_level=1)
    return file.getvalue()


def _name(row: Mapping[str, Any]) -> str:
    return f"{drawn(row['name'], 20)}  ({row['sizes'][-1]})".replace(r"\$", "$")


def _second_line(row: Mapping[str, Any]) -> str:
    if row.get("best_class_name") is None:
        return ""
    name = drawn(row["best_class_name"], 22).replace(r"\$", "$")
    return f"{100 * row['purity']:.0f} % are {name}"


def _squared(pixels: np.ndarray) -> Image.Image:
    """The image at the size of a tile; small ones keep their pixels' edges."""
    how = Image.Resampling.NEAREST if len(pixels) < _SIDE else Image.Resampling.BILINEAR
    return Image.fromarray(pixels).resize((_SIDE, _SIDE), how)


@cache
def _font(size: int) -> ImageFont.FreeTypeFont:
    return ImageFont.truetype(str(font_file()), size)
