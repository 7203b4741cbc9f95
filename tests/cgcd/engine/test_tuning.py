"""Comparison of settings: no truth gets in, trials are whole and never run twice."""

from __future__ import annotations

import csv
import json
from dataclasses import replace

import numpy as np
import pytest
from filelock import FileLock

from cgcd.engine import Baselines, discovery_evaluator
from cgcd.engine.hidden import hidden_class_scenario
from cgcd.engine.tuning import Trial, TuningResult, tune
from cgcd.stages import DiscoveryScenario, Stage, stage_dataset
from cgcd.vocabulary import UNLABELED, InputError

CANDIDATES = [{"radius_scale": 2.0}, {"kmeans_starts": 1}]


@pytest.fixture(scope="module")
def build(quick_happy):
    """Builds a quick Happy on the folds of a scenario."""

    def of(outer):
        def made(values, fold):
            strategy = quick_happy(
                epochs=(1, 1), evaluator=discovery_evaluator(Baselines()), **values
            )
            return strategy, hidden_class_scenario(outer, fold=fold, num_folds=2)

        return made

    return of


@pytest.fixture(scope="module")
def outer(blobs):
    return blobs(5, (1, 1))


@pytest.fixture(scope="module")
def finished(build, outer, tmp_path_factory):
    folder = tmp_path_factory.mktemp("tune")
    seen = []
    result = tune(
        build(outer),
        [*CANDIDATES, {}],
        2,
        folder,
        facts={"note": "a fact"},
        command=lambda best: f"run {best}",
        on_trial=lambda trial, number, total: seen.append((trial, number, total)),
    )
    return folder, result, seen


def scores(result):
    """The table without what time it took."""
    return [{key: v for key, v in row.items() if key != "seconds"} for row in result.table]


def test_every_candidate_meets_every_fold_once(finished):
    _, result, seen = finished
    assert [trial for trial, *_ in seen] == list(result.trials)
    assert [(number, total) for _, number, total in seen] == [(n, 6) for n in range(1, 7)]
    assert [(dict(t.values), t.fold) for t in result.trials] == [
        (values, fold) for values in ({}, *CANDIDATES) for fold in (0, 1)
    ]
    hidden = [set(trial.hidden_classes) for trial in result.trials[:2]]
    assert not hidden[0] & hidden[1] and all(len(names) == 2 for names in hidden)


def test_the_table_is_sorted_and_ends_with_the_floors(finished):
    _, result, _ = finished
    rows = [row for row in result.table if row["kind"] != "floor"]
    assert [row["mean"] for row in rows] == sorted((row["mean"] for row in rows), reverse=True)
    assert sorted(row["name"] for row in rows) == ["default", "kmeans_starts=1", "radius_scale=2.0"]
    floors = {row["name"]: row for row in result.table[3:]}
    assert set(floors) == {"k-means", "nearest mean", "closed-set bound"}
    default = [trial for trial in result.trials if not trial.values]
    assert floors["k-means"]["folds"] == [trial.floors["k-means"] for trial in default]
    assert result.best == rows[0]["values"]


def test_means_and_spreads_by_hand():
    def trial(values, fold, score):
        return Trial(values, fold, score, {"k-means": score / 2}, "words", ["a"], 1.5)

    result = TuningResult(
        [trial(v, f, s) for v, f, s in (({}, 0, 0.5), ({}, 1, 0.7), ({"x": 1}, 0, 0.6))]
        + [trial({"x": 1}, 1, 0.6), trial({"x": 2}, 0, 0.9), trial({"x": 2}, 1, 0.5)]
    )
    named = {row["name"]: row for row in result.table}
    assert [row["name"] for row in result.table] == ["x=2", "default", "x=1", "k-means"]
    assert named["default"]["mean"] == pytest.approx(0.6) == named["x=1"]["mean"]
    assert named["default"]["std"] == pytest.approx(0.2 / np.sqrt(2)) and named["x=1"]["std"] == 0
    assert named["k-means"]["mean"] == pytest.approx(0.3) and named["x=2"]["seconds"] == 3.0
    single = TuningResult(result.trials[:1])
    assert single.best == {} and single.table[0]["std"] is None
    assert single.to_csv().splitlines()[1] == "default,default,0.5,,1.5,0.5"


