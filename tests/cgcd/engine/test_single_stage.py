"""One mixed stage: what is measured of which part, what is stored, and that truth stays hidden."""

from __future__ import annotations

import csv
import json
from functools import partial
from typing import ClassVar

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from avalanche.training.plugins import SupervisedPlugin

from cgcd.cli.parts import _checked_steps
from cgcd.discovery import pinned_kmeans
from cgcd.engine import (
    Baselines,
    DiscoveryStrategy,
    Recipe,
    SingleStageResult,
    WarmUp,
    discovery_evaluator,
    half_labeled,
    run_stages,
)
from cgcd.engine.checkpoint import latest
from cgcd.losses import cosine_cross_entropy, info_nce, mean_entropy
from cgcd.metrics import closed_set_accuracy, joint_accuracy
from cgcd.tracking.tensorboard import StageTensorBoard
from cgcd.vocabulary import UNLABELED, InputError


class Plain(DiscoveryStrategy):
    """Cross-entropy where a label is seen, contrast and spread-out answers everywhere."""

    settings: ClassVar[frozenset[str]] = frozenset({"single_stage"})
    at_begin: tuple[int, int] | None = None

    def sampler(self, labels, generator):
        return half_labeled(labels, generator)

    def begin_stage(self, stage):
        self.at_begin = (self.num_base, self.num_known)
        rows = self.num_labeled_classes(stage) + self.novel_classes(stage)
        self.model.head.grow(rows, generator=self.generator("head"))

    def losses(self, batch):
        return {
            "cross_entropy": cosine_cross_entropy(batch.out.logits, batch.labels),
            "contrastive": info_nce(batch.out.projections),
            "mean_entropy": mean_entropy(batch.out.logits),
        }


@pytest.fixture(scope="module")
def build(blob_model):
    def made(epochs=3, plain=Plain, **kwargs):
        terms = {"cross_entropy": 1.0, "contrastive": 0.5, "mean_entropy": 1.0}
        optimizer = partial(torch.optim.SGD, lr=0.1, momentum=0.9)
        recipe = Recipe(epochs=epochs, batch_size=16, optimizer=optimizer, weights=terms)
        return plain(model=blob_model(), base=recipe, continual=recipe, **kwargs)

    return made


@pytest.fixture(scope="module")
def run(build, blob_single_stage, tmp_path_factory):
    folder, shown = tmp_path_factory.mktemp("single"), []
    logger = StageTensorBoard(folder / "tensorboard")
    strategy = build(evaluator=discovery_evaluator(Baselines(), loggers=[logger]))
    start = strategy.model.snapshot()
    scenario = blob_single_stage()
    result = run_stages(strategy, scenario, folder, facts={"note": 1}, on_stage=shown.append)
    logger.close()
    return folder, strategy, scenario, result, shown, start


def lines(path):
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def part_of(stream):
    samples = list(stream[0].dataset.eval())
    return torch.stack([s[0] for s in samples]), np.array([s[1] for s in samples])


def state_of(strategy):
    return {name: t.numpy().tobytes() for name, t in strategy.model.state_dict().items()}


def test_labeled_classes_are_known_and_the_others_novel(run):
    _, strategy, _, result, _, _ = run
    assert strategy.at_begin == (4, 4) == (strategy.num_base, strategy.num_known)
    row = result.rows[0]
    assert strategy.model.num_classes == row["stage/num_classes"] == 7
    assert (row["stage/num_known"], row["stage/num_novel_given"]) == (4, 3)
    assert row["unlabeled/bound/perfect_closed_set"] == 48 / 120
    assert row["test/bound/perfect_closed_set"] == 4 / 7


def test_both_parts_are_measured_and_named(run):
    _, strategy, scenario, result, shown, _ = run
    (row,) = result.rows
    assert shown == [row] and isinstance(result, SingleStageResult)
    for part, stream in scenario.parts.items():
        images, truth = part_of(stream)
        strategy.model.eval()
        with torch.no_grad():
            guess = strategy.predict(strategy.model.backbone.trunk(images)).argmax(-1).numpy()
        for group, value in joint_accuracy(guess, truth, 4, 4).items():
            assert row[f"{part}/accuracy/{group}"] == value
        assert row[f"{part}/count/found"] == len(set(guess.tolist()))
        assert row[f"{part}/accuracy/novel"] > 0
    assert {key.split("/")[0] for key in row} == {"stage", "unlabeled", "test", "seconds"}
    assert not any("forgetting" in key or key == "stage/found" for key in row)
    assert result.headline == row["unlabeled/accuracy/all"] == result.mean("unlabeled/accuracy/all")


