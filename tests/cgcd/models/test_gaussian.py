"""Gaussian heads against scikit-learn's discriminants, worked by hand, and their limits."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from sklearn.decomposition import PCA
from sklearn.discriminant_analysis import (
    LinearDiscriminantAnalysis,
    QuadraticDiscriminantAnalysis,
)
from sklearn.neighbors import NearestCentroid

from cgcd.models import FeCAMHead, GaussianHead

PLAIN = {"shrinkage": 0.0, "blend": 0.0}


@pytest.fixture(scope="module")
def data():
    generator = np.random.default_rng(0)
    labels = np.repeat(np.arange(4), [40, 60, 80, 100])
    shapes = generator.standard_normal((4, 6, 6)) / 2 + np.eye(6)
    rows = np.einsum("ni,nij->nj", generator.standard_normal((280, 6)), shapes[labels])
    rows += 1.5 * generator.standard_normal((4, 6))[labels]
    return torch.as_tensor(rows), torch.as_tensor(labels)


@pytest.fixture(scope="module")
def others():
    return 3 * torch.randn(2000, 6, generator=torch.Generator().manual_seed(1)).double()


def fitted(data, **kwargs):
    head = GaussianHead(data[0].shape[1], **kwargs)
    head.remember(*data)
    return head


def answers(head, others):
    return head(others).argmax(1).tolist()


def with_factors(means, covariances, **kwargs):
    head = GaussianHead(2, **kwargs)
    head.counts = torch.ones(len(means)).double()
    head.means = torch.tensor(means).double()
    head.factors = torch.linalg.cholesky(torch.tensor(covariances).double())
    return head


def test_unshrunk_and_tied_is_linear_discriminant_analysis(data, others):
    theirs = LinearDiscriminantAnalysis(solver="lsqr", priors=[0.25] * 4)
    theirs.fit(data[0].numpy(), data[1].numpy())
    head = fitted(data, covariance="tied", pooling="classes", **PLAIN)
    assert answers(head, others) == theirs.predict(others.numpy()).tolist()


def test_shrunk_and_tied_is_linear_discriminant_analysis(data, others):
    theirs = LinearDiscriminantAnalysis(solver="lsqr", priors=[0.25] * 4, shrinkage=0.3)
    theirs.fit(data[0].numpy(), data[1].numpy())
    head = fitted(data, covariance="tied", pooling="classes", shrinkage=0.3)
    assert answers(head, others) == theirs.predict(others.numpy()).tolist()


def test_unshrunk_is_quadratic_discriminant_analysis(data, others):
    theirs = QuadraticDiscriminantAnalysis(priors=[0.25] * 4, store_covariance=True)
    theirs.fit(data[0].numpy(), data[1].numpy())
    head = fitted(data, **PLAIN)
    divisors = torch.ones(4).double()  # n, or n - 1 in scikit-learn before 1.7
    if not np.allclose(theirs.covariance_[0], np.cov(data[0][:40].T, bias=True)):
        divisors = (head.counts / (head.counts - 1)).sqrt()
    head.factors = head.factors * divisors[:, None, None]
    decision = head(others) + math.log(0.25)
    ours, wanted = decision.log_softmax(1), theirs.predict_log_proba(others.numpy())
    torch.testing.assert_close(ours, torch.as_tensor(wanted), atol=1e-8, rtol=1e-6)


def test_log_densities_are_torchs(data, others):
    head = fitted(data)
    for c in range(4):
        wanted = torch.distributions.MultivariateNormal(head.means[c], scale_tril=head.factors[c])
        ours = head(others)[:, c] - 3 * math.log(2 * math.pi)
        torch.testing.assert_close(ours, wanted.log_prob(others))


def test_full_shrinkage_is_the_nearest_mean_if_tied_and_spheres_if_not(data, others):
    theirs = NearestCentroid().fit(data[0].numpy(), data[1].numpy())
    tied = fitted(data, covariance="tied", shrinkage=1.0)
    assert answers(tied, others) == theirs.predict(others.numpy()).tolist()
    spheres = fitted(data, shrinkage=1.0, blend=0.0)
    m = (data[0] - spheres.means[data[1]]).square().mean(1)
    m = torch.stack([m[data[1] == c].mean() for c in range(4)])
    away = torch.cdist(others, spheres.means).square()
    assert answers(spheres, others) == (-away / m - 6 * m.log()).argmax(1).tolist()


def test_an_endless_blend_is_the_tied_head(data, others):
    endless = fitted(data, blend=math.inf)
    torch.testing.assert_close(endless(others), fitted(data, covariance="tied")(others))


@pytest.mark.parametrize("log_determinant, answer", [(False, 0), (True, 1)])
def test_the_volume_matters(log_determinant, answer):
    covariances = [[[4.0, 0], [0, 1]], [[1, 0], [0, 1]]]
    head = with_factors([[0.0, 0], [3, 0]], covariances, log_determinant=log_determinant)
    point = torch.tensor([[1.9, 0.0]])
    assert torch.cdist(point.double(), head.means).argmin(1).item() == 1
    assert head(point).argmax(1).item() == answer
    wanted = [-1.144397, -0.605] if log_determinant else [-0.9025 / 2, -1.21 / 2]
    assert head(point)[0].tolist() == pytest.approx(wanted, abs=1e-6)


def test_tied_scores_do_not_see_an_invertible_map(data, others):
    bent = torch.randn(6, 6, generator=torch.Generator().manual_seed(2)).double()
    plain = fitted(data, covariance="tied", **PLAIN, log_determinant=False)
    mapped = fitted((data[0] @ bent, data[1]), covariance="tied", **PLAIN, log_determinant=False)
    torch.testing.assert_close(mapped(others @ bent), plain(others), atol=1e-6, rtol=1e-6)


def test_the_order_of_samples_does_not_matter(data, others):
    order = torch.randperm(len(data[1]), generator=torch.Generator().manual_seed(0))
    shuffled = fitted((data[0][order], data[1][order]))
    torch.testing.assert_close(shuffled(others), fitted(data)(others))


@pytest.mark.parametrize("covariance", ["per_class", "tied"])
def test_new_classes_leave_the_old_ones_as_they_are(data, others, covariance):
    rows, labels = data
    head = fitted((rows[labels < 2], labels[labels < 2]), covariance=covariance)
    before = head(others)
    trial = head.provisional_scores(others, torch.arange(2000) % 4, 4)
    kept = [part.clone() for part in (head.means, head.factors, head.tied_factor)]
    head.append(others, torch.arange(2000) % 4, 4)
    known = (head.means[:2], head.factors[:2], head.tied_factor)
    assert all(torch.equal(now, then) for now, then in zip(known, kept, strict=True))
    torch.testing.assert_close(head(others), torch.cat([before, trial], 1), rtol=1e-12, atol=1e-12)


def test_one_sample_makes_a_class_with_the_tied_covariance(data):
    head = fitted(data, blend=10.0)
    head.append(data[0][:1], torch.tensor([4]), 5)
    factor = head.factors[4] @ head.factors[4].T
    torch.testing.assert_close(factor, 10 / 11 * head.tied_factor @ head.tied_factor.T)
    for samples in (1, 3):  # that do not differ
        plain = fitted(data, blend=0.0)
        plain.append(data[0][:1].expand(samples, -1), torch.full((samples,), 4), 5)
        assert torch.equal(plain.factors[4], plain.tied_factor)


def test_two_samples_have_the_floor_of_the_shrinkage(caplog):
    head = GaussianHead(2, blend=0.0)
    rows = torch.tensor([[1.0, 2], [3, 2], [0, 0], [2, 1], [1, 3]])
    head.remember(rows, torch.tensor([0, 0, 1, 1, 1]))  # those of class 0 lie on a line
    wanted = torch.tensor([0.975, 0.025]).double().diag()
    torch.testing.assert_close(head.factors[0] @ head.factors[0].T, wanted)
    assert not caplog.records  # and no jitter


def test_principal_components_are_scikit_learns_of_the_labeled_features(data, others):
    head = fitted(data, num_components=3)
    theirs = PCA(3).fit(data[0].numpy()).transform(others.numpy())
    ours = head.points(others)
    torch.testing.assert_close(ours.abs(), torch.as_tensor(theirs).abs())
    assert torch.equal(fitted(data, num_components=6).points(others), others)  # nothing to drop


def test_draws_have_the_moments_of_the_class(data):
    head = fitted(data)
    drawn, classes = head.sample(20000, torch.Generator().manual_seed(0))
    for c in range(4):
        group = drawn[classes == c]
        torch.testing.assert_close(group.mean(0), head.means[c], atol=0.06, rtol=0)
        wanted = head.factors[c] @ head.factors[c].T
        torch.testing.assert_close(group.T.cov(), wanted, atol=0.1, rtol=0.05)


def test_an_update_moves_means_alone(data):
    head = fitted(data)
    factors = head.factors
    labels = torch.zeros(40).long()
    head.update(torch.zeros(40, 6), labels, weight=1.0)  # as many as class 0 had
    torch.testing.assert_close(head.means[0], data[0][:40].mean(0) / 2)
    assert torch.equal(head.factors, factors)


@pytest.mark.parametrize("kwargs", [{}, {"covariance": "tied"}, {"num_components": 3}])
def test_a_state_of_any_size_loads(data, others, kwargs):
    made = fitted(data, **kwargs)
    fresh = GaussianHead(6, **kwargs)
    fresh.load_state_dict(made.state_dict())
    assert torch.equal(fresh(others), made(others))


@pytest.mark.parametrize("recipe", ["vit", "cnn"])
def test_fecam_written_again(data, others, recipe):
    rows, labels = data[0].abs(), data[1]
    head = FeCAMHead(6, recipe)
    head.remember(rows, labels)
    others = others.abs()
    power = 0.5 if recipe == "cnn" else 1.0

    def unit(x):
        return x / np.linalg.norm(x, axis=-1, keepdims=True)

    taken = rows.numpy() ** power if recipe == "cnn" else unit(rows.numpy())
    points = unit(others.numpy() ** power)
    for c in range(4):
        group = taken[labels.numpy() == c]
        matrix = np.cov(group.T)
        off = ~np.eye(6, dtype=bool)
        for _ in range(2 if recipe == "cnn" else 1):
            first, second = np.trace(matrix) / 6, matrix[off].mean() if recipe == "cnn" else 0.0
            matrix = matrix + first * np.eye(6) + second * off
        scale = np.sqrt(np.diag(matrix))
        inverse = np.linalg.inv(matrix / np.outer(scale, scale))
        mean = unit(group.mean(0)) if recipe == "cnn" else group.mean(0)
        away = np.einsum("ni,ij,nj->n", points - mean, inverse, points - mean)
        np.testing.assert_allclose(head(others)[:, c], -away / 2, rtol=1e-9)


def test_fecam_keeps_means_where_its_points_lie(data):
    head = FeCAMHead(6, "cnn")
    head.remember(data[0].abs(), data[1])
    head.update(data[0].abs()[100:130], torch.zeros(30).long())
    torch.testing.assert_close(head.means.norm(dim=1), torch.ones(4).double())


def test_fecam_refuses_what_it_cannot_do(data):
    with pytest.raises(ValueError, match="use the recipe vit"):
        FeCAMHead(6, "cnn").remember(*data)
    with pytest.raises(ValueError, match="recipe is 'resnet'"):
        FeCAMHead(6, "resnet")
    alone = FeCAMHead(6)
    alone.remember(*data)
    alone.append(data[0][:1], torch.tensor([4]), 5)  # one sample tells of no correlation
    alone.append(data[0][:1].expand(3, -1), torch.full((3,), 5), 6)
    torch.testing.assert_close(alone.factors[4:], torch.eye(6).double().expand(2, 6, 6))


@pytest.mark.parametrize(
    "kwargs, message",
    [
        ({"covariance": "full"}, "'per_class' or 'tied'"),
        ({"shrinkage": 1.5}, "shrinkage is 1.5"),
        ({"blend": -1.0}, "blend is -1.0"),
        ({"pooling": "mean"}, "pooling is 'mean'"),
        ({"num_components": 0}, "num_components is 0"),
    ],
)
def test_bad_arguments_are_named(kwargs, message):
    with pytest.raises(ValueError, match=message):
        GaussianHead(4, **kwargs)


def test_a_class_without_a_sample_is_named(data):
    with pytest.raises(ValueError, match=r"none of class \[1\]"):
        GaussianHead(6).remember(data[0][:4], torch.tensor([0, 0, 2, 2]))
