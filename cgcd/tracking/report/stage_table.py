"""The tables of one run: every stage, part or window, with floors and bound."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from cgcd.tracking.report.columns import columns, scale_key, scales
from cgcd.tracking.report.folder import ONLINE, PARTS, SINGLE_STAGE, StoredRun
from cgcd.tracking.report.markup import Markup, joined
from cgcd.tracking.report.page import table
from cgcd.tracking.table import percent

_MOST_WINDOWS = 12
_BY_NAME = "held/base"  # all that can be told where some truth is hidden
_STAGED = (
    ("All", "accuracy/all"),
    ("Known", "accuracy/known"),
    ("Novel", "accuracy/novel"),
    ("Base", "accuracy/base"),
    ("NMI", "agreement/nmi"),
    ("base by name", _BY_NAME),
    ("k-means All", "floor/kmeans_all"),
    ("nearest mean All", "floor/nearest_mean_all"),
    ("closed-set bound All", "bound/closed_set_all"),
)
_WINDOWS = (
    ("strict All", "strict/all"),
    ("Known", "strict/known"),
    ("Novel", "strict/novel"),
    ("named", "identity/known"),
    ("false", "identity/false_known"),
    ("leader All", "floor/leader_strict_all"),
    ("bound All", "bound/closed_set_strict_all"),
)


def run_tables(run: StoredRun) -> Markup:
    """The numbers of one run."""
    if run.setting == ONLINE:
        return joined(_of_stream(run), _of_windows(run))
    return _of_parts(run) if run.setting == SINGLE_STAGE else _of_stages(run)


def _of_stages(run: StoredRun) -> Markup:
    rows = run.results["stages"]
    chosen = _present(_STAGED, rows)
    chosen = [(title, key) for title, key in chosen if (key == _BY_NAME) != run.has_truth]
    counts = ("known", "new", "found")
    times = [key for key in ("seconds", "seconds_analysis") if any(key in row for row in rows)]
    lines: list[list[Any]] = []
    for row in rows:
        known = 0 if row["stage"] == 0 else int(row["stage/num_known"])
        cells: list[Any] = [int(row["stage"]), known, int(row["stage/num_classes"]) - known]
        cells.append(int(row["stage/found"]))
        cells += [percent(row.get(key)) for _, key in chosen]
        lines.append([*cells, *(f"{row[key]:.1f}" if key in row else "-" for key in times)])
    means = [percent(_mean(rows[1:], key)) for _, key in chosen]
    totals = [f"{sum(row.get(key, 0.0) for row in rows):.1f}" for key in times]
    if rows[1:]:
        lines.append(["mean from stage 1", "", "", "", *means, *totals])
    titles = ["stage", *counts, *(title for title, _ in chosen)]
    titles += [key.replace("_", " of ") for key in times]
    beside = " Floors and bound stand on the right." if run.has_truth else ""
    return table(
        titles,
        lines,
        caption="Percent of the test samples of all classes so far; found: categories that got "
        f"any of them.{beside} Seconds are summed in the last line.",
        classes=[*[None] * len(rows), "total"][: len(lines)],
    )


def _of_parts(run: StoredRun) -> Markup:
    row = run.rows[0]
    groups = ("all", "known", "novel")
    lines, classes = [], []
    for part, title in PARTS.items():
        if f"{part}/count/found" not in row:
            continue
        found = f"{int(row[f'{part}/count/found'])} of {int(row['stage/num_classes'])}"
        for name, front, kind in (
            (str(run.results["strategy"]), "accuracy/", None),
            *((s.title, s.front, "scale") for s in scales(run.setting)),
        ):
            cells = [percent(row.get(f"{part}/{front}{group}")) for group in groups]
            if kind is not None and cells[0] == "-":
                continue
            more = [percent(row.get(f"{part}/agreement/nmi")), found] if kind is None else ["", ""]
            lines.append([name, title, *cells, *more])
            classes.append(kind)
    header = ("", "measured on", "All", "Known", "Novel", "NMI", "categories found")
    caption = f"Percent. Training and measuring took {row['seconds']:.1f} s."
    return table(header, lines, caption=caption, classes=classes, num_texts=2)


def _of_stream(run: StoredRun) -> Markup:
    row = run.rows[-1]
    chosen = [c for c in columns(ONLINE) if c.key in row and c.key != "seconds"]
    lines: list[list[Any]] = [
        [run.results["strategy"], *(column.text(row.get(column.key)) for column in chosen)]
    ]
    classes: list[str | None] = [None]
    for scale in scales(ONLINE):
        keys = [scale_key(scale, column.key) for column in chosen]
        cells = [c.text(row.get(str(key))) for c, key in zip(chosen, keys, strict=True)]
        if set(cells) != {"-"}:
            lines.append([scale.title, *cells])
            classes.append("scale")
    return table(
        ["", *(column.title for column in chosen)],
        lines,
        caption="The whole stream, percent. strict: one category for one class; greedy: a "
        "category counts for the class that most of it is; named: samples of known classes that "
        "got the name of their class; false: samples of new classes that got a known name.",
        classes=classes,
    )


def _of_windows(run: StoredRun) -> Markup:
    rows = run.rows
    step = -(-len(rows) // _MOST_WINDOWS)
    shown = rows[step - 1 :: step]
    if shown[-1] is not rows[-1]:
        shown.append(rows[-1])
    chosen = _present(_WINDOWS, rows)
    lines = [
        [
            int(row["stream/seen"]),
            int(row["stream/categories"]),
            percent(row.get("stream/opened")),
            *(percent(row.get(key)) for _, key in chosen),
            f"{row['seconds']:.1f}",
        ]
        for row in shown
    ]
    every = f"Every {step}th window" if step > 1 else "Every window"
    return table(
        ["seen", "categories", "opened", *(title for title, _ in chosen), "seconds"],
        lines,
        caption=f"{every}: percent of the stream so far; opened: share of the window's samples "
        "that opened a category.",
    )


def _present(
    chosen: Sequence[tuple[str, str]], rows: Sequence[Mapping[str, float]]
) -> list[tuple[str, str]]:
    return [(title, key) for title, key in chosen if any(key in row for row in rows)]


def _mean(rows: Sequence[Mapping[str, float]], key: str) -> float | None:
    values = [row[key] for row in rows if key in row]
    return sum(values) / len(values) if len(values) == len(rows) and values else None