def test_floors_and_bound_start_from_the_labeled_means(run):
    _, strategy, scenario, result, _, start = run
    stage = scenario.train_stream[0]
    images, labels = part_of(scenario.train_stream)
    trunk = strategy.model.backbone.trunk

    def features_of(images):
        with torch.no_grad():
            return F.normalize(start.tail(trunk(images)), dim=-1)

    features, shown = features_of(images), torch.as_tensor(labels)
    assert shown.tolist() == stage.labels.tolist()
    means = torch.stack([F.normalize(features[shown == c].mean(0), dim=0) for c in range(4)])
    fresh = F.normalize(pinned_kmeans(features[shown == UNLABELED], means, 3, seed=0), dim=-1)
    for part, stream in scenario.parts.items():
        images, truth = part_of(stream)
        near = features_of(images) @ torch.cat([means, fresh]).T
        bound = closed_set_accuracy(near[:, :4].argmax(-1).numpy(), truth, 4, 4)
        floor = joint_accuracy(near.argmax(-1).numpy(), truth, 4, 4)
        for group in ("all", "known", "novel"):
            assert result.rows[0][f"{part}/bound/closed_set_{group}"] == bound[group]
            assert result.rows[0][f"{part}/floor/nearest_mean_{group}"] == floor[group]
        assert result.rows[0][f"{part}/floor/kmeans_all"] > 0.5


def test_what_a_run_leaves(run):
    folder, _, scenario, result, _, _ = run
    stored = json.loads((folder / "results.json").read_text())
    assert stored["finished"] is True and stored["stages"] == [dict(result.rows[0])]
    assert stored["setting"] == "single_stage" and stored["num_novel"] == "given"
    assert stored["parts"] == {"unlabeled": 120, "test": 84} and stored["true_novel"] == 3
    assert "unlabeled part" in stored["headline"]["definition"] and stored["note"] == 1
    assert stored["headline"]["value"] == result.headline

    numbers = {(r["split"], r["metric"]): float(r["value"]) for r in lines(folder / "metrics.csv")}
    row = result.rows[0]
    assert numbers["unlabeled", "accuracy/all"] == row["unlabeled/accuracy/all"]
    assert numbers["test", "floor/kmeans_all"] == row["test/floor/kmeans_all"]
    assert numbers["run", "stage/num_classes"] == 7 and len(numbers) == len(row) - 1

    for part, stream in scenario.parts.items():
        answers = lines(folder / "predictions" / f"{part}.csv")
        ids = list(stream[0].dataset.sample_id)
        assert [int(line["sample"]) for line in answers] == ids
        for line, row_of_class in zip(answers, stream[0].labels, strict=True):
            category = int(line["category"])
            assert line["true_class"] == f"blob {row_of_class}"
            assert line["category_name"] == f"{'blob ' if category < 4 else 'new-'}{category}"
            assert line["is_new"] == str(int(category >= 4))


def test_tags_name_the_part_and_come_once(run):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    folder, _, _, result, _, _ = run
    accumulator = EventAccumulator(str(folder / "tensorboard"), size_guidance={"scalars": 0})
    accumulator.Reload()
    tags = {tag for tag in accumulator.Tags()["scalars"] if not tag.startswith("train/")}
    costs = ("seconds/", "memory/", "throughput/", "run/")
    measured = {tag for tag in tags if not tag.startswith(costs)}
    assert measured == result.rows[0].keys() - {"stage", "seconds"}
    for tag in measured:
        (point,) = accumulator.Scalars(tag)
        assert point.step == 0 and point.value == pytest.approx(result.rows[0][tag], rel=1e-6)


