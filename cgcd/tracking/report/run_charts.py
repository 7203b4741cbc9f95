"""The charts of one run: accuracies over stages, windows or parts, confidence, counts."""

from __future__ import annotations

import math

import numpy as np

from cgcd.tracking.report.answers import Answers
from cgcd.tracking.report.chart import (
    BLACK,
    BLUE,
    COLORS,
    DARK,
    DASHES,
    GRAY,
    GREEN,
    ORANGE,
    RED,
    Line,
    bar_chart,
    histogram,
    line_chart,
)
from cgcd.tracking.report.folder import ONLINE, PARTS, SINGLE_STAGE, STAGED, StoredRun
from cgcd.tracking.report.markup import Markup, joined, named
from cgcd.tracking.report.page import figure, panels
from cgcd.tracking.table import estimate_text

_LINES = (
    ("closed-set bound, All", "bound/closed_set_all", DARK, "9 3 2 3"),
    ("k-means, All", "floor/kmeans_all", GRAY, "2 3"),
    ("nearest mean, All", "floor/nearest_mean_all", GRAY, "7 3"),
    ("Base", "accuracy/base", GREEN, None),
    ("Known", "accuracy/known", BLUE, None),
    ("Novel", "accuracy/novel", ORANGE, None),
    ("All", "accuracy/all", BLACK, None),
)
_STREAM_LINES = (
    ("closed-set bound, All", "bound/closed_set_strict_all", DARK, "9 3 2 3"),
    ("untrained leader, All", "floor/leader_strict_all", GRAY, "7 3"),
    ("known by name", "identity/known", GREEN, None),
    ("strict Known", "strict/known", BLUE, None),
    ("strict Novel", "strict/novel", ORANGE, None),
    ("strict All", "strict/all", BLACK, None),
)
_BINS = np.linspace(0, 1, 21)


def curves(run: StoredRun) -> Markup:
    """Accuracies over stages, parts or samples seen, with floors and bound."""
    if run.setting == SINGLE_STAGE:
        return _bars(run)
    if run.setting == ONLINE:
        return _stream_curves(run)
    rows = run.results["stages"]
    lines = []
    for title, key, color, dash in _LINES if run.has_truth else ():
        points = [(row["stage"], row[key]) for row in rows if key in row]
        band = _wilson(run, points) if key == "accuracy/all" else ()
        is_scale = dash is not None
        lines.append(Line(title, points, band, color, dash, not is_scale, 1.6 if is_scale else 2.2))
    if not run.has_truth:
        points = [(row["stage"], row["held/base"]) for row in rows if "held/base" in row]
        lines = [Line("base samples that got the name of their class", points, color=GREEN)]
    chart = line_chart(lines, "stage", "percent", (0.0, 1.0))
    caption = "The band is the 95 % Wilson interval of All for that many test samples."
    return figure(chart, caption if run.has_truth else None) if chart else chart


def confidences(answers: Answers, known: set[str]) -> Markup:
    """How sure the answers were: known and new classes, or categories where there is no truth."""
    sure = answers.confidences
    if sure is None:
        return Markup("")
    if answers.is_complete:
        is_known = np.array([name in known for name in answers.true_names.tolist()], bool)
        titles = ("samples of known classes", "samples of new classes")
    else:
        is_known = ~np.isin(answers.categories, list(answers.is_new))
        titles = ("put in labeled categories", "put in new categories")
    series = [
        (title, color, np.histogram(sure[which], _BINS)[0].tolist())
        for title, color, which in zip(titles, (BLUE, RED), (is_known, ~is_known), strict=True)
    ]
    chart = histogram(_BINS.tolist(), series, "largest softmax value, not calibrated")
    return figure(chart) if chart else chart


