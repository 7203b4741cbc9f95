"""The page of several runs: mean and spread over seeds, paired differences, curves with bands."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from cgcd.tracking.report.chart import COLORS, DARK, DASHES, GRAY, Line, bar_chart, line_chart
from cgcd.tracking.report.columns import Column, legend, scale_key, scales
from cgcd.tracking.report.compared import ComparedRow, Comparison, Pair
from cgcd.tracking.report.folder import ONLINE, PARTS, SINGLE_STAGE
from cgcd.tracking.report.grouping import Bench, Group, differing
from cgcd.tracking.report.markup import Markup, element, named
from cgcd.tracking.report.page import bullets, document, figure, folded, panels, section, table
from cgcd.tracking.report.statistics import SPREAD, Summary

BEST = (
    "Bold is the best mean of a column and no more than that: whether it means anything is told by "
    "the paired differences."
)
_CURVES = {
    ONLINE: ("strict/all", "strict/known", "strict/novel"),
    "": ("accuracy/all", "accuracy/known", "accuracy/novel"),
}
_PANELS = ("All", "Known", "Novel")


def comparison_page(comparisons: Sequence[Comparison], notes: Sequence[str] = ()) -> str:
    """Runs side by side as one HTML file.

    Args:
        comparisons: one for each kind of stream.
        notes: of runs that were left out.
    """
    num_runs = sum(len(g.runs) for c in comparisons for g in c.bench.groups)
    content = [
        element("h1", f"{num_runs} runs compared"),
        bullets(notes) if notes else None,
        *(_bench(comparison) for comparison in comparisons),
    ]
    return document("runs compared: report", *content)


def cell_text(column: Column, cell: Summary | None) -> str:
    """Mean and spread; a single run has no spread.

    >>> cell_text(Column("All", "accuracy/all"), Summary(0.875, 0.01, 3))
    '87.5 ± 1.0'
    """
    if cell is None:
        return "-"
    spread = "" if cell.std is None else f" ± {column.text(cell.std)}"
    return f"{column.text(cell.mean)}{spread}"


def seeds_text(seeds: Sequence[int]) -> str:
    """Number of runs, and of which seeds.

    >>> seeds_text([0, 1, 2, 5])
    '4 (0-2, 5)'
    """
    spans: list[list[int]] = []
    for seed in seeds:
        if spans and seed == spans[-1][1] + 1:
            spans[-1][1] = seed
        else:
            spans.append([seed, seed])
    told = ", ".join(f"{a}-{b}" if b > a else f"{a}" for a, b in spans)
    return f"{len(seeds)} ({told})"


def pair_cells(pair: Pair) -> list[str]:
    """Points, their spread, number of seeds, and in how many the first is ahead."""
    told = pair.difference.summary
    spread = "-" if told.std is None else f"{100 * told.std:.1f}"
    sign = f"{pair.difference.num_better} of {told.n}"
    return [f"{100 * told.mean:+.1f}", spread, str(told.n), sign]


PAIR_HEADER = ("headline of", "minus that of", "points", "std", "n", "ahead in")


def _bench(comparison: Comparison) -> Markup:
    bench = comparison.bench
    definition = bench.groups[0].runs[0].results["headline"]["definition"]
    return section(
        bench.title,
        element("p", f"Headline: {definition}."),
        bullets([n for n in [*bench.notes, *comparison.beaten, *_places(bench)] if n]),
        _main_table(comparison),
        *_pairs(comparison),
        element("h3", "Curves"),
        _curves(bench),
        *_settings(bench.groups),
    )


def _main_table(comparison: Comparison) -> Markup:
    def line(row: ComparedRow) -> list[Any]:
        cells: list[Any] = [named(row.name), seeds_text(row.seeds) if row.kind == "method" else ""]
        for place, (column, cell) in enumerate(zip(comparison.columns, row.cells, strict=True)):
            text = cell_text(column, cell)
            cells.append(element("b", text) if place in row.best else text)
        return cells

    caption = (
        f"{legend(comparison.bench.setting)} Mean ± {SPREAD} over the seeds. {BEST} In italics "
        "what sets the scale."
    )
    return table(
        ["", "n (seeds)", *(column.title for column in comparison.columns)],
        [line(row) for row in comparison.rows],
        caption=caption,
        classes=["scale" if row.kind == "scale" else None for row in comparison.rows],
        num_texts=2,
    )


def _pairs(comparison: Comparison) -> list[Markup]:
    if not comparison.pairs:
        return []
    rows = [[named(p.first), named(p.second), *pair_cells(p)] for p in comparison.pairs]
    caption = f"Headline in points, seed by seed; {SPREAD} of the differences."
    return [
        element("h3", "Paired differences"),
        table(PAIR_HEADER, rows, caption=caption, num_texts=2),
    ]


def _places(bench: Bench) -> list[str]:
    """Commits and versions where they are not all the same."""
    told = []
    runs = [run for group in bench.groups for run in group.runs]
    for key in ("commit", "machine"):
        values = dict.fromkeys(str(run.results.get(key)) for run in runs)
        if len(values) > 1:
            told.append(f"The runs are of more than one {key}: {', '.join(values)}.")
    names = dict.fromkeys(n for run in runs for n in run.results.get("versions") or {})
    for name in names:
        values = dict.fromkeys(str((run.results.get("versions") or {}).get(name)) for run in runs)
        if len(values) > 1:
            told.append(f"The runs are of more than one version of {name}: {', '.join(values)}.")
    return told


def _settings(groups: Sequence[Group]) -> list[Markup]:
    differ, alone = differing(groups)
    told = []
    header = ["key", *(named(group.label) for group in groups)]

    def rows(keys: Sequence[str]) -> list[list[Any]]:
        return [[key, *(str(g.settings.get(key, "-")) for g in groups)] for key in keys]

    if differ:
        caption = "Keys that at least two of the methods have and that differ."
        shown = table(header, rows(differ), caption=caption, num_texts=len(header))
        told += [element("h3", "Settings that differ"), shown]
    if alone:
        shown = table(header, rows(alone), num_texts=len(header))
        told.append(folded(f"{len(alone)} settings that only some methods have", shown))
    return told


def _curves(bench: Bench) -> Markup:
    if bench.setting == SINGLE_STAGE:
        return _bars(bench)
    keys = _CURVES.get(bench.setting, _CURVES[""])
    x_key = "stream/seen" if bench.setting == ONLINE else "stage"
    drawn = []
    for title, key in zip(_PANELS, keys, strict=True):
        lines = [
            Line(group.label, points, band, color, dash, bench.setting != ONLINE)
            for group, color, dash in zip(bench.groups, COLORS * 9, _dashes(), strict=False)
            for points, band in [_mean_line(group, x_key, key)]
        ]
        floors = _floor_lines(bench, x_key, key)
        what = "samples answered" if bench.setting == ONLINE else "stage"
        everything = [*floors, *lines]
        chart = line_chart(everything, what, "percent", _range(everything))
        if chart:
            caption = f"{title}: mean over the seeds, band of one standard deviation"
            drawn.append(figure(chart, caption))
    return panels(*drawn)


def _range(lines: Sequence[Line]) -> tuple[float, float]:
    """From the fifth below the lowest point, so that lines close together are told apart."""
    heights = [y for line in lines for _, y in line.points]
    heights += [y for line in lines for pair in line.band for y in pair]
    low = math.floor(5 * min(heights, default=0.0)) / 5
    return min(low, 0.8), max(low + 0.2, math.ceil(5 * max(heights, default=1.0)) / 5)


def _mean_line(
    group: Group, x_key: str, key: str
) -> tuple[list[tuple[float, float]], list[tuple[float, float]]]:
    """Mean and band at every x that all runs of a group have."""
    by_x: dict[float, list[float]] = {}
    for run in group.runs:
        for row in run.rows:
            if key in row:
                by_x.setdefault(float(row[x_key]), []).append(float(row[key]))
    points, band = [], []
    for x in sorted(by_x):
        told = Summary.of(by_x[x])
        if told is None or told.n < len(group.runs):
            continue
        points.append((x, told.mean))
        spread = told.std or 0.0
        band.append((max(0.0, told.mean - spread), min(1.0, told.mean + spread)))
    return points, band if len(group.runs) > 1 else []


def _floor_lines(bench: Bench, x_key: str, key: str) -> list[Line]:
    """Floors and bound, the mean over all runs."""
    everyone = Group("", [run for group in bench.groups for run in group.runs], {})
    lines = []
    for scale, dash in zip(scales(bench.setting), ("2 3", "7 3", "9 3 2 3"), strict=False):
        points, _ = _mean_line(everyone, x_key, str(scale_key(scale, key)))
        color = DARK if scale.front.startswith("bound") else GRAY
        lines.append(Line(scale.title, points, (), color, dash, False, 1.5))
    return lines


def _bars(bench: Bench) -> Markup:
    drawn = []
    for part, title in PARTS.items():
        series = []
        for group, color in zip(bench.groups, COLORS * 9, strict=False):
            told = [
                Summary.of([run.rows[0][key] for run in group.runs if key in run.rows[0]])
                for key in (f"{part}/accuracy/{name}" for name in ("all", "known", "novel"))
            ]
            values = [None if t is None else t.mean for t in told]
            series.append(
                (group.label, color, values, [None if t is None else t.std for t in told])
            )
        if any(value is not None for _, _, values, _ in series for value in values):
            chart = bar_chart(_PANELS, series)
            caption = f"Percent of the {title}; the line is one standard deviation to each side"
            drawn.append(figure(chart, caption))
    return panels(*drawn)


def _dashes() -> list[str | None]:
    """All lines of one round of colors alike, the next round's other."""
    return [dash for dash in DASHES for _ in COLORS] * 9
