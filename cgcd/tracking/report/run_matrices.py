"""The matrices of one run: class by stage, group by stage, confusion with its largest cells."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from cgcd.tracking.report.answers import Answers
from cgcd.tracking.report.findings import CrossTable
from cgcd.tracking.report.folder import ONLINE, SINGLE_STAGE, StoredRun
from cgcd.tracking.report.markup import Markup, element, joined, named
from cgcd.tracking.report.matrix import MOST_NAMED, heat_map
from cgcd.tracking.report.page import figure, table
from cgcd.tracking.table import percent

_MOST_PAIRS = 15


def class_accuracies(run: StoredRun) -> Markup:
    """Heat map of each class's accuracy after each stage."""
    tables = [(name, t) for name, t in run.tables.items() if t.classes]
    if run.setting == ONLINE or not tables or not run.has_truth:
        return Markup("")
    names = [name for name in run.class_names if any(name in t.classes for _, t in tables)]
    values = np.full((len(names), len(tables)), np.nan)
    place = {name: row for row, name in enumerate(names)}
    for column, (_, t) in enumerate(tables):
        values[[place[name] for name in t.classes], column] = t.accuracies
    titles = [name.removeprefix("stage_") for name, _ in tables]
    what = "stage" if run.setting != SINGLE_STAGE else "part"
    picture = heat_map(values, names, titles, x_title=what, scale="cividis")
    caption = (
        f"Percent right of each class (row) after each {what}, by the joint match; gray: not met. "
        "Dark is bad, yellow is good."
    )
    return figure(picture, caption, scrolls=True)


def group_matrix(run: StoredRun) -> Markup:
    """Accuracy of the classes that each stage brought, after each stage."""
    tables = list(run.tables.values())
    if run.setting in (SINGLE_STAGE, ONLINE) or len(tables) < 2 or not run.has_truth:
        return Markup("")
    brought: list[list[str]] = []
    known: set[str] = set()
    for t in tables:
        brought.append([name for name in t.classes if name not in known])
        known |= set(t.classes)
    values = np.full((len(tables), len(tables)), np.nan)
    for after, t in enumerate(tables):
        right: Mapping[str, tuple[float, int]] = {
            n: (a, s) for n, a, s in zip(t.classes, t.accuracies, t.counts.sum(0), strict=True)
        }
        for stage, names in enumerate(brought[: after + 1]):
            sizes = [right[n][1] for n in names if n in right]
            if sum(sizes):
                hits = sum(right[n][0] * right[n][1] for n in names if n in right)
                values[stage, after] = hits / sum(sizes)
    titles = [name.removeprefix("stage_") for name in run.tables]
    rows = ["base" if title == "0" else f"new at {title}" for title in titles]
    picture = heat_map(values, rows, titles, x_title="after stage", scale="cividis")
    return figure(
        picture,
        "Percent right of the classes that a stage brought (row) after each stage: to the right "
        "it tells what was forgotten, the diagonal what was discovered.",
        scrolls=True,
    )


def confusion(table_: CrossTable, answers: Answers) -> Markup:
    """Classes against categories, matches on the diagonal, and the largest mix-ups."""
    counts = table_.counts
    order = [int(row) for row in table_.row_of_class if row >= 0]
    rest = sorted(set(range(len(counts))) - set(order), key=lambda row: -counts[row].sum())
    order += rest
    titles = [answers.category_names[table_.categories[row]] for row in order]
    total = np.maximum(counts.sum(0), 1)
    picture = heat_map(
        (counts[order] / total).T,
        table_.classes,
        titles,
        x_title="category, in the order of the classes that it is matched with",
        hides_zero=True,
    )
    caption = "Percent of each class (row) in each category (column)."
    if max(counts.shape) > MOST_NAMED:
        caption += " Too many for names; the largest mix-ups are listed below."
    return joined(figure(picture, caption, scrolls=True), _mix_ups(table_, answers))


def _mix_ups(table_: CrossTable, answers: Answers) -> Markup:
    """The largest parts of classes that lie in the category of another class, or of none."""
    owner = {int(row): name for name, row in zip(table_.classes, table_.row_of_class, strict=True)}
    total = np.maximum(table_.counts.sum(0), 1)
    pairs: list[tuple[float, tuple[int, int]]] = []
    for row, column in np.argwhere(table_.counts > 0).tolist():
        if owner.get(row) != table_.classes[column]:
            pairs.append((table_.counts[row, column] / total[column], (row, column)))
    pairs.sort(key=lambda pair: (-pair[0], pair[1]))
    rows = [
        [
            named(table_.classes[column]),
            named(answers.category_names[table_.categories[row]]),
            named(owner[row]) if row in owner else "none",
            f"{percent(share)} ({table_.counts[row, column]})",
        ]
        for share, (row, column) in pairs[:_MOST_PAIRS]
    ]
    if not rows:
        return Markup("")
    header = ("class", "lies in category", "which is matched with", "percent (samples)")
    return joined(element("h3", "Largest mix-ups"), table(header, rows, num_texts=3))
