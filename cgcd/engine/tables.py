"""Rows of results as CSV."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Mapping, Sequence

from cgcd.tracking.cells import csv_text

PARTS = ("unlabeled/", "test/")
"""Fronts of the numbers of a part of a single stage."""
_SEEN = "stream/seen"


def metrics_csv(rows: Sequence[Mapping[str, float]]) -> str:
    """One line a number: stage, split, metric, value, and of a stream the samples seen by then.

    The split is the part that a number names first, `run` for the others of such a row, and `test`
    where no number names a part.
    """
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    is_stream = any(_SEEN in row for row in rows)  # several rows of one stage
    writer.writerow(["stage", "split", "metric", "value", *(["seen"] if is_stream else [])])
    for row in rows:
        seen = [row[_SEEN]] if is_stream else []
        rest = "run" if any(key.startswith(PARTS) for key in row) else "test"
        for key, value in row.items():
            if key not in ("stage", _SEEN):
                part, _, name = key.partition("/") if key.startswith(PARTS) else (rest, "", key)
                writer.writerow([row["stage"], part, name, repr(value), *seen])
    return text.getvalue()


def skipped_csv(skipped: Iterable[Sequence[str]]) -> str:
    """What a scenario leaves out: [path, reason] each."""
    return csv_text([("path", "reason"), *skipped])
