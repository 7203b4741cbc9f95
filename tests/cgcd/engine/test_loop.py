"""The stage loop: what it writes, what it answers, who may write."""

from __future__ import annotations

import csv
import json
import logging

import pytest
import torch
from avalanche.evaluation.metrics import timing_metrics
from avalanche.training.plugins import ReplayPlugin, SupervisedPlugin
from filelock import FileLock

from cgcd.engine import Baselines, RunResult, discovery_evaluator, run_stages
from cgcd.engine.checkpoint import save_stage
from cgcd.tracking.cells import guarded
from cgcd.vocabulary import SCHEMA_VERSION, InputError


@pytest.fixture(scope="module")
def run(quick_happy, blobs, tmp_path_factory):
    folder = tmp_path_factory.mktemp("run")
    strategy = quick_happy(epochs=(4, 3), evaluator=discovery_evaluator(Baselines()))
    rows = []
    result = run_stages(
        strategy, blobs(), folder, facts={"device": "cpu", "note": "a fact"}, on_stage=rows.append
    )
    return folder, strategy, result, rows


def table(path):
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def test_rows_and_headline(run):
    _, _, result, rows = run
    assert rows == list(result.rows) and [row["stage"] for row in rows] == [0, 1, 2]
    assert all(row["seconds"] > 0 for row in rows)
    assert result.headline == (rows[1]["accuracy/all"] + rows[2]["accuracy/all"]) / 2
    assert result.mean("floor/kmeans_all") == pytest.approx(
        (rows[1]["floor/kmeans_all"] + rows[2]["floor/kmeans_all"]) / 2
    )
    assert result.mean("nothing") is None


def test_metrics_csv_holds_every_number_exactly(run):
    folder, _, result, _ = run
    lines = table(folder / "metrics.csv")
    assert list(lines[0]) == ["stage", "split", "metric", "value"]
    read = {(int(r["stage"]), r["metric"]): float(r["value"]) for r in lines}
    wanted = {
        (row["stage"], key): value
        for row in result.rows
        for key, value in row.items()
        if key != "stage"
    }
    assert read == wanted and len(lines) == len(read)


def test_results_json(run):
    folder, _, result, _ = run
    stored = json.loads((folder / "results.json").read_text())
    assert stored["schema_version"] == SCHEMA_VERSION and stored["finished"] is True
    assert stored["headline"]["value"] == result.headline
    assert "last weights" in stored["headline"]["definition"]
    assert stored["stages"] == [dict(row) for row in result.rows]
    wanted = {
        "scenario": "blobs",
        "strategy": "Happy",
        "seed": 0,
        "num_stages": 3,
        "num_novel": "given",
        "note": "a fact",
    }
    assert wanted.items() <= stored.items() and stored["stream_hash"].startswith("blobs-0")


def test_an_unfinished_run_says_so():
    rows = [{"stage": 0, "accuracy/all": 0.9}, {"stage": 1, "accuracy/all": 0.5}]
    assert RunResult(rows, {"num_stages": 3}).to_json()["finished"] is False
    assert RunResult(rows[:1], {"num_stages": 3}).headline is None
    assert RunResult([*rows, {"stage": 2}]).headline is None  # a stage without truth
    assert RunResult(rows).headline == 0.5


def test_predictions_of_every_stage(run):
    folder, strategy, _, _ = run
    lengths = []
    for stage in range(3):
        lines = table(folder / "predictions" / f"stage_{stage}.csv")
        lengths.append(len(lines))
        for line in lines:
            category = int(line["category"])
            is_new = category >= 4
            assert line["is_new"] == str(int(is_new))
            assert line["category_name"] == (f"new-{category}" if is_new else f"blob {category}")
            assert line["true_class"].startswith("blob ") and 0 < float(line["confidence"]) <= 1
        assert len({line["sample"] for line in lines}) == len(lines)
    assert lengths == [48, 60, 84]
    metric = strategy.evaluator.metrics[0]
    assert [int(line["category"]) for line in lines] == metric.predictions.tolist()


