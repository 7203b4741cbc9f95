"""Floors and the bound: what they are computed from, and that they leave training alone."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from cgcd.engine import Baselines, discovery_evaluator
from cgcd.metrics import closed_set_accuracy, joint_accuracy


@pytest.fixture(scope="module")
def ran(quick_happy, blobs):
    scenario, baselines = blobs(), Baselines()
    strategy = quick_happy(epochs=(4, 3), evaluator=discovery_evaluator(baselines))
    start = strategy.model.snapshot()
    rows, closed = [], None
    for index, stage in enumerate(scenario.train_stream):
        strategy.train(stage)
        if index == 0:
            closed = strategy.model.snapshot()
        strategy.eval(scenario.test_stream[: index + 1])
        rows.append(dict(baselines.row))
    return scenario, strategy, baselines, start, closed, rows


def images_of(stages):
    pairs = [sample[:2] for stage in stages for sample in stage.dataset.eval()]
    return torch.stack([p[0] for p in pairs]), torch.tensor([p[1] for p in pairs])


def test_snapshots_are_those_of_the_start_and_of_the_base_stage(ran):
    _, _, baselines, start, closed, _ = ran
    for mine, wanted in ((baselines.start.tail, start.tail), (baselines.closed.tail, closed.tail)):
        for name, tensor in wanted.state_dict().items():
            assert torch.equal(mine.state_dict()[name], tensor)
    assert torch.equal(baselines.closed.head.directions, closed.head.directions)


def test_means_of_base_classes_are_pinned(ran):
    scenario, strategy, baselines, start, _, _ = ran
    images, labels = images_of(scenario.train_stream[:1])
    with torch.no_grad():
        trunk = strategy.model.backbone.trunk(images)
    features = F.normalize(start.tail(trunk), dim=-1)
    wanted = torch.stack([F.normalize(features[labels == c].mean(0), dim=0) for c in range(4)])
    torch.testing.assert_close(baselines.means[:4], wanted)
    assert baselines.means.shape == (7, 24)
    torch.testing.assert_close(baselines.means.norm(dim=-1), torch.ones(7))


def test_bound_is_the_base_model_on_all_classes(ran):
    scenario, strategy, _, _, closed, rows = ran
    images, labels = images_of(scenario.test_stream)
    with torch.no_grad():
        trunk = strategy.model.backbone.trunk(images)
        guess = closed.head(closed.tail(trunk)).argmax(-1)
    wanted = closed_set_accuracy(guess.numpy(), labels.numpy(), 4, 5)
    for group, value in wanted.items():
        assert rows[2][f"bound/closed_set_{group}"] == value
    assert rows[2]["bound/perfect_closed_set"] == pytest.approx(4 / 7)
    assert [row["bound/perfect_closed_set"] for row in rows[:2]] == [1.0, pytest.approx(0.8)]


def test_nearest_mean_floor(ran):
    scenario, strategy, baselines, start, _, rows = ran
    images, labels = images_of(scenario.test_stream)
    with torch.no_grad():
        features = start.tail(strategy.model.backbone.trunk(images))
    guess = (F.normalize(features, dim=-1) @ baselines.means.T).argmax(-1)
    wanted = joint_accuracy(guess.numpy(), labels.numpy(), 4, 5)
    for group, value in wanted.items():
        assert rows[2][f"floor/nearest_mean_{group}"] == value
    assert rows[2]["floor/kmeans_all"] > 0.7  # blobs are what k-means is for


def test_baselines_leave_training_alone(ran, quick_happy, blobs):
    bare = quick_happy(epochs=(4, 3))
    for stage in blobs().train_stream:
        bare.train(stage)
    for name, tensor in ran[1].model.state_dict().items():
        assert torch.equal(bare.model.state_dict()[name], tensor)
