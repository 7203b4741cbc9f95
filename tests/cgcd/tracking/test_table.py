"""The printed table and its closing lines, by hand."""

from __future__ import annotations

from cgcd.tracking.table import HEADER, estimate_text, summary, table, table_row

BASE = {
    "stage": 0,
    "stage/num_classes": 5,
    "stage/num_known": 5,
    "stage/found": 5,
    "accuracy/all": 1.0,
    "accuracy/known": 1.0,
    "accuracy/base": 1.0,
    "bound/closed_set_all": 1.0,
    "seconds": 12.34,
}
LATER = {
    "stage": 1,
    "stage/num_classes": 7,
    "stage/num_known": 5,
    "stage/found": 6,
    "accuracy/all": 0.8746,
    "accuracy/known": 0.9,
    "accuracy/novel": 0.5,
    "accuracy/base": 0.9,
    "forgetting/m_f": 0.1,
    "bound/closed_set_all": 0.75,
    "floor/kmeans_all": 0.9,
    "floor/nearest_mean_all": 0.5,
    "seconds": 3.0,
}


def results(rows: list[dict], value: float | None) -> dict:
    return {
        "headline": {"definition": "mean All", "value": value},
        "num_novel": "given",
        "stages": rows,
    }


def test_a_row_counts_the_classes_before_the_stage_and_the_new_ones() -> None:
    assert table_row(BASE).split() == "0 0 5 5 100.0 100.0 - 100.0 - 100.0 12.3".split()
    assert table_row(LATER).split() == "1 5 2 6 87.5 90.0 50.0 90.0 10.0 75.0 3.0".split()


def test_every_line_is_as_wide_as_the_header() -> None:
    lines = table([BASE, LATER]).splitlines()
    assert lines[0] == HEADER and {len(line) for line in lines} == {len(HEADER)}


def test_a_row_without_truth_has_dashes() -> None:
    row = {k: v for k, v in LATER.items() if k.startswith(("stage", "seconds"))}
    assert table_row(row).split() == "1 5 2 6 - - - - - - 3.0".split()


def test_the_summary_averages_over_the_continual_stages_and_names_lost_ones() -> None:
    second = {**LATER, "stage": 2, "accuracy/all": 0.95, "bound/closed_set_all": 0.65}
    lines = summary(results([BASE, LATER, second], 0.9123)).splitlines()
    assert lines[0] == "headline: All 91.2 % = mean All"
    assert (
        "plain k-means of the start features 90.0" in lines[1]
        and "closed-set bound 70.0" in lines[1]
    )
    assert lines[2:] == ["k-means scores higher at stage 1", "number of novel classes: given"]


def test_the_summary_without_truth_says_so() -> None:
    assert summary(results([BASE, LATER], None)).startswith("no truth")


def test_without_truth_the_base_classes_count_by_name() -> None:
    blind = {k: v for k, v in LATER.items() if k.startswith(("stage", "seconds"))}
    blind["held/base"] = 0.625
    assert table_row(blind).split() == "1 5 2 6 - - - 62.5 - - 3.0".split()
    facts = {"base_test": "held-out labeled samples", "composition": [{"test": 40}]}
    counts = [{"stage": 1, "estimated": 2, "estimator": "silhouette"}]
    told = {**results([{**BASE, "stage/num_novel_true": 0}, blind], None), "counts": counts}
    lines = summary({**told, **facts, "num_novel": "estimated (silhouette)"}).splitlines()
    assert lines[1:] == [
        "base classes by name at the end: 62.5 % of the 40 held-out labeled samples",
        "number of novel classes: estimated (silhouette), by stage 2",
    ]


def test_a_count_of_none_is_told_beside_the_one_that_is_taken() -> None:
    few = {"stage": 1, "estimated": 1, "counted": 0, "estimator": "silhouette"}
    assert estimate_text(few) == "1 (counted 0)"
    assert estimate_text({**few, "counted": 1}) == "1"
    assert estimate_text({"estimated": 3}) == "3"  # stored by an older version


def test_the_summary_without_baselines_shows_none() -> None:
    bare = {k: v for k, v in LATER.items() if not k.startswith(("floor", "bound"))}
    lines = summary(results([BASE, bare], 0.8746)).splitlines()
    assert lines == ["headline: All 87.5 % = mean All", "number of novel classes: given"]