def test_without_truth_the_column_is_empty(quick_happy, blobs, tmp_path):
    result = run_stages(quick_happy(epochs=(1, 1)), blobs(hide_test=True), tmp_path)
    assert result.headline is None
    lines = table(tmp_path / "predictions" / "stage_1.csv")
    assert {line["true_class"] for line in lines} == {""}
    assert json.loads((tmp_path / "results.json").read_text())["headline"]["value"] is None


def test_names_that_look_like_formulas_are_guarded(quick_happy, blobs, tmp_path):
    for name in ("=1+1", "+1", "-1", "@sum", "\tx", "\rx"):
        assert guarded(name) == f"'{name}"
    assert guarded("cat = dog") == "cat = dog" and guarded("") == ""
    scenario = blobs()
    scenario.class_names = ('=HYPERLINK("x")', "a,b", 'c"d', "e\nf", *scenario.class_names[4:])
    run_stages(quick_happy(epochs=(1, 1)), scenario, tmp_path)
    lines = table(tmp_path / "predictions" / "stage_0.csv")
    assert {line["true_class"] for line in lines} == {'\'=HYPERLINK("x")', "a,b", 'c"d', "e\nf"}


def test_a_folder_in_use_is_refused(quick_happy, blobs, tmp_path):
    with (
        FileLock(tmp_path / ".lock"),
        pytest.raises(InputError, match="in use by another run; wait for it"),
    ):
        run_stages(quick_happy(), blobs(), tmp_path)


def test_the_lock_is_given_back_after_a_failure(quick_happy, blobs, tmp_path):
    with pytest.raises(InputError):
        run_stages(quick_happy(batch_size=4000), blobs(), tmp_path)
    run_stages(quick_happy(epochs=(1, 1)), blobs(), tmp_path)


def test_a_number_of_novel_classes_is_reported_as_given(quick_happy, blobs, tmp_path):
    result = run_stages(quick_happy(epochs=(1, 1), num_novel=1), blobs(num_novel="3"), tmp_path)
    assert result.facts["num_novel"] == "given (1 a stage)"


def test_a_plugin_without_state_makes_a_run_start_anew(quick_happy, blobs, tmp_path, caplog):
    first = run_stages(quick_happy(epochs=(1, 1)), blobs(), tmp_path)
    with caplog.at_level(logging.WARNING):
        strategy = quick_happy(epochs=(1, 1), plugins=[ReplayPlugin(mem_size=10)])
        again = run_stages(strategy, blobs(), tmp_path)
    assert "ReplayPlugin has no state_dict, so this run starts at stage 0" in caplog.text
    assert [r["seconds"] for r in again.rows] != [r["seconds"] for r in first.rows]


