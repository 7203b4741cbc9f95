"""The page of one run."""

from __future__ import annotations

from cgcd.tracking.report.facts import facts_table, settings
from cgcd.tracking.report.findings import RULES
from cgcd.tracking.report.folder import PARTS, SINGLE_STAGE, STAGED, StoredRun
from cgcd.tracking.report.gallery import gallery, read_analysis
from cgcd.tracking.report.markup import Markup, element, joined, named
from cgcd.tracking.report.page import bullets, document, folded, panels, section, sentence
from cgcd.tracking.report.run_arrays import drift, novelty
from cgcd.tracking.report.run_charts import confidences, count_evidence, curves, shares
from cgcd.tracking.report.run_matrices import class_accuracies, confusion, group_matrix
from cgcd.tracking.report.sentences import labeled_classes, sentences
from cgcd.tracking.report.stage_table import run_tables
from cgcd.tracking.table import percent


def run_page(run: StoredRun) -> str:
    """A run as one HTML file: what it reached, in words, in numbers and in pictures.

    What needs truth is left out where there is none, which is said once.
    """
    title = joined(
        named(run.results["strategy"]), " on ", named(run.results["scenario"]), f", seed {run.seed}"
    )
    told = sentences(run)
    content = [
        element("h1", title),
        _headline(run),
        section(
            "In words",
            bullets(told) if told else None,
            folded("the rules of these sentences", bullets(RULES)) if run.has_truth else None,
        ),
        section("Numbers", run_tables(run)),
        section("Accuracy", curves(run)),
        section("What was forgotten and discovered", group_matrix(run)),
        section("What was taken for old and for new", shares(run)),
        section("Classes", class_accuracies(run)),
        *_last_answers(run),
        section("How many classes are new", count_evidence(run)),
        section("Drift of the prototypes", drift(run)),
        *_galleries(run),
        section("What ran", facts_table(run), settings(run)),
    ]
    return document(f"{run.name}: report", *content)


def _headline(run: StoredRun) -> Markup:
    head = run.results["headline"]
    if head["value"] is None:
        return sentence(
            "There is no truth for all samples, so accuracies, class by class pictures and floors "
            "are left out here; what follows tells what was put where."
        )
    return joined(
        element("div", f"{percent(head['value'])} %", class_="big"),
        element("p", head["definition"]),
    )


def _last_answers(run: StoredRun) -> list[Markup]:
    """Confusion and confidence after the last stage, or of every part."""
    names = list(run.answers)
    if run.setting == STAGED:
        names = names[-1:]
    drawn = []
    for name in names:
        answers, table = run.answers[name], run.tables.get(name)
        where = _place(run, name)
        if table is not None:
            drawn.append(section(f"Confusion{where}", confusion(table, answers)))
        known = _known_before(run, name)
        pictures = [confidences(answers, known), novelty(run, name)]
        drawn.append(section(f"Confidence{where}", panels(*pictures)))
    return drawn


def _galleries(run: StoredRun) -> list[Markup]:
    """Of the last stage, of the unlabeled part, or of a stream."""
    name = next(reversed(run.answers), "") if run.setting != SINGLE_STAGE else "unlabeled"
    found = gallery(run.folder, read_analysis(run.folder, name))
    return [section(f"What the categories look like{_place(run, name)}", found)]


def _known_before(run: StoredRun, name: str) -> set[str]:
    """Classes met before the last stage, or labeled ones."""
    names = list(run.answers)
    if run.setting == STAGED and names.index(name):
        return set(run.answers[names[names.index(name) - 1]].classes)
    return labeled_classes(run)


def _place(run: StoredRun, name: str) -> str:
    if run.setting == STAGED:
        return f" after stage {name.removeprefix('stage_')}"
    return f", {PARTS[name]}" if name in PARTS else ""
