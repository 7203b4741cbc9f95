"""Novelty scores against released values, loops, explicit inverses and scikit-learn."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from scipy.stats import spearmanr
from sklearn.covariance import LedoitWolf

from cgcd.discovery import GaussianClasses, logit_scores
from cgcd.discovery.novelty import energy, max_logit, max_softmax, prototype_ratio

IN_THE_FIXTURE = {
    "msp": "max_softmax",
    "mls": "max_logit",
    "energy": "energy",
    "xent": "cross_entropy_to_uniform",
    "proto": "prototype_ratio",
    "margin": "margin",
}


def cosines(count=50, classes=6, seed=0):
    return torch.rand(count, classes, generator=torch.Generator().manual_seed(seed)) * 2 - 1


@pytest.mark.parity
def test_scores_are_the_released_ones(parity):
    for case in parity("protogcd_ood"):
        for side in ("in", "out"):
            given = torch.from_numpy(case[f"logits_{side}"])
            scores = logit_scores(given, float(case["temp_logits"]), float(case["energy_T"]))
            for name, wanted in zip(case["score_names"], case[f"scores_{side}"], strict=True):
                mine = scores[IN_THE_FIXTURE[str(name)]].numpy()
                np.testing.assert_allclose(mine, wanted, rtol=1e-5, atol=1e-6)


def test_scores_against_a_loop():
    given = cosines()
    scores = logit_scores(given, 0.1, energy_temperature=0.5)
    for i, row in enumerate(given.double().tolist()):
        total = sum(math.exp(c / 0.1) for c in row)
        p = sorted((math.exp(c / 0.1) / total for c in row), reverse=True)
        wanted = {
            "max_softmax": -p[0],
            "max_logit": -max(row),
            "energy": -0.5 * math.log(sum(math.exp(c / 0.5) for c in row)),
            "entropy": -sum(q * math.log(q) for q in p),
            "cross_entropy_to_uniform": sum(math.log(q) for q in p) / len(p),
            "margin": p[1] - p[0],
            "prototype_ratio": -p[0] / (p[1] + 1e-6),
        }
        assert {name: score[i].item() for name, score in scores.items()} == pytest.approx(wanted)


def test_a_uniform_prediction_is_the_most_novel():
    given = torch.cat([torch.full((1, 6), 0.3), 0.3 + 0.6 * cosines().abs()])
    scores = logit_scores(given)
    for name in scores.keys() - {"max_logit", "energy"}:  # these two look at the level as well
        assert scores[name].argmax() == 0, name
    assert scores["entropy"][0].item() == pytest.approx(math.log(6))


def test_softmax_and_ratio_rank_two_classes_alike():
    given = cosines(200, 2)
    both = spearmanr(max_softmax(given), prototype_ratio(given)).statistic
    assert both == pytest.approx(1.0, abs=1e-12)


def test_max_logit_knows_no_temperature():
    one, other = (logit_scores(cosines(), t)["max_logit"] for t in (0.1, 0.7))
    assert torch.equal(one, other)
    torch.testing.assert_close(energy(cosines(), 1e-4), max_logit(cosines()), atol=1e-3, rtol=0)


def test_confident_samples_do_not_tie():
    gaps = torch.linspace(1.5, 2.0, 20)
    given = torch.stack([torch.ones(20), 1 - gaps, -torch.ones(20)], 1)
    for name in ("max_softmax", "margin", "prototype_ratio"):
        assert (logit_scores(given)[name].diff() < 0).all(), name


@pytest.mark.parametrize(
    ("given", "temperature", "message"),
    [
        (torch.zeros(3), 0.1, r"logits \(3,\) given"),
        (torch.zeros(3, 1), 0.1, "at least 2 classes"),
        (torch.zeros(3, 2), 0.0, r"temperature is 0\.0; wanted a number above 0"),
    ],
)
def test_bad_logits_are_named(given, temperature, message):
    with pytest.raises(ValueError, match=message):
        logit_scores(given, temperature)


def labeled(seed=0, classes=3, per_class=30, dim=8):
    generator = np.random.default_rng(seed)
    mixing = generator.standard_normal((dim, dim))
    labels = np.repeat(np.arange(classes) * 2, per_class)  # with gaps
    places = 3 * generator.standard_normal((2 * classes, dim))
    rows = places[labels] + generator.standard_normal((len(labels), dim)) @ mixing
    return torch.as_tensor(rows, dtype=torch.float32), torch.as_tensor(labels)


def test_distances_against_an_explicit_inverse():
    features, labels = labeled()
    queries = torch.cat([features[:5], 4 * labeled(seed=1)[0][:20]])
    gaussians = GaussianClasses.fit(features, labels)
    x, y, q = features.double().numpy(), labels.numpy(), queries.double().numpy()
    means = np.stack([x[y == c].mean(0) for c in np.unique(y)])
    residuals = np.concatenate([x[y == c] - x[y == c].mean(0) for c in np.unique(y)])
    shared = np.linalg.inv(LedoitWolf(assume_centered=True).fit(residuals).covariance_)
    overall = np.linalg.inv(LedoitWolf().fit(x).covariance_)
    nearest = [min((z - m) @ shared @ (z - m) for m in means) for z in q]
    away = [(z - x.mean(0)) @ overall @ (z - x.mean(0)) for z in q]
    scores = gaussians.scores(queries)
    np.testing.assert_allclose(scores["mahalanobis"], nearest, rtol=1e-9)
    np.testing.assert_allclose(
        scores["relative_mahalanobis"], np.subtract(nearest, away), rtol=1e-8, atol=1e-8
    )
    np.testing.assert_allclose(
        gaussians.factor @ gaussians.factor.T, np.linalg.inv(shared), rtol=1e-9, atol=1e-9
    )


def test_a_mean_is_not_novel_and_order_is_nothing():
    features, labels = labeled()
    gaussians = GaussianClasses.fit(features, labels)
    assert gaussians.mahalanobis(gaussians.means).abs().max() == 0
    order = torch.randperm(len(labels), generator=torch.Generator().manual_seed(0))
    again = GaussianClasses.fit(features[order], labels[order])
    torch.testing.assert_close(again.mahalanobis(features), gaussians.mahalanobis(features))


def test_more_dimensions_than_samples_and_dead_ones_are_fine():
    features, labels = labeled(per_class=3, dim=40)
    features[:, 7] = 0.25
    scores = GaussianClasses.fit(features, labels).scores(features)
    assert all(score.isfinite().all() for score in scores.values())
    pair = GaussianClasses.fit(features[:2], labels[:2])  # Ledoit-Wolf gives no shrinkage here
    assert pair.mahalanobis(features).isfinite().all()


@pytest.mark.parametrize(
    ("features", "labels", "message"),
    [
        (torch.zeros(3), torch.zeros(3, dtype=torch.long), "wanted \\(N, D\\)"),
        (torch.zeros(3, 2), torch.zeros(2, dtype=torch.long), "wanted \\(N, D\\)"),
        (torch.zeros(0, 2), torch.zeros(0, dtype=torch.long), "N >= 1"),
        (torch.zeros(2, 2), torch.tensor([0, -1]), "without a label"),
        (torch.tensor([[0.0], [math.nan]]), torch.tensor([0, 0]), "not finite"),
        (torch.eye(3), torch.arange(3), "at least two samples of a class"),
    ],
)
def test_what_cannot_be_fitted_is_named(features, labels, message):
    with pytest.raises(ValueError, match=message):
        GaussianClasses.fit(features, labels)


def test_features_of_another_width_are_refused():
    gaussians = GaussianClasses.fit(*labeled())
    with pytest.raises(ValueError, match=r"features \(2, 9\) given; wanted \(N, 8\)"):
        gaussians.scores(torch.zeros(2, 9))