def test_nothing_is_stored_without_a_folder(quick_happy, blobs, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    result = run_stages(quick_happy(epochs=(1, 1)), blobs())
    assert len(result.rows) == 3 and not list(tmp_path.iterdir())


class CountSteps(SupervisedPlugin):
    """A plugin with a state: a number and a tensor."""

    def __init__(self, stop_at_stage=None):
        super().__init__()
        self.steps, self.seen, self.stop_at_stage = 0, torch.zeros(3), stop_at_stage

    def before_training_exp(self, strategy, **kwargs):
        if strategy.stage_index == self.stop_at_stage:
            raise KeyboardInterrupt

    def after_training_iteration(self, strategy, **kwargs):
        self.steps += 1
        self.seen[strategy.stage_index] += 1

    def state_dict(self):
        return {"steps": self.steps, "seen": self.seen.clone()}

    def load_state_dict(self, state):
        self.steps, self.seen = state["steps"], state["seen"]


def test_the_state_of_a_plugin_goes_on(quick_happy, blobs, tmp_path):
    whole = CountSteps()
    run_stages(quick_happy(epochs=(1, 1), plugins=[whole]), blobs(), tmp_path / "whole")
    with pytest.raises(KeyboardInterrupt):
        cut = quick_happy(epochs=(1, 1), plugins=[CountSteps(stop_at_stage=2)])
        run_stages(cut, blobs(), tmp_path / "cut")
    resumed = CountSteps()
    run_stages(quick_happy(epochs=(1, 1), plugins=[resumed]), blobs(), tmp_path / "cut")
    assert resumed.steps == whole.steps and torch.equal(resumed.seen, whole.seen)


def test_later_stages_of_an_older_run_are_not_taken_for_this_one(quick_happy, blobs, tmp_path):
    run_stages(quick_happy(epochs=(1, 1)), blobs(), tmp_path)
    with pytest.raises(KeyboardInterrupt):  # without a state it starts anew and breaks off
        plugin = CountSteps(stop_at_stage=1)
        plugin.__class__ = type(
            "Stateless",
            (SupervisedPlugin,),
            {
                "before_training_exp": CountSteps.before_training_exp,
            },
        )
        run_stages(quick_happy(epochs=(1, 1), plugins=[plugin]), blobs(), tmp_path)
    assert [p.name for p in (tmp_path / "checkpoints").glob("stage_*")] == ["stage_000"]


def test_another_recipe_is_refused(quick_happy, blobs, tmp_path):
    run_stages(quick_happy(epochs=(1, 1)), blobs(), tmp_path)
    with pytest.raises(InputError, match="another setting"):
        run_stages(quick_happy(epochs=(1, 2)), blobs(), tmp_path)


def test_a_run_is_finished_only_when_its_last_checkpoint_stands(
    quick_happy, blobs, tmp_path, monkeypatch
):
    def full(strategy, *rest):
        if strategy.stage_index == 2:
            raise OSError("disk full")
        save_stage(strategy, *rest)

    with monkeypatch.context() as patch, pytest.raises(OSError, match="disk full"):
        patch.setattr("cgcd.engine.loop.save_stage", full)
        run_stages(quick_happy(epochs=(1, 1)), blobs(), tmp_path)
    assert not json.loads((tmp_path / "results.json").read_text())["finished"]
    run_stages(quick_happy(epochs=(1, 1)), blobs(), tmp_path)
    assert json.loads((tmp_path / "results.json").read_text())["finished"]


def test_a_silent_stage_is_refused_before_training(quick_happy, blobs):
    strategy = quick_happy()
    with pytest.raises(InputError, match="stage 1 does not tell how many classes are new"):
        run_stages(strategy, blobs(num_novel="3"))
    assert strategy.stage_index == -1


def test_what_cannot_be_stored_is_said_at_the_start(quick_happy, blobs, tmp_path, caplog):
    class Nested(CountSteps):
        def state_dict(self):
            return {"list": [torch.zeros(1)]}

    with pytest.raises(InputError, match=r"state of plugin0\.Nested cannot be stored"):
        run_stages(quick_happy(plugins=[Nested()]), blobs(), tmp_path / "a")
    evaluator = discovery_evaluator(*timing_metrics(experience=True))
    with caplog.at_level(logging.WARNING):
        run_stages(quick_happy(epochs=(1, 1), evaluator=evaluator), blobs(), tmp_path / "b")
    assert "is not stored: after resuming it knows later stages only" in caplog.text


def test_a_run_without_baselines_or_plugins_does_not_gain_them(quick_happy, blobs, tmp_path):
    run_stages(quick_happy(epochs=(1, 1)), blobs(), tmp_path)
    for more, word in (
        ({"evaluator": discovery_evaluator(Baselines())}, "baselines"),
        ({"plugins": [CountSteps()]}, "plugin0.CountSteps"),
    ):
        with pytest.raises(InputError, match=f"was made without {word}"):
            run_stages(quick_happy(epochs=(1, 1), **more), blobs(), tmp_path)
