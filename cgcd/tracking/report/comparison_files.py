"""A comparison as Markdown, to paste somewhere, and as CSV, to compute with."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

from cgcd.tracking.cells import csv_text
from cgcd.tracking.report.columns import legend
from cgcd.tracking.report.compared import Comparison
from cgcd.tracking.report.comparison import BEST, PAIR_HEADER, cell_text, pair_cells, seeds_text
from cgcd.tracking.report.markup import shown
from cgcd.tracking.report.statistics import SPREAD

_SPECIAL = re.compile(r"([\\`*_{}\[\]#|~$])")


def comparison_markdown(comparisons: Sequence[Comparison], notes: Sequence[str] = ()) -> str:
    """Tables of methods and of their differences."""
    parts = ["# Runs compared", *(f"- {plain(note)}" for note in notes)]
    for comparison in comparisons:
        bench = comparison.bench
        definition = bench.groups[0].runs[0].results["headline"]["definition"]
        parts += [f"## {plain(bench.title)}", f"Headline: {plain(definition)}."]
        parts += [f"- {plain(note)}" for note in [*bench.notes, *comparison.beaten] if note]
        parts.append(f"{plain(legend(bench.setting))} Mean ± {SPREAD} over the seeds. {BEST}")
        rows = []
        for row in comparison.rows:
            name = plain(row.name)
            cells = [name, seeds_text(row.seeds)] if row.kind == "method" else [f"*{name}*", ""]
            for place, (column, cell) in enumerate(zip(comparison.columns, row.cells, strict=True)):
                text = cell_text(column, cell)
                cells.append(f"**{text}**" if place in row.best else text)
            rows.append(cells)
        titles = [plain(column.title) for column in comparison.columns]
        parts.append(_table(["", "n (seeds)", *titles], rows))
        if comparison.pairs:
            pairs = [[plain(p.first), plain(p.second), *pair_cells(p)] for p in comparison.pairs]
            parts.append(_table(PAIR_HEADER, pairs))
    return "\n\n".join(parts).replace("\n\n- ", "\n- ") + "\n"


def comparison_csv(comparisons: Sequence[Comparison]) -> str:
    """A number a line: bench, kind, name, metric, over, mean, std, n, seeds, is_best.

    Accuracies are fractions; `std` is empty of a single run. Differences are of the kind
    "difference", named "A minus B".
    """
    header = "bench kind name metric over mean std n seeds is_best".split()
    rows: list[Sequence[Any]] = [header]
    for comparison in comparisons:
        title = shown(comparison.bench.title)
        for row in comparison.rows:
            for place, (column, cell) in enumerate(zip(comparison.columns, row.cells, strict=True)):
                if cell is not None:
                    seeds = " ".join(map(str, row.seeds))
                    front = [title, row.kind, shown(row.name), column.key, column.over]
                    rows.append(
                        [*front, cell.mean, _or_empty(cell.std), cell.n, seeds, place in row.best]
                    )
        for pair in comparison.pairs:
            told = pair.difference.summary
            name = f"{shown(pair.first)} minus {shown(pair.second)}"
            numbers = [told.mean, _or_empty(told.std), told.n]
            rows.append([title, "difference", name, "headline", "", *numbers, "", ""])
    return csv_text(rows)


def plain(text: str) -> str:
    """A text that Markdown shows as it is: no link, no table cell, no HTML.

    >>> plain("a|b <i>")
    'a\\\\|b &lt;i&gt;'
    """
    escaped = _SPECIAL.sub(r"\\\1", shown(text).replace("&", "&amp;"))
    return escaped.replace("<", "&lt;").replace(">", "&gt;").replace("://", "&#58;//")


def _or_empty(value: float | None) -> float | str:
    return "" if value is None else value


def _table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines)
