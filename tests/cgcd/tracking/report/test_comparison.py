"""Tables of several runs against numbers counted by hand."""

from __future__ import annotations

import csv
import io
import json

import numpy as np
import pytest

from cgcd.tracking.report.compared import Comparison
from cgcd.tracking.report.comparison import comparison_page
from cgcd.tracking.report.comparison_files import comparison_csv, comparison_markdown
from cgcd.tracking.report.folder import StoredRun
from cgcd.tracking.report.grouping import benches, differing
from cgcd.tracking.report.statistics import Difference, Summary
from cgcd.vocabulary import InputError

ALL = {"Happy": {0: 0.8, 1: 0.7, 2: 0.9}, "SimGCD": {0: 0.6, 1: 0.75, 3: 0.1}}


@pytest.fixture
def runs(tmp_path, write_run):
    """Runs of two methods; `change(config, facts)` may alter each before it is written."""

    def made(change=lambda config, facts: None, scores=ALL) -> list[StoredRun]:
        found = []
        for strategy, by_seed in scores.items():
            for seed, value in by_seed.items():
                scenario = {"seed": seed, "protocol": {"num_base": 5}}
                config = {"seed": seed, "device": f"cuda:{seed}", "scenario": scenario}
                config["strategy"] = {"_target_": f"strategies.{strategy}", "seed": seed}
                facts = {"strategy": strategy, "seed": seed, "stream_hash": f"hash {seed}"}
                change(config, facts)
                rows = [{"stage": 0, "accuracy/all": 1.0, "seconds": 1.0}]
                for stage, shift in ((1, 0.05), (2, -0.05)):
                    more = {"floor/kmeans_all": 0.7, "bound/closed_set_all": 0.5}
                    row = {"stage": stage, "accuracy/all": value + shift, "seconds": 2.0}
                    rows.append(row | more)
                folder = tmp_path / f"{strategy}-{seed}-{len(list(tmp_path.iterdir()))}"
                write_run(folder, rows, {}, headline=value, config=config, **facts)
                text = (folder / "results.json").read_text(encoding="utf-8")
                found.append(StoredRun(folder, json.loads(text), config, frozenset({"device"})))
        return found

    return made


def test_means_spreads_and_differences(runs):
    (bench,) = benches(runs())
    comparison = Comparison.of(bench)
    assert [column.title for column in comparison.columns] == ["All", "last All", "seconds"]
    happy, simgcd, *scale = comparison.rows
    for row, values in ((happy, ALL["Happy"]), (simgcd, ALL["SimGCD"])):
        numbers = list(values.values())
        cell = row.cells[0]
        assert (cell.mean, cell.std) == pytest.approx((np.mean(numbers), np.std(numbers, ddof=1)))
        assert cell.n == 3 and row.cells[1].mean == pytest.approx(np.mean(numbers) - 0.05)
        assert row.cells[2].mean == 5.0 and row.seeds == sorted(values)
    assert happy.best == {0, 1} and not simgcd.best
    assert [(row.name, row.cells[0].mean) for row in scale] == [
        ("k-means", pytest.approx(0.7)),
        ("closed-set bound", 0.5),
    ]
    assert comparison.beaten == ["SimGCD is below its k-means and its closed-set bound in All."]
    (pair,) = comparison.pairs  # seeds 0 and 1: +20 and -5 points
    told = pair.difference
    assert (pair.first, pair.second) == ("Happy", "SimGCD")
    assert told.summary.mean == pytest.approx(0.075) and told.summary.n == 2
    assert told.summary.std == pytest.approx(np.std([0.2, -0.05], ddof=1))
    assert (told.num_better, told.num_worse) == (1, 1)


def test_one_run_has_no_spread():
    assert Summary.of([0.5]) == Summary(0.5, None, 1) and Summary.of([]) is None
    assert Difference.of({0: 1.0}, {1: 1.0}) is None


def test_files_hold_the_same_numbers(runs):
    comparisons = [Comparison.of(bench) for bench in benches(runs())]
    lines = list(csv.DictReader(io.StringIO(comparison_csv(comparisons))))
    happy = next(r for r in lines if r["name"] == "Happy" and r["over"] == "mean")
    assert float(happy["mean"]) == pytest.approx(0.8) and happy["seeds"] == "0 1 2"
    assert float(happy["std"]) == pytest.approx(0.1) and happy["is_best"] == "True"
    (difference,) = (r for r in lines if r["kind"] == "difference")
    assert difference["name"] == "Happy minus SimGCD"
    text = comparison_markdown(comparisons, ["x is left out: it is not finished."])
    assert "| Happy | 3 (0-2) | **80.0 ± 10.0** | **75.0 ± 10.0** | 5 ± 0 |" in text
    assert "| *k-means* |  | 70.0 ± 0.0 |" in text and "- x is left out" in text
    assert "| Happy | SimGCD | +7.5 | 17.7 | 2 | 1 of 2 |" in text
    page = comparison_page(comparisons)
    assert "<b>80.0 ± 10.0</b>" in page and "+7.5" in page


def test_the_stream_that_the_seed_draws_may_differ_between_seeds(runs):
    (bench,) = benches(runs())
    assert bench.notes == ["The seed draws the stream too; runs of the same seed saw the same one."]


def stale(config, facts):
    if facts["strategy"] == "SimGCD" and facts["seed"] == 1:
        facts["stream_hash"] = "other data"


def fixed_seed(config, facts):
    config["scenario"]["seed"] = 0


@pytest.mark.parametrize("change", [stale, fixed_seed])
def test_other_streams_are_not_averaged_unless_told_to(runs, change):
    with pytest.raises(InputError, match=r"(Happy|SimGCD)-\d.* saw different streams .*pool=true"):
        benches(runs(change))


def test_pooling_is_said(runs):
    (bench,) = benches(runs(fixed_seed), pool=True)
    assert bench.notes == [
        "Pooled: runs of different streams were averaged, because pool=true was given."
    ]
    assert [group.seeds for group in bench.groups] == [[0, 1, 2], [0, 1, 3]]


def test_runs_without_a_config_must_share_a_stream(runs):
    found = [StoredRun(run.folder, run.results) for run in runs()]
    with pytest.raises(InputError, match="saw different streams"):
        benches(found)


def test_methods_of_one_name_are_told_apart(runs):
    def other(config, facts):
        config["strategy"] = {"seed": facts["seed"], "lr": 0.1, "only": 1}
        if facts["strategy"] == "SimGCD":
            config["strategy"] = {"seed": facts["seed"], "lr": 0.2}
        facts["strategy"] = "Happy"

    (bench,) = benches(runs(other))
    assert [g.label for g in bench.groups] == ["Happy lr=0.1 only=1", "Happy lr=0.2 only=-"]
    assert differing(bench.groups) == (["strategy.lr"], ["strategy.only"])


def test_another_stream_has_its_own_table(runs):
    def other(config, facts):
        if facts["strategy"] == "SimGCD":
            config["scenario"]["protocol"]["num_base"] = 6
            facts["stream_hash"] += "'"

    first, second = benches(runs(other))
    assert first.title == "digits (stages), stream 1" and second.title.endswith("stream 2")
    assert second.notes[-1] == "Set apart by scenario.protocol.num_base = 6."


def test_a_seed_counts_once(runs):
    found = runs() + runs(scores={"Happy": {0: 0.1}})
    (bench,) = benches(found)
    assert bench.groups[0].seeds == [0, 1, 2]
    assert bench.notes[0].endswith("Happy-0-0 has the same settings and seed.")
