"""Rows of results as CSV."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping, Sequence


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


def guarded(text: str) -> str:
    """A name that no spreadsheet takes for a formula."""
    return f"'{text}" if text[:1] in ("=", "+", "-", "@", "\t", "\r") else text
