"""Nobody tells how many classes are new: the strategy estimates it, and goes on exactly."""

from __future__ import annotations

import json
from dataclasses import replace
from itertools import pairwise

import pytest
import torch

from cgcd.engine import Baselines, counting, discovery_evaluator, run_stages
from cgcd.tracking.table import count_line
from strategies import SimGCD


def estimating(build, **kwargs):
    return build(
        num_novel="estimate",
        estimator="silhouette",
        epochs=(4, 1),
        evaluator=discovery_evaluator(Baselines()),
        **kwargs,
    )


def without_seconds(rows):
    return [{key: value for key, value in row.items() if key != "seconds"} for row in rows]


def test_a_stream_that_tells_nothing(quick_happy, blobs, tmp_path):
    scenario = blobs(num_novel=None)
    result = run_stages(estimating(quick_happy), scenario, tmp_path / "run")
    counts = result.facts["counts"]
    assert [count["stage"] for count in counts] == [1, 2]
    grown = [row["stage/num_classes"] for row in result.rows]
    assert [b - a for a, b in pairwise(grown)] == [count["estimated"] for count in counts]
    for row, count in zip(result.rows[1:], counts, strict=True):
        assert row["stage/num_novel_estimated"] == count["estimated"]
        assert "stage/num_novel_given" not in row
        wrong = abs(count["estimated"] - row["stage/num_novel_true"])
        assert row["stage/count_error"] == wrong / row["stage/num_novel_true"]
        assert len(count["candidates"]) == len(next(iter(count["scores"].values())))
    stored = json.loads((tmp_path / "run" / "results.json").read_text())
    assert stored["num_novel"] == "estimated (silhouette)"
    assert "; in truth " in count_line(stored)


def test_it_goes_on_exactly(quick_happy, blobs, tmp_path):
    scenario = blobs(num_novel=None)
    whole = run_stages(estimating(quick_happy), scenario)

    class Stop(Exception):
        pass

    def stop(row):
        if row["stage"] == 1:
            raise Stop

    with pytest.raises(Stop):
        run_stages(estimating(quick_happy), scenario, tmp_path / "run", on_stage=stop)
    resumed = run_stages(estimating(quick_happy), scenario, tmp_path / "run")
    assert without_seconds(resumed.rows) == without_seconds(whole.rows)
    told = [count["estimated"] for count in whole.facts["counts"]]
    assert [count["estimated"] for count in resumed.facts["counts"]] == told


def test_groups_are_those_of_the_truth_when_the_count_is_wrong(quick_happy, blobs):
    """Two classes too many at stage 1 do not make the classes of stage 2 known ones."""
    right = run_stages(quick_happy(epochs=(2, 1)), blobs())
    wrong = run_stages(quick_happy(epochs=(2, 1), num_novel=3), blobs(num_novel=None))
    for told, given in zip(right.rows, wrong.rows, strict=True):
        groups = {key for key in told if key.startswith("accuracy/")}
        assert groups == {key for key in given if key.startswith("accuracy/")}


def test_a_count_of_none_is_kept_and_said(quick_happy, blobs, monkeypatch, caplog):
    estimate = counting.estimate_novel
    none = lambda *given: replace(estimate(*given), num_novel=0)  # noqa: E731
    monkeypatch.setattr(counting, "estimate_novel", none)
    caplog.set_level("INFO", "cgcd")
    result = run_stages(estimating(quick_happy), blobs(num_novel=None))
    assert [(c["estimated"], c["counted"]) for c in result.facts["counts"]] == [(1, 0), (1, 0)]
    assert "stage 2: 0 novel classes estimated by silhouette; 1 is taken" in caplog.text


def test_a_mixed_stage_is_counted_after_the_warm_up(quick, blob_single_stage):
    scenario = blob_single_stage(given=False)
    strategy = estimating(quick(SimGCD))
    result = run_stages(strategy, scenario)
    (count,) = result.facts["counts"]
    assert count["stage"] == 0
    assert strategy.model.num_classes == scenario.num_base + count["estimated"]
    assert result.rows[0]["stage/num_novel_estimated"] == count["estimated"]


def test_hidden_labels_do_not_reach_the_estimate(quick_happy, blobs):
    scenario = blobs(num_novel=None)
    weights = []
    for _ in range(2):
        strategy = estimating(quick_happy)
        for stage in scenario.train_stream[:2]:
            strategy.train(stage)
        weights.append([p.clone() for p in strategy.model.parameters()])
    assert all(torch.equal(a, b) for a, b in zip(*weights, strict=True))
