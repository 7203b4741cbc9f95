"""What is in the stages of a scenario, counted, and as a table; says more than a strategy is told.

The numbers come from the stages themselves (labels, sample ids) and from the scenario's
description, which knows the classes of hidden samples where there is a truth.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from cgcd.stages import DiscoveryScenario
from cgcd.vocabulary import UNLABELED

MOST_ROWS = 20
"""Classes up to which the table has a row for each."""

_NAME_WIDTH = 24


@dataclass(frozen=True, eq=False)
class StageCounts:
    """Numbers of one stage; K' classes met up to it.

    Attributes:
        index: stage, 0 is the base stage.
        num_known: classes met before; at a mixed stage 0 those with a label. None: nobody knows.
        num_novel: classes first met here, or None.
        labeled, unlabeled: samples.
        test: test samples of all classes so far, None where there is no such set.
        repeated: samples that an earlier stage held too.
        leaked: samples without a label here that an earlier stage showed with one; 0 in any sound
            stream.
        per_class: labeled samples of each row's class and all of them, (K', 2) int64; None where
            the classes of hidden samples are unknown.
    """

    index: int
    num_known: int | None
    num_novel: int | None
    labeled: int
    unlabeled: int
    test: int | None
    repeated: int
    leaked: int
    per_class: np.ndarray | None


def stage_counts(scenario: DiscoveryScenario) -> list[StageCounts]:
    """Numbers of every train stage in order; each sample is looked up once a stage."""
    described = {int(row["stage"]): row for row in scenario.description.get("stages", [])}
    seen = shown = np.empty(0, dtype=np.int64)
    table = []
    for stage in scenario.train_stream:
        row: Mapping[str, Any] = described.get(stage.index, {})
        ids, labels = np.asarray(list(stage.dataset.sample_id)), stage.labels
        labeled = labels != UNLABELED
        novel, known = row.get("novel_classes"), row.get("num_known")
        if not described:  # a stream of somebody's own: what its stages tell
            novel = range(scenario.num_base) if stage.index == 0 else None
            known = 0 if stage.index == 0 else None
        table.append(
            StageCounts(
                index=stage.index,
                num_known=known,
                num_novel=stage.num_novel if novel is None else len(novel),
                labeled=int(labeled.sum()),
                unlabeled=int((~labeled).sum()),
                test=row.get("test"),
                repeated=int(np.isin(ids, seen).sum()),
                leaked=int(np.isin(ids[~labeled], shown).sum()),
                per_class=_per_class(labels, row.get("images_per_class")),
            )
        )
        seen = np.union1d(seen, ids)
        shown = np.union1d(shown, ids[labeled])
    return table


def composition_text(scenario: DiscoveryScenario, counts: Sequence[StageCounts]) -> str:
    """The table of stages, that of classes, and what is the same for all runs of this stream."""
    lines = ["stage  known  novel  labeled  unlabeled    test  seen before"]
    for row in counts:
        cells = [
            f"{row.index:>5}",
            f"{_text(row.num_known):>5}",
            f"{_text(row.num_novel):>5}",
            f"{row.labeled:>7}",
            f"{row.unlabeled:>9}",
            f"{_text(row.test):>6}",
            f"{row.repeated:>11}",
        ]
        lines.append("  ".join(cells))
    lines += ["", *_class_lines(scenario.class_names, counts), ""]
    different = len({int(i) for stage in scenario.train_stream for i in stage.dataset.sample_id})
    drawn = sum(row.labeled + row.unlabeled for row in counts)
    lines += [
        f"samples: {drawn} in all stages, {different} different ones",
        f"labeled samples that come back without their label: {sum(r.leaked for r in counts)}",
        f"stream hash: {scenario.stream_hash}",
        f"data hash:   {scenario.data_hash}",
    ]
    return "\n".join(lines)


def class_matrix(counts: Sequence[StageCounts]) -> np.ndarray | None:
    """Labeled and all samples of each class at each stage, (K, T, 2); None without any truth.

    Stages whose classes are unknown show what is labeled there alone.
    """
    known = [row.per_class for row in counts if row.per_class is not None]
    if not known:
        return None
    matrix = np.zeros((max(map(len, known)), len(counts), 2), dtype=np.int64)
    for place, row in enumerate(counts):
        if row.per_class is not None:
            matrix[: len(row.per_class), place] = row.per_class
    return matrix


def _per_class(labels: np.ndarray, described: Mapping[Any, int] | None) -> np.ndarray | None:
    shown = np.bincount(labels[labels != UNLABELED])
    if described is not None:
        totals = np.array(list(described.values()), dtype=np.int64)
    elif (labels != UNLABELED).all():
        totals = shown
    else:
        return None
    size = max(len(shown), len(totals))
    return np.column_stack([np.pad(part, (0, size - len(part))) for part in (shown, totals)])


def _class_lines(names: Sequence[str], counts: Sequence[StageCounts]) -> list[str]:
    matrix = class_matrix(counts)
    if matrix is None:
        return ["samples by class: unknown, there is no truth"]
    if len(matrix) > MOST_ROWS:
        return _group_lines(counts)
    rows = [[_cell(*cell) for cell in row] for row in matrix.tolist()]
    heads = [f"{row.index}" if row.per_class is not None else f"{row.index}?" for row in counts]
    widths = [max(map(len, column)) for column in zip(heads, *rows, strict=True)]
    titles = [_shortened(name) for name in names[: len(matrix)]]
    front = max(map(len, [*titles, "class"]))

    def line(title: str, cells: Sequence[str]) -> str:
        padded = (f"{cell:>{width}}" for cell, width in zip(cells, widths, strict=True))
        return f"{title:<{front}}  " + "  ".join(padded)

    body = [line(title, row) for title, row in zip(titles, rows, strict=True)]
    return ["samples by class and stage (L: labeled)", line("class", heads), *body]


def _group_lines(counts: Sequence[StageCounts]) -> list[str]:
    """Least, median and most samples of a class for the known and the novel classes."""
    lines = ["samples of a class: least / median / most (labeled)"]
    lines.append(f"stage  {'classes known before':<34}  classes first met here")
    for row in counts:
        if row.per_class is None:
            lines.append(f"{row.index:>5}  unknown, there is no truth")
            continue
        known = row.num_known or 0
        cells = (_spread(row.per_class[:known]), _spread(row.per_class[known:]))
        lines.append(f"{row.index:>5}  {cells[0]:<34}  {cells[1]}".rstrip())
    return lines


def _spread(part: np.ndarray) -> str:
    if not len(part):
        return "-"
    totals, labeled = part[:, 1], int(part[:, 0].sum())
    middle = f"{np.median(totals):g}"
    text = f"{len(part)}: {totals.min()} / {middle} / {totals.max()}"
    return text + (f" ({labeled} L)" if labeled else "")


def _cell(labeled: int, total: int) -> str:
    if not labeled:
        return str(total) if total else "."
    return f"{labeled}L" + (f"+{total - labeled}" if total > labeled else "")


def _text(value: int | None) -> str:
    return "-" if value is None else str(value)


def _shortened(name: str) -> str:
    plain = " ".join(str(name).split())
    return plain if len(plain) <= _NAME_WIDTH else f"{plain[: _NAME_WIDTH - 3]}..."