def shares(run: StoredRun) -> Markup:
    """Share of the answers in base, earlier and new categories, against that of the classes."""
    if run.setting != STAGED or len(run.answers) < 2:
        return Markup("")
    lines: list[list[tuple[float, float]]] = [[] for _ in range(6)]
    first: dict[str, int] = {}
    for row in run.results["stages"]:
        stage = int(row["stage"])
        answers = run.answers.get(f"stage_{stage}")
        if answers is None:
            continue
        first |= {name: stage for name in answers.classes if name not in first}
        is_new = np.isin(answers.categories, list(answers.is_new))
        is_late = is_new & (answers.categories >= row["stage/num_known"])
        groups = [~is_new, is_new & ~is_late, is_late]
        if answers.is_complete:
            met = np.array([first[name] for name in answers.true_names.tolist()])
            groups += [met == 0, (met > 0) & (met < stage), (met == stage) & (stage > 0)]
        for points, group in zip(lines, groups, strict=False):
            points.append((stage, float(group.mean())))
    titles = [f"{g}, {w}" for w in ("answered", "in truth") for g in ("base", "earlier", "new")]
    drawn = [
        Line(title, points, (), color, dash, dash is None)
        for title, points, color, dash in zip(
            titles, lines, (GREEN, BLUE, ORANGE) * 2, (None,) * 3 + ("2 3",) * 3, strict=True
        )
    ]
    chart = line_chart(drawn, "stage", "percent of test samples", (0.0, 1.0))
    return figure(chart, "Where a solid line is above its dotted one, too much was put there.")


def count_evidence(run: StoredRun) -> Markup:
    """What the estimator saw over the numbers that it tried."""
    true = {row["stage"]: row.get("stage/num_novel_true") for row in run.results["stages"]}
    drawn = []
    for count in run.results.get("counts", []):
        lines = [
            Line(name, _scaled(count["candidates"], scores), (), color, dash)
            for (name, scores), color, dash in zip(
                count["scores"].items(), COLORS * 3, DASHES * 6, strict=False
            )
        ]
        marks = [(float(count["estimated"]), f"estimated: {estimate_text(count)}", BLACK)]
        truth = true.get(count["stage"], run.results.get("true_novel"))
        if truth is not None:
            marks.append((float(truth), f"in truth: {int(truth)}", GREEN))
        chart = line_chart(lines, "novel classes", "least to largest", (0.0, 1.0), marks)
        caption = joined("Stage ", count["stage"], ", by ", named(count["estimator"]))
        drawn.append(figure(chart, caption))
    return panels(*drawn)


def _scaled(candidates: list[float], scores: list[float]) -> list[tuple[float, float]]:
    """Scores between their least and largest; those that are no number are left out."""
    pairs = [(x, s) for x, s in zip(candidates, scores, strict=True) if math.isfinite(s)]
    low = min((s for _, s in pairs), default=0.0)
    span = (max((s for _, s in pairs), default=1.0) - low) or 1.0
    return [(float(x), (s - low) / span) for x, s in pairs]


def _bars(run: StoredRun) -> Markup:
    row, drawn = run.rows[0], []
    for part, title in PARTS.items():
        values = [row.get(f"{part}/accuracy/{g}") for g in ("all", "known", "novel")]
        if values[0] is None:
            continue
        levels = [
            (name, color, dash, row[f"{part}/{key}"])
            for name, key, color, dash in _LINES[:3]
            if f"{part}/{key}" in row
        ]
        series = [(str(run.results["strategy"]), BLUE, values, [None] * 3)]
        chart = bar_chart(("All", "Known", "Novel"), series, levels)
        drawn.append(figure(chart, f"Percent of the {title}"))
    return panels(*drawn)


def _stream_curves(run: StoredRun) -> Markup:
    rows = run.rows
    lines = []
    for title, key, color, dash in _STREAM_LINES:
        points = [(row["stream/seen"], row[key]) for row in rows if key in row]
        lines.append(Line(title, points, (), color, dash, False, 1.6 if dash else 2.2))
    made = [(row["stream/seen"], row["stream/created"]) for row in rows]
    counts = [Line("categories opened", made, is_marked=False)]
    true = [(r["stream/seen"], r["stream/true_novel"]) for r in rows if "stream/true_novel" in r]
    counts.append(Line("new classes so far", true, (), GREEN, "7 3", False))
    above = line_chart(lines, "samples answered", "percent so far", (0.0, 1.0))
    below = line_chart(counts, "samples answered", "categories")
    return panels(*(figure(chart) for chart in (above, below) if chart))


def _wilson(run: StoredRun, points: list[tuple[float, float]]) -> list[tuple[float, float]]:
    """95 % interval of a share; empty where the number of samples is unknown."""
    sizes = [len(run.answers[n].categories) for n in run.answers]
    if len(sizes) != len(points):
        return []
    band, z = [], 1.96
    for (_, share), size in zip(points, sizes, strict=True):
        middle = (share + z * z / (2 * size)) / (1 + z * z / size)
        half = (
            z
            / (1 + z * z / size)
            * math.sqrt(share * (1 - share) / size + z * z / (4 * size * size))
        )
        band.append((max(0.0, middle - half), min(1.0, middle + half)))
    return band