def test_files_hold_the_table(finished):
    folder, result, _ = finished
    stored = json.loads((folder / "tune.json").read_text())
    assert stored["finished"] and stored["table"] == result.table and stored["note"] == "a fact"
    assert stored["command"] == f"run {result.best}" and "mean All" in stored["score"]
    assert len(stored["hidden_classes"]) == 2
    with (folder / "table.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [float(row["mean"]) for row in rows] == [row["mean"] for row in result.table]
    assert len(list((folder / "trials").iterdir())) == 6


def refuse(values, fold):
    raise AssertionError("nothing is left to run")


def test_a_finished_comparison_is_read(finished):
    folder, result, _ = finished
    assert scores(tune(refuse, CANDIDATES, 2, folder)) == scores(result)


def test_it_goes_on_after_the_last_whole_trial(build, outer, finished, tmp_path):
    made, calls = build(outer), []

    def stopping(values, fold):
        if len(calls) == 2:
            raise KeyboardInterrupt
        calls.append((values, fold))
        return made(values, fold)

    with pytest.raises(KeyboardInterrupt):
        tune(stopping, CANDIDATES, 2, tmp_path)
    assert {path.name for path in tmp_path.iterdir()} == {".lock", "trials"}
    kept = sorted((tmp_path / "trials").iterdir())
    assert len(kept) == 2
    kept[0].write_text("{")  # damaged
    del calls[:]

    def counting(values, fold):
        calls.append((values, fold))
        return made(values, fold)

    assert scores(tune(counting, CANDIDATES, 2, tmp_path)) == scores(finished[1])
    assert len(calls) == 5


def relabeled(outer, labels_of):
    """The scenario with other labels in its test stages and other words about its stages."""
    views = {
        "train_transform": lambda sample: sample.image,
        "eval_transform": lambda sample: sample.image,
    }
    test = []
    for stage in outer.test_stream:
        ids = np.asarray(list(stage.dataset.sample_id))
        images = {i: stage.dataset.eval()[at][0] for at, i in enumerate(ids.tolist())}
        dataset = stage_dataset(images, ids, labels_of(len(ids)), **views)
        test.append(Stage(dataset, stage.index, stage.num_novel))
    return DiscoveryScenario(
        list(outer.train_stream),
        test,
        name=outer.name,
        class_names=outer.class_names,
        num_base=outer.num_base,
        num_novel=outer.num_novel,
        stream_hash="poisoned",
        description={"stages": "poisoned"},
    )


@pytest.mark.parametrize("how", ["random", "none"])
def test_poisoned_truth_changes_nothing(how, build, outer, finished):
    draw = np.random.default_rng(0)

    def labels(count):
        return draw.integers(7, size=count) if how == "random" else np.full(count, UNLABELED)

    result = tune(build(relabeled(outer, labels)), CANDIDATES, 2)
    assert scores(result) == scores(finished[1])


def test_another_labeled_sample_changes_it(build, blobs, finished):
    result = tune(build(blobs(5, (1, 1), seed=1)), [], 2)
    assert [t.score for t in result.trials] != [t.score for t in finished[1].trials[:2]]


def test_another_score_can_be_compared(build, outer):
    result = tune(
        build(outer),
        [],
        1,
        score=lambda run: run.rows[-1]["accuracy/novel"],
        facts={"score": "novel at the last stage"},
    )
    assert result.to_json()["score"] == "novel at the last stage"
    with pytest.raises(ValueError, match="the score of fold 0 is None"):
        tune(build(outer), [], 1, score=lambda run: None)


def test_equal_candidates_run_once(build, outer):
    def identity(values):
        return values.get("radius_scale", 1.0)

    result = tune(build(outer), [{"radius_scale": 1.0}], 1, identity=identity)
    assert [row["name"] for row in result.table if row["kind"] != "floor"] == ["default"]


@pytest.mark.parametrize("setting", ["online", "single_stage"])
def test_other_settings_are_compared(setting, request, blob_model):
    quick = request.getfixturevalue("quick_recipe")
    if setting == "online":
        from strategies import SMILE as made
        from strategies.smile import BASE

        outer = request.getfixturevalue("blob_stream")(5, 2)
        kinds, more = {"untrained leader", "closed-set bound"}, {"code_length": 6}
    else:
        from strategies import GCD as made
        from strategies.gcd import BASE

        outer = request.getfixturevalue("blob_single_stage")(5, 2)
        kinds, more = {"k-means", "nearest mean", "closed-set bound"}, {"kmeans_starts": 2}

    def build(values, fold):
        evaluator = discovery_evaluator(Baselines())
        strategy = made(model=blob_model(), base=quick(BASE), evaluator=evaluator, **more)
        return strategy, hidden_class_scenario(outer, fold=fold, num_folds=2)

    result = tune(build, [], 2)
    assert {row["name"] for row in result.table if row["kind"] == "floor"} == kinds
    assert 0 < result.table[0]["mean"] <= 1


@pytest.fixture
def quick_recipe():
    return lambda recipe: replace(recipe, epochs=1, batch_size=16)


def test_one_comparison_at_a_time_in_a_folder(tmp_path):
    with FileLock(tmp_path / ".lock"), pytest.raises(InputError, match="in use by another run"):
        tune(refuse, [], 1, tmp_path)
