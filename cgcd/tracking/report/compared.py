"""The table of a comparison as numbers: methods, floors and bounds by row, mean and spread."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from cgcd.tracking.report.columns import Column, columns, present, scale_key, scales
from cgcd.tracking.report.folder import StoredRun
from cgcd.tracking.report.grouping import Bench, Group
from cgcd.tracking.report.statistics import Difference, Summary

_MOST_PAIRED = 6


@dataclass(frozen=True)
class ComparedRow:
    """One row of a comparison.

    Attributes:
        name: method, or floor or bound.
        kind: "method" or "scale".
        cells: of each column, None where there is no such number in every run.
        best: columns in which it has the best mean of all methods.
        seeds: of its runs.
    """

    name: str
    kind: str
    cells: list[Summary | None]
    seeds: list[int]
    best: frozenset[int] = field(default_factory=frozenset)


@dataclass(frozen=True)
class Pair:
    """Headline of one group minus that of another.

    Attributes:
        first, second: labels.
        difference: over common seeds.
    """

    first: str
    second: str
    difference: Difference


@dataclass(frozen=True)
class Comparison:
    """Everything that one bench's tables hold.

    Attributes:
        bench: the groups.
        columns: numbers of each row.
        rows: methods in the order in which they were given, then floors and bounds.
        pairs: of methods.
        beaten: sentences on methods whose headline is below that of a floor or bound.
    """

    bench: Bench
    columns: list[Column]
    rows: list[ComparedRow]
    pairs: list[Pair]
    beaten: list[str]

    @classmethod
    def of(cls, bench: Bench) -> Comparison:
        """Count one bench."""
        runs = [run for group in bench.groups for run in group.runs]
        chosen = present(columns(bench.setting), runs)
        methods = [
            ComparedRow(group.label, "method", _cells(group.runs, chosen), group.seeds)
            for group in bench.groups
        ]
        rows = [*_with_best(methods, chosen), *_scale_rows(bench, chosen)]
        return cls(bench, chosen, rows, _pairs(bench.groups), _beaten(bench, chosen[0]))


def _cells(
    runs: Sequence[StoredRun], chosen: Sequence[Column], keys: Sequence[str | None] | None = None
) -> list[Summary | None]:
    """A summary a column, None where a run lacks the number."""
    cells = []
    for place, column in enumerate(chosen):
        key = column.key if keys is None else keys[place]
        values = [None if key is None else column.value(run.rows, key) for run in runs]
        known = [value for value in values if value is not None]
        cells.append(Summary.of(known) if len(known) == len(values) else None)
    return cells


def _with_best(rows: Sequence[ComparedRow], chosen: Sequence[Column]) -> list[ComparedRow]:
    """Rows that know where their mean is the best; nobody is best alone."""
    best: list[set[int]] = [set() for _ in rows]
    for place, column in enumerate(chosen):
        means = {
            row: column.better * cell.mean
            for row, cells in enumerate(rows)
            if (cell := cells.cells[place]) is not None
        }
        if column.better and len(means) > 1:
            top = max(means.values())
            for row, mean in means.items():
                if mean == top:
                    best[row].add(place)
    return [
        ComparedRow(row.name, row.kind, row.cells, row.seeds, frozenset(places))
        for row, places in zip(rows, best, strict=True)
    ]


def _scale_rows(bench: Bench, chosen: Sequence[Column]) -> list[ComparedRow]:
    """Floors and bounds, once where they are the same beside every method."""
    found = []
    for scale in scales(bench.setting):
        keys = [scale_key(scale, column.key) for column in chosen]
        rows = [(group, _cells(group.runs, chosen, keys)) for group in bench.groups]
        rows = [(group, cells) for group, cells in rows if any(cells)]
        is_shared = all(_texts(chosen, cells) == _texts(chosen, rows[0][1]) for _, cells in rows)
        for group, cells in rows[:1] if is_shared else rows:
            name = scale.title if is_shared else f"{scale.title}, beside {group.label}"
            found.append(ComparedRow(name, "scale", cells, group.seeds))
    return found


def _texts(chosen: Sequence[Column], cells: Sequence[Summary | None]) -> list[str]:
    return [
        "" if cell is None else f"{column.text(cell.mean)} {cell.n}"
        for column, cell in zip(chosen, cells, strict=True)
    ]


def _beaten(bench: Bench, headline: Column) -> list[str]:
    told = []
    for group in bench.groups:
        (own,) = _cells(group.runs, [headline])
        above = []
        for scale in scales(bench.setting):
            (other,) = _cells(group.runs, [headline], [scale_key(scale, headline.key)])
            if own is not None and other is not None and other.mean > own.mean:
                above.append(f"its {scale.title}")
        if above:
            told.append(f"{group.label} is below {' and '.join(above)} in {headline.title}.")
    return told


def _pairs(groups: Sequence[Group]) -> list[Pair]:
    """Every two methods, or where there are many each with the best."""
    scores = [
        {run.seed: float(run.results["headline"]["value"]) for run in group.runs if run.has_truth}
        for group in groups
    ]
    known = [place for place, score in enumerate(scores) if score]
    means = {place: sum(scores[place].values()) / len(scores[place]) for place in known}
    order = sorted(known, key=lambda place: -means[place])
    firsts = order if len(order) <= _MOST_PAIRED else order[:1]
    pairs = []
    for at, first in enumerate(firsts):
        for second in order[at + 1 :]:
            difference = Difference.of(scores[first], scores[second])
            if difference is not None:
                pairs.append(Pair(groups[first].label, groups[second].label, difference))
    return pairs