def test_a_finished_run_gives_its_row_and_a_broken_one_trains_anew(
    run, build, blob_single_stage, tmp_path
):
    folder, strategy, _, result, _, _ = run
    again = build(evaluator=discovery_evaluator(Baselines()))
    shown = []
    stored = run_stages(again, blob_single_stage(), folder, on_stage=shown.append)
    assert stored.rows == result.rows and shown == [result.rows[0]]
    assert state_of(again) == state_of(strategy) and again.clock.train_iterations > 0
    for part in ("unlabeled", "test"):
        again.eval(blob_single_stage().parts[part])
        for metric in again.evaluator.metrics[:2]:
            for key, value in metric.row.items():
                assert result.rows[0].get(f"{part}/{key}", value) == value

    class Interrupt(SupervisedPlugin):
        def state_dict(self):
            return {}

        def after_training_epoch(self, strategy, **kwargs):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run_stages(build(plugins=[Interrupt()]), blob_single_stage(), tmp_path)
    assert not (tmp_path / "results.json").exists()
    whole = build(evaluator=discovery_evaluator(Baselines()))
    mended = run_stages(whole, blob_single_stage(), tmp_path)
    assert state_of(whole) == state_of(strategy)
    assert mended.headline == result.headline
    assert latest(tmp_path / "checkpoints").stage == 0


def test_truth_cannot_move_a_bit_and_one_label_does(run, build, blob_single_stage):
    def poisoned(rows):
        return np.random.default_rng(9).integers(0, 7, len(rows))

    def one_other(rows):
        changed = rows.copy()
        changed[0] = (changed[0] + 1) % 4
        return changed

    baselines = Baselines()
    blind = build(evaluator=discovery_evaluator(baselines))
    result = run_stages(blind, blob_single_stage(retell=poisoned))
    assert state_of(blind) == state_of(run[1])
    assert torch.equal(baselines.means, run[1].evaluator.metrics[1].means)
    assert result.headline != run[3].headline  # the truth did change
    other = build()
    run_stages(other, blob_single_stage(relabel=one_other))
    assert state_of(other) != state_of(run[1])


def test_without_a_test_part_or_truth(build, blob_single_stage, tmp_path):
    hidden = partial(np.full_like, fill_value=UNLABELED)
    scenario = blob_single_stage(with_test=False, retell=hidden)
    strategy = build(epochs=1, evaluator=discovery_evaluator(Baselines()))
    result = run_stages(strategy, scenario, tmp_path)
    assert result.headline is None and result.facts["true_novel"] is None
    row = {key for key in result.rows[0] if "/" in key}
    assert row == {
        "stage/num_classes",
        "stage/num_known",
        "stage/num_novel_given",
        "unlabeled/count/found",
    }
    assert [path.name for path in (tmp_path / "predictions").iterdir()] == ["unlabeled.csv"]
    assert {line["true_class"] for line in lines(tmp_path / "predictions/unlabeled.csv")} == {""}


def test_the_number_of_novel_classes(build, blob_single_stage):
    silent = blob_single_stage(given=False)
    with pytest.raises(InputError, match="stage 0 does not tell"):
        run_stages(build(), silent)
    strategy = build(epochs=1, num_novel=5)
    assert run_stages(strategy, silent).facts["num_novel"] == "given (5)"
    assert strategy.model.num_classes == 9
    with pytest.raises(InputError, match="121 novel classes"):
        run_stages(build(num_novel=121), silent)


def test_the_warm_up_sees_labeled_samples_alone(build, blob_single_stage):
    recipe = WarmUp(steps=3, batch_size=8, cache=False)
    strategy = build(epochs=1, warm_up=recipe)
    run_stages(strategy, blob_single_stage())
    assert strategy.report["warm_up"]["steps"] == 3


def test_other_settings_are_refused_with_a_mend(build, quick_happy, blobs, blob_single_stage):
    with pytest.raises(InputError, match="scenario=digits_gcd"):
        run_stages(build(), blobs())
    wanted = "Happy is for the setting continual and blobs_gcd is single_stage.*scenario=digits"
    with pytest.raises(InputError, match=wanted):
        run_stages(quick_happy(), blob_single_stage())


def test_the_steps_are_those_of_the_one_stage(build, blob_single_stage):
    assert _checked_steps(build(epochs=3), blob_single_stage()) == 3 * (168 // 16)
