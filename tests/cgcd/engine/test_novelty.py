"""Novelty of held-out samples stage by stage: what it is computed from, and going on exactly."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from cgcd.discovery import GaussianClasses, logit_scores
from cgcd.engine import NoveltyMetrics, discovery_evaluator, run_stages
from cgcd.engine.checkpoint import discard_after
from cgcd.metrics import novelty_metrics
from cgcd.stages import Stage, stage_dataset
from cgcd.vocabulary import UNLABELED, InputError


@pytest.fixture(scope="module")
def outliers():
    """Vectors far from every corner of the cube that the blobs lie at."""
    images = 0.2 * torch.randn(40, 16, generator=torch.Generator().manual_seed(3))
    hidden = np.full(40, UNLABELED)
    views = {"train_transform": image_of, "eval_transform": image_of}
    return Stage(stage_dataset(images, np.arange(40), hidden, **views), 0, None)


def image_of(sample):
    return sample.image


@pytest.fixture(scope="module")
def ran(quick_happy, blobs, outliers):
    scenario, novelty = blobs(), NoveltyMetrics(outliers)
    strategy = quick_happy(epochs=(4, 3), evaluator=discovery_evaluator(novelty))
    rows, outputs = [], None
    for index, stage in enumerate(scenario.train_stream):
        strategy.train(stage)
        if index == 0:
            outputs = strategy.stage_outputs(stage)
        metrics = strategy.eval(scenario.test_stream[: index + 1])
        rows.append(dict(novelty.row))
    return scenario, strategy, novelty, outputs, rows, metrics


def test_rows_are_every_metric_of_every_score(ran):
    scenario, strategy, _, outputs, rows, metrics = ran
    gaussians = GaussianClasses.fit(outputs.features, outputs.labels)
    parts = []
    for stages in (scenario.test_stream, [SimpleNamespace(dataset=ran[2].outliers.dataset)]):
        images = torch.stack([sample[0] for s in stages for sample in s.dataset.eval()])
        with torch.no_grad():
            features = strategy.model.backbone(images)
            cosines = strategy.model.head(features)
        parts.append({**logit_scores(cosines), **gaussians.scores(features)})
    assert len(parts[0]) == 9
    wanted = {"novelty/num_outliers": 40}
    for name, known in parts[0].items():
        scores = torch.cat([known, parts[1][name]])
        numbers = novelty_metrics(scores, np.arange(len(scores)) >= len(known))
        wanted |= {f"novelty/{name}_{metric}": value for metric, value in numbers.items()}
    assert rows[2] == pytest.approx(wanted, abs=1e-3)  # predictions went through float32
    assert [len(row) for row in rows] == [46, 46, 46]
    assert metrics["novelty_energy_auroc/eval_phase/test_stream"] == rows[2]["novelty/energy_auroc"]
    assert rows[0]["novelty/mahalanobis_auroc"] > 0.9


def test_it_leaves_training_and_evaluation_alone(ran, quick_happy, blobs):
    bare = quick_happy(epochs=(4, 3))
    for stage in blobs().train_stream:
        bare.train(stage)
    for name, tensor in ran[1].model.state_dict().items():
        assert torch.equal(bare.model.state_dict()[name], tensor)
    before = dict(ran[2].row)
    ran[1].eval(ran[0].test_stream)
    assert ran[2].row == before


def test_no_truth_is_needed(quick_happy, blobs, outliers):
    novelty = NoveltyMetrics(outliers)
    strategy = quick_happy(epochs=(1, 1), evaluator=discovery_evaluator(novelty))
    scenario = blobs(hide_test=True)
    strategy.train(scenario.train_stream[0])
    strategy.eval(scenario.test_stream[:1])
    assert len(novelty.row) == 46


def test_evaluations_inside_training_stay_cheap(quick_happy, blobs, outliers):
    novelty, scenario = NoveltyMetrics(outliers), blobs()
    evaluator = discovery_evaluator(novelty)
    strategy = quick_happy(epochs=(1, 1), evaluator=evaluator, eval_every=1)
    strategy.train(scenario.train_stream[0], eval_streams=[scenario.test_stream[:1]])
    assert not novelty.row and not novelty.history


def test_a_broken_run_goes_on_with_the_same_numbers(tmp_path, quick_happy, blobs, outliers):
    def run():
        novelty = NoveltyMetrics(outliers)
        strategy = quick_happy(epochs=(1, 1), evaluator=discovery_evaluator(novelty))
        return novelty, run_stages(strategy, blobs(), tmp_path).rows

    first, rows = run()
    folder = tmp_path / "checkpoints"
    for stage in range(3):
        stored = load_file(folder / f"stage_00{stage}" / "tensors.safetensors")
        assert ("novelty.factor" in stored) == (stage == 0)  # once is enough
    discard_after(folder, 1)
    second, again = run()
    assert torch.equal(first.classes.factor, second.classes.factor)
    assert first.history == second.history
    drop = [{k: v for k, v in row.items() if k != "seconds"} for row in rows]
    assert drop == [{k: v for k, v in row.items() if k != "seconds"} for row in again]
    assert "novelty/max_softmax_fpr_at_95" in (tmp_path / "metrics.csv").read_text()


def test_a_run_without_outliers_does_not_get_them_later(tmp_path, quick_happy, blobs, outliers):
    run_stages(quick_happy(epochs=(1, 1)), blobs(), tmp_path)
    late = quick_happy(epochs=(1, 1), evaluator=discovery_evaluator(NoveltyMetrics(outliers)))
    with pytest.raises(InputError, match="was made without outliers; leave them out"):
        run_stages(late, blobs(), tmp_path)


def test_nothing_to_measure_with_is_refused(outliers):
    with pytest.raises(InputError, match="there is no outlier"):
        NoveltyMetrics(SimpleNamespace(dataset=[]))
    with pytest.raises(InputError, match="temperature is 0"):
        NoveltyMetrics(outliers, temperature=0)
