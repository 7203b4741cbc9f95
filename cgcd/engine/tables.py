"""Rows of results as CSV."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Mapping, Sequence
from typing import Any


def metrics_csv(rows: Sequence[Mapping[str, float]]) -> str:
    """One line a number: stage, split, metric, value."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["stage", "split", "metric", "value"])
    for row in rows:
        for key, value in row.items():
            if key != "stage":
                writer.writerow([row["stage"], "test", key, repr(value)])
    return text.getvalue()


def csv_text(rows: Iterable[Sequence[Any]]) -> str:
    """Rows as CSV, texts guarded."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    for row in rows:
        writer.writerow([guarded(cell) if isinstance(cell, str) else cell for cell in row])
    return text.getvalue()


def guarded(text: str) -> str:
    """A name that no spreadsheet takes for a formula."""
    return f"'{text}" if text[:1] in ("=", "+", "-", "@", "\t", "\r") else text
