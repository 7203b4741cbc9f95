"""The small steps of VB-CGCD: the gradient, the rates, the stop, and how far it can get."""

from __future__ import annotations

import copy

import numpy as np
import pytest
import torch

from cgcd.models import GaussianHead, SteppedGaussianHead, stepped_gaussian
from cgcd.models.shrinkage import log_determinant
from cgcd.models.stepped_gaussian import Stop, gradients, rate
from cgcd.vocabulary import InputError


@pytest.fixture(scope="module")
def data():
    generator = np.random.default_rng(0)
    labels = np.repeat(np.arange(4), 60)
    rows = generator.standard_normal((240, 5)) * 2 + 4 * generator.standard_normal((4, 5))[labels]
    return torch.as_tensor(rows), torch.as_tensor(labels)


def fitted(data, classes=4, **kwargs):
    head = SteppedGaussianHead(5, **kwargs)
    shown = data[1] < classes
    head.remember(data[0][shown], data[1][shown])
    return head


def test_gradient_is_that_of_the_mean_negative_log_density(data):
    rows, labels = data[0][::4], data[1][::4].clamp_max(2)
    generator = torch.Generator().manual_seed(0)
    means = torch.randn(4, 5, generator=generator).double().requires_grad_()
    root = torch.eye(5).double() + 0.2 * torch.randn(4, 5, 5, generator=generator).double()
    covariances = (root @ root.mT).requires_grad_()
    symmetric = (covariances + covariances.mT) / 2
    density = torch.distributions.MultivariateNormal(means[labels], symmetric[labels])
    (-density.log_prob(rows).mean()).backward()
    ours = gradients(means.detach(), covariances.detach(), rows, labels)
    torch.testing.assert_close(ours[0], means.grad)
    torch.testing.assert_close(ours[1], covariances.grad)
    assert not ours[0][3].any() and not ours[1][3].any()  # a class without a sample


def test_rates_rise_fall_and_add_up():
    assert rate(0) == pytest.approx(0.1) and rate(100) == 1
    assert rate(600) == pytest.approx(0.85)
    assert 4e-5 * sum(map(rate, range(1000))) == pytest.approx(0.0334, abs=1e-4)


def test_no_entry_gets_far(data):
    head = fitted(data)
    covariances = head.factors @ head.factors.mT
    assert head.means.abs().max() < 0.034
    assert (covariances - torch.eye(5)).abs().max() < 0.034
    second = torch.stack([data[0][data[1] == c].T @ data[0][data[1] == c] / 60 for c in range(4)])
    same_sign = (covariances - torch.eye(5)).sign() == (second - torch.eye(5)).sign()
    assert same_sign.double().mean() > 0.9  # it reads the signs of uncentered second moments
    assert (head(data[0]).argmax(1) == data[1]).double().mean() > 0.7


@pytest.mark.parametrize(
    "known, total, first, second", [(50, 60, 1.2, 0.408248), (90, 100, 2.0, 0.316228)]
)
def test_a_first_fit_looks_at_the_base_classes_and_a_second_at_all_old_ones(
    known, total, first, second, monkeypatch
):
    rows = torch.randn(2 * total, 2, generator=torch.Generator().manual_seed(0)).double()
    labels = torch.arange(total).repeat(2)
    head, asked = SteppedGaussianHead(2, steps=1), []
    head.remember(rows[labels < 50], labels[labels < 50])
    if known > 50:
        head.append(rows, labels.where(labels < known, -1), known)
    head.factors = head.factors * torch.arange(1, known + 1)[:, None, None]  # told apart

    class Asked(Stop):
        def __init__(self, volumes, factor):
            asked.append((volumes, factor))
            super().__init__(volumes, factor)

    monkeypatch.setattr(stepped_gaussian, "Stop", Asked)
    volumes = log_determinant(head.factors)
    head.provisional_scores(rows, labels, total)
    head.append(rows, labels, total)
    assert torch.equal(asked[0][0], volumes[:50]) and torch.equal(asked[1][0], volumes)
    assert [factor for _, factor in asked] == pytest.approx([first, second], abs=1e-6)


@pytest.mark.parametrize("steps", [9, 10])
def test_the_step_before_the_stop_is_kept_and_the_first_third_is_never_looked_at(
    data, steps, monkeypatch
):
    head = fitted(data, classes=2, steps=steps)
    monkeypatch.setattr(Stop, "is_reached", lambda *_: True)
    asked = copy.deepcopy(head)
    asked.append(*data, 4)
    rows, labels = head._chosen(*data)
    head.steps = steps // 3 + 1  # of step n > steps / 3, counted from 0, n are kept
    plain = head._stepped(rows, labels, 2, None)
    assert torch.equal(asked.means[2:], plain.means)
    assert torch.equal(asked.factors[2:], plain.factors)


def test_known_classes_take_in_nothing(data):
    head = fitted(data, steps=5)
    before = {name: value.clone() for name, value in head.state_dict().items()}
    head.update(*data)
    assert all(torch.equal(before[name], value) for name, value in head.state_dict().items())


def test_the_stop_compares_mean_determinants_on_either_side_of_1():
    wide, thin = torch.tensor([4.0, 8.0]).log(), torch.tensor([0.5, 0.25]).log()  # means 6, 0.375
    assert Stop(wide, 0.5).is_reached(torch.tensor([3.1]).log())
    assert not Stop(wide, 0.5).is_reached(torch.tensor([2.9]).log())
    assert Stop(thin, 0.5).is_reached(torch.tensor([0.74]).log())
    assert not Stop(thin, 0.5).is_reached(torch.tensor([0.76]).log())


def test_a_later_fit_stops_early(data):
    volumes = []
    for stop_early in (True, False):
        head = fitted(data, classes=2, stop_early=stop_early, steps=600)
        kept = head.means.clone(), head.factors.clone()
        head.append(*data, 4)
        assert torch.equal(head.means[:2], kept[0]) and torch.equal(head.factors[:2], kept[1])
        volumes.append(log_determinant(head.factors))
    assert volumes[0][2:].mean() < volumes[1][2:].mean()
    assert torch.equal(volumes[0][:2], volumes[1][:2])


def test_provisional_classes_are_not_kept(data):
    head = fitted(data, classes=2, steps=50)
    before = head.state_dict()
    scores = head.provisional_scores(*data, 4)
    assert scores.shape == (240, 2) and head.num_classes == 2
    assert all(torch.equal(head.state_dict()[name], value) for name, value in before.items())


def test_the_same_seed_the_same_bits_and_a_state_that_loads(data):
    made, again = fitted(data, steps=20), fitted(data, steps=20)
    assert torch.equal(made.factors, again.factors)
    assert not torch.equal(made.factors, fitted(data, steps=20, seed=1).factors)
    fresh = SteppedGaussianHead(5)
    fresh.load_state_dict(made.state_dict())
    assert torch.equal(fresh(data[0]), made(data[0])) and fresh.num_base == 4


def test_the_stand_in_gives_new_classes_the_volume_of_the_known(data):
    head = GaussianHead(5, volume_ratio=0.3)
    shown = data[1] < 2
    head.remember(data[0][shown], data[1][shown])
    head.append(*data, 4)
    volumes = log_determinant(head.factors)
    torch.testing.assert_close(volumes[2:], (volumes[:2].mean() - 0.3).expand(2))


def test_too_large_a_step_is_said(data):
    with pytest.raises(InputError, match=r"no longer positive definite after a step, .*; lower"):
        fitted(data, learning_rate=20.0)


def test_bad_arguments_are_named():
    with pytest.raises(ValueError, match="steps is 0"):
        SteppedGaussianHead(3, steps=0)
