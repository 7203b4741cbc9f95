"""The stage-wise analysis: its numbers, its files, what it leaves out, that it leaves no trace."""

from __future__ import annotations

import csv
import json
import random
from functools import partial

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from avalanche.training.plugins import SupervisedPlugin

from cgcd.engine import Recipe, StageAnalysis, discovery_evaluator, run_stages
from cgcd.engine.observation import ObservedPass, PassObserver, plain_images, small_images
from cgcd.engine.stage_arrays import StageState, stage_arrays
from cgcd.metrics import joint_accuracy
from cgcd.models.backbone import InputSpec
from cgcd.tracking.analysis import Analysis, stored_analyses
from strategies import PHE, SimGCD


def with_analysis(quick_happy, **more):
    evaluator = discovery_evaluator(StageAnalysis(), loss_terms=False)
    return quick_happy(epochs=(2, 2), evaluator=evaluator, **more)


@pytest.fixture(scope="module")
def staged(quick_happy, blobs, tmp_path_factory):
    folder = tmp_path_factory.mktemp("staged")
    strategy, scenario = with_analysis(quick_happy), blobs()
    return folder, strategy, scenario, run_stages(strategy, scenario, folder)


def files(folder) -> dict[str, bytes]:
    paths = [*(folder / "analysis").rglob("*"), folder / "categories.csv"]
    return {str(p.relative_to(folder)): p.read_bytes() for p in paths if p.is_file()}


