"""GCD: what its losses see, and centroids that a labeled class keeps."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from avalanche.core import SupervisedPlugin

from cgcd.discovery import pinned_kmeans, semi_supervised_kmeans
from cgcd.engine import run_stages
from cgcd.losses import info_nce, supervised_contrastive
from cgcd.vocabulary import InputError
from strategies import GCD
from strategies.gcd import BASE


@pytest.fixture(scope="module")
def build(quick):
    return quick(GCD)


def features_of(strategy, stage):
    return F.normalize(strategy.stage_outputs(stage).features, dim=-1)


def test_the_recipe_is_that_of_the_authors_command():
    assert BASE.weights == {"contrastive": 0.65, "supervised_contrastive": 0.35}
    assert (BASE.epochs, BASE.batch_size, BASE.clip_norm) == (200, 128, None)
    assert BASE.optimizer.keywords == {"lr": 0.1, "momentum": 0.9, "weight_decay": 5e-5}
    assert GCD.settings == {"single_stage", "continual"}


def test_a_mixed_stage_is_clustered(build, blob_single_stage):
    strategy, scenario = build(epochs=(15, 1), kmeans_starts=5), blob_single_stage()
    (row,) = run_stages(strategy, scenario).rows
    assert row["stage/num_classes"] == 7 and row["stage/num_known"] == 4
    assert row["unlabeled/accuracy/all"] > 0.7
    (stage,) = scenario.train_stream
    found = semi_supervised_kmeans(
        features_of(strategy, stage), torch.tensor(stage.labels), 7, 0, 5, 200
    )
    assert torch.equal(strategy.model.head.directions.detach(), found.centroids)


def test_the_losses_are_the_two_contrasts(build, blob_single_stage):
    seen, look = [], SupervisedPlugin()
    look.after_training_iteration = lambda strategy, **kwargs: seen.append(strategy.batch)
    strategy = build(epochs=(1, 1), plugins=[look])
    strategy.train(blob_single_stage().train_stream[0])
    batch = seen[-1]
    assert strategy.losses(batch) == {
        "contrastive": info_nce(batch.out.projections),
        "supervised_contrastive": supervised_contrastive(batch.out.projections, batch.labels),
    }


def test_centroids_of_the_base_stage_are_class_means_and_stay(build, blobs):
    strategy, scenario = build(), blobs()
    strategy.train(scenario.train_stream[0])
    base = scenario.train_stream[0]
    features, labels = features_of(strategy, base), torch.tensor(base.labels)
    means = torch.stack([features[labels == row].mean(0) for row in range(4)])
    known = strategy.model.head.directions.detach().clone()
    torch.testing.assert_close(known, means)
    strategy.train(scenario.train_stream[1])
    assert set(strategy.terms) == {"contrastive"}
    rows = strategy.model.head.directions.detach()
    assert torch.equal(rows[:4], known)
    wanted = pinned_kmeans(features_of(strategy, scenario.train_stream[1]), known, 1, 0, 2, 200)
    assert torch.equal(rows[4:], wanted)


def test_the_answer_is_the_nearest_centroid(build, blobs):
    strategy, scenario = build(score_temperature=0.4), blobs()
    strategy.train(scenario.train_stream[0])
    trunk, _ = next(strategy.trunk_outputs(scenario.train_stream[0].dataset))
    with torch.no_grad():
        scores = strategy.predict(trunk)
        features = F.normalize(strategy.model.backbone.tail(trunk), dim=-1)
    gaps = features[:, None] - strategy.model.head.directions.detach()
    torch.testing.assert_close(scores, -gaps.square().sum(-1) / 0.4)


def test_training_leaves_the_centroids_alone(build, blobs):
    strategy, scenario = build(), blobs()
    strategy.train(scenario.train_stream[0])
    before = strategy.model.head.directions.detach().clone()
    strategy.end_stage = lambda stage: None
    strategy.train(scenario.train_stream[1])
    assert torch.equal(strategy.model.head.directions.detach()[:4], before)


@pytest.mark.parametrize(
    "settings",
    [
        {"kmeans_starts": 0},
        {"kmeans_iterations": 0},
        {"contrastive_temperature": 0.0},
        {"supervised_temperature": -1.0},
        {"score_temperature": 0.0},
    ],
)
def test_settings_that_cannot_be_used_are_refused_at_the_door(build, settings):
    with pytest.raises(InputError, match=f"{next(iter(settings))} is"):
        build(**settings)
