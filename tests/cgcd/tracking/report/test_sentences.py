"""Sentences of constructed runs."""

from __future__ import annotations

import json
import re

from cgcd.tracking.report.folder import StoredRun
from cgcd.tracking.report.sentences import sentences


def told(folder) -> list[str]:
    run = StoredRun(folder, json.loads((folder / "results.json").read_text(encoding="utf-8")))
    return [re.sub("<[^>]*>", "", text).replace("&#x27;", "'") for text in sentences(run)]


BASE = ["apple", "bear", "oak"]
FIRST = [("apple", 0)] * 10 + [("bear", 1)] * 10 + [("oak", 2)] * 10


def row(stage: int, before: int, after: int, **more: float) -> dict[str, float]:
    counts = {"stage/num_known": before, "stage/num_classes": after, "stage/found": after}
    return {"stage": stage, **counts, "seconds": 1.0, **more}


def test_a_stage_in_words(tmp_path, write_run):
    later = [("apple", 0)] * 10 + [("bear", 0)] * 4 + [("bear", 1)] * 6
    later += [("oak", 2)] * 5 + [("oak", 3)] * 5
    later += [("trout", 4)] * 10 + [("ray", 4)] * 9 + [("ray", 0)] + [("rose", 5)] * 10
    rows = [row(0, 3, 3, **{"accuracy/all": 1.0})]
    rows.append(row(1, 3, 6, **{"accuracy/all": 0.6, "floor/kmeans_all": 0.7}))
    answers = {"stage_0": FIRST, "stage_1": later}
    folder = write_run(tmp_path / "run", rows, answers, BASE, headline=0.6)
    assert told(folder) == [
        "Stage 0 learned 3 labeled classes: 100.0 % of their test samples are right.",
        "Stage 1 found 2 of 3 new classes, not 'ray'; 'ray' and 'trout' were merged; 'bear' and "
        "'oak' were split in two; forgotten of the base classes: 'oak' (by 50 points) and 'bear' "
        "(by 40 points); k-means scores higher.",
    ]


def test_what_was_told_is_not_told_again(tmp_path, write_run):
    second = [*FIRST[:24], *[("oak", 3)] * 6, *[("trout", 3)] * 12]
    rows = [row(0, 3, 3), row(1, 3, 4), row(2, 4, 5), row(3, 5, 5)]
    third = [*second, *[("ray", 4)] * 10]
    last = [(true, 3 if true == "oak" else k) for true, k in third]
    answers = {"stage_0": FIRST, "stage_1": second, "stage_2": third, "stage_3": last}
    folder = write_run(tmp_path / "run", rows, answers, BASE, headline=0.5)
    assert told(folder)[1:] == [
        "Stage 1 found its one new class, 'trout'; 'oak' and 'trout' were merged; 'oak' was split "
        "in two; forgotten of the base classes: 'oak' (by 60 points).",
        "Stage 2 found its one new class, 'ray'.",
        "Stage 3 found no new class, for there was none; forgotten of the base classes: 'oak' (by "
        "100 points).",
    ]


def test_many_names_are_cut(tmp_path, write_run):
    new = [(f"class {k}", 0) for k in range(12)]
    rows = [row(0, 3, 3), row(1, 3, 15)]
    answers = {"stage_0": FIRST, "stage_1": FIRST + new}
    text = told(write_run(tmp_path / "run", rows, answers, BASE, headline=0.5))[1]
    assert "found 0 of 12 new classes, not 'class 0', 'class 1'" in text
    assert "'class 7' or 4 more" in text
    assert "100.0 % of the samples of new classes went to labeled categories" in text


def test_without_truth_only_counts(tmp_path, write_run):
    hidden = [*FIRST[:10], *[("", 3)] * 4, *[("", 4)], *[("", 0)] * 5]
    rows = [row(0, 3, 3), row(1, 3, 5, **{"held/base": 0.9, "stage/num_novel_estimated": 2})]
    answers = {"stage_0": FIRST, "stage_1": hidden}
    folder = write_run(tmp_path / "run", rows, answers, BASE)
    assert told(folder)[1] == (
        "Stage 1 made 2 new categories (their number was estimated); 5 of 20 samples lie in new "
        "categories, most in new-3 (4); 90.0 % of base samples got the name of their class."
    )


def test_a_single_stage_is_told_by_part(tmp_path, write_run):
    counts = {"stage": 0, "stage/num_known": 3, "stage/num_classes": 4, "seconds": 1.0}
    answers = {"unlabeled": [*FIRST, ("ray", 3)], "test": [*FIRST, ("ray", 0)]}
    folder = write_run(
        tmp_path / "run", [counts], answers, BASE, headline=0.5, setting="single_stage"
    )
    assert told(folder) == [
        "Among the unlabeled training samples the run found its one new class, 'ray'.",
        "Among the test samples the run did not find its one new class, 'ray'; 'apple' and 'ray' "
        "were merged; 100.0 % of the samples of new classes went to labeled categories.",
    ]


def test_a_stream_is_told_as_a_whole(tmp_path, write_run):
    counts = {"stage": 1, "stream/seen": 32, "stream/created": 2, "seconds": 1.0}
    counts |= {"stream/true_novel": 1, "identity/known": 0.9, "identity/false_known": 0.5}
    counts |= {"strict/all": 0.4, "floor/leader_strict_all": 0.5}
    answers = {"stream": [*FIRST, ("ray", 3), ("ray", 4)]}
    folder = write_run(tmp_path / "run", [counts], answers, BASE, headline=0.4, setting="online")
    assert told(folder) == [
        "The run answered 32 samples in 1 window and opened 2 categories for 1 new class.",
        "Over the whole stream it found its one new class, 'ray'; 'ray' was split in two; 90.0 % "
        "of the samples of known classes got the name of their class, and 50.0 % of those of new "
        "classes the name of a known one; untrained leader clustering scores higher.",
    ]