def table(folder) -> list[dict[str, str]]:
    with (folder / "categories.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def test_accuracies_are_those_of_the_row(staged):
    folder, _, _, result = staged
    stages = stored_analyses(folder)
    assert [a.name for a in stages] == ["stage_0", "stage_1", "stage_2"]
    for analysis, row in zip(stages, result.rows, strict=True):
        arrays, t = analysis.arrays, analysis.stage
        counts = np.bincount(arrays["targets"])
        now = arrays["class_accuracy"][:, t]
        assert (now * counts).sum() / counts.sum() == pytest.approx(row["accuracy/all"])
        base = arrays["group_accuracy"][t, 0]
        scores = joint_accuracy(arrays["predictions"], arrays["targets"], 4, 4)
        assert base == pytest.approx(scores["base"])
        if t:
            assert arrays["group_accuracy"][t, t] == pytest.approx(row["accuracy/novel"])
        assert (arrays["contingency"].sum(0) == counts).all()
        assert 0 < row["seconds_analysis"] <= row["seconds"]
    last = stages[-1].arrays
    for earlier in stages:  # columns of earlier stages stay what they were
        t = earlier.stage
        for name in ("class_accuracy", "sizes", "direction_drift", "mean_drift"):
            now = earlier.arrays[name][:, t]
            assert np.array_equal(last[name][: len(now), t], now, equal_nan=True), name
        for name in ("prediction_shares", "truth_shares"):
            assert np.array_equal(last[name][t], earlier.arrays[name][t]), name


def test_categories_against_loops(staged):
    folder, strategy, scenario, _ = staged
    analysis = stored_analyses(folder)[-1]
    arrays, rows = analysis.arrays, analysis.facts["categories"]
    guess, truth = arrays["predictions"], arrays["targets"]
    sums = np.zeros((7, strategy.model.dim))
    classes = np.zeros_like(sums)
    for stage in scenario.test_stream:
        for trunk, labels in strategy.trunk_outputs(stage.dataset):
            with torch.no_grad():
                units = F.normalize(strategy.model.backbone.tail(trunk), dim=-1)
                answers = strategy.predict(trunk).argmax(-1)
            for unit, k, c in zip(units.double().numpy(), answers, labels, strict=True):
                sums[k] += unit
                classes[c] += unit
    for k, row in enumerate(rows):
        members = np.flatnonzero(guess == k)
        assert row["id"] == k and row["sizes"][-1] == len(members)
        assert row["first_stage"] == [0, 0, 0, 0, 1, 2, 2][k]
        assert row["name"] == (f"blob {k}" if k < 4 else f"new-{k}")
        if not len(members):
            continue
        inside = np.bincount(truth[members])
        assert row["purity"] == pytest.approx(inside.max() / len(members), abs=1e-4)
        assert inside[row["best_class"]] == inside.max()
        mean = arrays["confidences"][members].mean()
        assert row["mean_confidence"] == pytest.approx(mean, abs=1e-4)
        cosines = [
            -2
            if j == k or not sums[j].any()
            else np.dot(sums[j], sums[k]) / np.linalg.norm(sums[j])
            for j in range(7)
        ]
        assert row["nearest"] == int(np.argmax(cosines))
        shown = [s["sample"] for kind in ("central", "doubtful", "random") for s in row[kind]]
        ids = arrays["sample_ids"][members].tolist()
        assert len(set(shown)) == len(shown) == min(8, len(members)) and set(shown) <= set(ids)
        doubt = members[np.lexsort((members, arrays["margins"][members]))]
        left = [i for i in doubt if arrays["sample_ids"][i] not in shown[:3]]
        told = [s["sample"] for s in row["doubtful"]]
        assert told == arrays["sample_ids"][left[:2]].tolist()
        assert "thumbnail" not in row["central"][0]  # vectors have no images
    first = arrays["first_means"]
    for c in range(7):
        cosine = np.dot(first[c], classes[c]) / np.linalg.norm(first[c])
        cosine /= np.linalg.norm(classes[c])
        assert arrays["mean_drift"][c, -1] == pytest.approx(cosine, abs=1e-5)
    assert arrays["direction_drift"][4, 0] != arrays["direction_drift"][4, 0]  # was not there yet
    assert arrays["direction_drift"][4, 1] == pytest.approx(1)
    csv_rows = table(folder)
    assert [int(r["id"]) for r in csv_rows] == list(range(7))
    assert [int(r["size_2"]) for r in csv_rows] == arrays["sizes"][:, 2].tolist()


def test_arrays_need_no_pickle_and_json_is_plain(staged):
    folder, _, _, _ = staged
    for path in (folder / "analysis").glob("*.npz"):
        with np.load(path, allow_pickle=False) as file:
            assert all(array.dtype != object for array in file.values())
    facts = json.loads((folder / "analysis" / "stage_1.json").read_text())
    assert facts["group_names"] == ["base", "stage 1"] and facts["truth"] == "all"


class Interrupt(SupervisedPlugin):
    def state_dict(self):
        return {}

    def after_training_epoch(self, strategy, **kwargs):
        if strategy.stage_index == 2:
            raise KeyboardInterrupt


def test_a_resumed_run_leaves_the_same_files(staged, quick_happy, blobs, tmp_path):
    strategy = with_analysis(quick_happy, plugins=[Interrupt()])
    with pytest.raises(KeyboardInterrupt):
        run_stages(strategy, blobs(), tmp_path)
    assert len(stored_analyses(tmp_path)) == 2
    (tmp_path / "analysis" / "stage_7.json").write_text("{}")  # of an earlier, longer try
    run_stages(with_analysis(quick_happy), blobs(), tmp_path)
    assert files(tmp_path) == files(staged[0])


def test_nothing_else_changes(staged, quick_happy, blobs):
    _, watched, scenario, result = staged
    evaluator = discovery_evaluator(loss_terms=False)
    plain = quick_happy(epochs=(2, 2), evaluator=evaluator)
    rows = run_stages(plain, blobs()).rows
    seconds = ("seconds", "seconds_analysis")
    for ours, theirs in zip(result.rows, rows, strict=True):
        assert {k: v for k, v in ours.items() if k not in seconds} == {
            k: v for k, v in theirs.items() if k not in seconds
        }
    for name, tensor in plain.model.state_dict().items():
        assert torch.equal(tensor, watched.model.state_dict()[name]), name
    states = (random.getstate(), np.random.get_state()[1].copy(), torch.get_rng_state())
    watched.eval(scenario.test_stream)
    analysis = next(m for m in watched.evaluator.metrics if isinstance(m, StageAnalysis))
    assert analysis.analyze(watched, scenario) is not None
    assert random.getstate() == states[0] and torch.equal(torch.get_rng_state(), states[2])
    assert np.array_equal(np.random.get_state()[1], states[1])
    assert not watched.model.backbone.tail._forward_hooks


def test_without_truth_what_needs_it_is_left_out(quick_happy, blobs, tmp_path):
    run_stages(with_analysis(quick_happy), blobs(novel=(2,), hide_test=True), tmp_path)
    analysis = stored_analyses(tmp_path)[-1]
    assert analysis.facts["truth"] == "none" and analysis.facts["class_names"] == []
    absent = "contingency class_accuracy purity mean_drift truth_shares confidence_known".split()
    assert not set(absent) & set(analysis.arrays)
    assert {"sizes", "direction_drift", "confidence_all", "points"} <= set(analysis.arrays)
    assert "purity" not in analysis.facts["categories"][0]
    assert {row["best_class"] for row in table(tmp_path)} == {""}


def test_both_parts_of_a_single_stage(blob_single_stage, blob_model, tmp_path):
    optimizer = partial(torch.optim.SGD, lr=0.05)
    recipe = Recipe(epochs=2, batch_size=16, optimizer=optimizer, weights=simgcd_weights())
    evaluator = discovery_evaluator(StageAnalysis(), loss_terms=False)
    strategy = SimGCD(model=blob_model(), base=recipe, evaluator=evaluator)
    result = run_stages(strategy, blob_single_stage(), tmp_path)
    parts = stored_analyses(tmp_path)
    assert [a.name for a in parts] == ["unlabeled", "test"]
    for analysis in parts:
        known, novel = analysis.arrays["group_accuracy"][0]
        assert known == pytest.approx(result.rows[0][f"{analysis.name}/accuracy/known"])
        assert novel == pytest.approx(result.rows[0][f"{analysis.name}/accuracy/novel"])
    sizes = [[int(r["size_unlabeled"]), int(r["size_test"])] for r in table(tmp_path)]
    assert np.sum(sizes, 0).tolist() == [len(a.arrays["predictions"]) for a in parts]


def simgcd_weights():
    from inspect import signature

    return signature(SimGCD.__init__).parameters["base"].default.weights


@pytest.mark.parametrize("hide", [False, True])
def test_a_stream(blob_stream, blob_model, tmp_path, hide):
    from inspect import signature

    weights = signature(PHE.__init__).parameters["base"].default.weights
    recipe = Recipe(
        epochs=1, batch_size=32, optimizer=partial(torch.optim.SGD, lr=0.05), weights=weights
    )
    evaluator = discovery_evaluator(StageAnalysis(), loss_terms=False)
    strategy = PHE(model=blob_model(), base=recipe, code_length=16, evaluator=evaluator)
    result = run_stages(strategy, blob_stream(hide_truth=hide), tmp_path)
    (analysis,) = stored_analyses(tmp_path)
    assert analysis.name == "stream" and "seconds_analysis" in result.rows[-1]
    arrays = analysis.arrays
    assert arrays["sizes"].sum(0).tolist() == arrays["seen"].tolist() == [40, 80, 120, 144]
    assert ("class_accuracy" in arrays) != hide
    if not hide:
        counts = np.bincount(arrays["targets"])
        strict = (arrays["class_accuracy"][:, -1] * counts).sum() / counts.sum()
        assert strict == pytest.approx(result.rows[-1]["strict/all"])
    with (tmp_path / "predictions" / "stream.csv").open(newline="") as file:
        answers = [int(row["category"]) for row in csv.DictReader(file)]
    assert answers == arrays["predictions"].tolist()
    assert len(table(tmp_path)) == len(arrays["sizes"])


def test_hostile_names_are_guarded(quick_happy, blobs, tmp_path):
    scenario = blobs(novel=(1,))
    scenario.class_names = ("=cmd()", "<script>alert(1)</script>", "a\tb", "c|d", "e")
    scenario.sample_names = [f"=evil{i}.png" for i in range(10_000)]
    run_stages(with_analysis(quick_happy), scenario, tmp_path)
    rows = table(tmp_path)
    assert rows[0]["name"] == "'=cmd()" and rows[1]["name"] == "<script>alert(1)</script>"
    assert all(row["exemplars"][:1] in ("'", "") for row in rows)


def test_what_is_drawn_does_not_hang_on_the_batches():
    generator = torch.Generator().manual_seed(0)
    scores, features = torch.randn(90, 4, generator=generator), torch.randn(90, 3)
    targets, ids = torch.zeros(90, dtype=torch.long), np.arange(1000, 1090)
    seen = []
    for size in (7, 90):
        observer = PassObserver(4, most_points=20)
        for start in range(0, 90, size):
            part = slice(start, start + size)
            observer.add(scores[part], features[part], targets[part], ids[part], 0, None)
        seen.append(observer.finish())
    for name in ("points", "features", "predictions", "margins", "novelty"):
        assert np.array_equal(getattr(seen[0], name), getattr(seen[1], name)), name
    assert len(seen[0].points) == 20
    chances = scores.softmax(-1)
    best = chances.sort(-1, descending=True).values
    assert seen[0].margins == pytest.approx((best[:, 0] - best[:, 1]).numpy(), abs=1e-6)
    entropy = -(chances * chances.log()).sum(-1) / np.log(4)
    assert seen[0].novelty == pytest.approx(entropy.numpy(), abs=1e-6)


def test_small_images_undo_the_normalization():
    spec = InputSpec(size=128)
    image = torch.rand(2, 3, 128, 128)
    mean, std = (torch.tensor(v).view(1, 3, 1, 1) for v in (spec.mean, spec.std))
    plain = plain_images((image - mean) / std, spec)
    assert torch.allclose(plain, image, atol=1e-5)
    small = small_images(plain)
    assert small.shape == (2, 64, 64, 3) and small.dtype == torch.uint8
    mean_of_block = image[0, 1, 2:4, 4:6].mean() * 255
    assert abs(float(small[0, 1, 2, 1]) - float(mean_of_block)) <= 1
    assert plain_images(torch.rand(2, 5), spec) is None


def test_a_damaged_file_is_named(tmp_path):
    (tmp_path / "stage_0.npz").write_bytes(b"PK nonsense")
    (tmp_path / "stage_0.json").write_text("{}")
    with pytest.raises(ValueError, match="stage_0"):
        Analysis.load(tmp_path, "stage_0")


def test_where_some_truth_is_known_base_classes_stand_by_name():
    generator = np.random.default_rng(0)
    count = 50
    targets = np.where(np.arange(count) < 30, np.arange(count) % 3, -1)
    floats = {n: generator.random(count) for n in ("confidences", "margins", "novelty")}
    seen = ObservedPass(
        predictions=generator.integers(0, 5, count),
        targets=targets,
        sample_ids=np.arange(count),
        experiences=(np.arange(count) >= 30).astype(int),
        points=np.arange(count),
        features=generator.standard_normal((count, 4)).astype(np.float32),
        tiles=None,
        category_sums=generator.standard_normal((5, 4)),
        class_sums=generator.standard_normal((3, 4)),
        **floats,
    )
    state = StageState(1, num_base=3, num_known=3, num_classes=5, single=False, directions=None)
    arrays = stage_arrays(seen, state, {})
    for c in range(3):
        members = seen.predictions[targets == c]
        assert arrays["class_accuracy"][c, 1] == pytest.approx((members == c).mean())
    assert np.isnan(arrays["class_accuracy"][:, 0]).all()  # the stage before is not known
    assert arrays["first_stage"].tolist() == [0, 0, 0, 1, 1]
    assert not {"contingency", "purity", "group_accuracy", "direction_drift"} & set(arrays)
