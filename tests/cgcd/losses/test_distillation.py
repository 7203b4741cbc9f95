import itertools
import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from cgcd.losses import (
    feature_distillation,
    old_logit_distillation,
    ramped,
    self_distillation,
)


def random(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


@pytest.mark.parametrize(
    "views, temperature, expected",
    [
        ([[0.2, 0.0], [0.0, 0.1]], 0.07, 1.499617),
        ([[0.2, 0.0], [0.0, 0.1]], 0.05, 1.591899),
        ([[0.2, 0.0], [0.0, 0.1]], 0.04, 1.640890),
        ([[1.0, 0.0], [0.0, 1.0]], 0.05, 10.0000),
        ([[0.0, 0.0], [0.0, 0.0]], 0.05, 0.693147),
        ([[0.3] * 7, [0.3] * 7], 0.05, math.log(7)),
    ],
)
def test_values_of_the_specification(views, temperature, expected):
    logits = torch.tensor([views], dtype=torch.float64)
    found = self_distillation(logits, temperature)
    assert found.item() == pytest.approx(expected, rel=1e-5, abs=1e-6)
    assert self_distillation(logits.flip(1), temperature).item() == pytest.approx(found.item())


@pytest.mark.parametrize("num_views", [2, 3, 4])
def test_agrees_with_a_loop_over_pairs(num_views):
    logits, teacher = random(5, num_views, 6), random(5, num_views, 6, seed=1)
    pairs = [
        F.cross_entropy(logits[:, w] / 0.2, (teacher[:, v] / 0.05).softmax(-1))
        for v, w in itertools.permutations(range(num_views), 2)
    ]
    found = self_distillation(logits, 0.05, 0.2, teacher_logits=teacher)
    torch.testing.assert_close(found, torch.stack(pairs).mean())


def test_order_of_views_does_not_matter():
    logits = random(4, 3, 5)
    torch.testing.assert_close(
        self_distillation(logits, 0.05), self_distillation(logits[:, [2, 0, 1]], 0.05)
    )


def test_no_gradient_through_the_teacher():
    logits = random(4, 2, 5).requires_grad_()
    teacher = logits.detach().clone().requires_grad_()
    own = torch.autograd.grad(self_distillation(logits, 0.05), logits)[0]
    loss = self_distillation(logits, 0.05, teacher_logits=teacher)
    torch.testing.assert_close(own, torch.autograd.grad(loss, logits)[0])
    assert not self_distillation(logits.detach(), 0.05, teacher_logits=teacher).requires_grad

    previous = random(4, 5).requires_grad_()
    assert not feature_distillation(random(4, 5), previous).requires_grad


def test_one_view_cannot_teach():
    with pytest.raises(ValueError, match="V >= 2"):
        self_distillation(torch.zeros(3, 1, 4), 0.05)


def test_feature_distillation_is_twice_one_minus_cosine():
    features, previous = random(4, 2, 5), random(4, 2, 5, seed=1)
    cosines = F.cosine_similarity(features, previous, dim=-1)
    torch.testing.assert_close(feature_distillation(features, previous), 2 * (1 - cosines).mean())
    torch.testing.assert_close(
        feature_distillation(3 * features, previous / 7), feature_distillation(features, previous)
    )
    assert feature_distillation(features, 2 * features).item() == pytest.approx(0)
    assert feature_distillation(features, -features).item() == pytest.approx(4)


def test_gradients():
    logits, teacher = random(2, 3, 4).requires_grad_(), random(2, 3, 4, seed=1)
    assert torch.autograd.gradcheck(
        lambda x: self_distillation(x, 0.5, 0.8, teacher_logits=teacher), logits
    )
    features, previous = random(3, 4).requires_grad_(), random(3, 4, seed=1)
    assert torch.autograd.gradcheck(lambda x: feature_distillation(x, previous), features)


def test_ramp_of_the_specification():
    ramp = [ramped(epoch, 0.07, 0.04, 30) for epoch in range(200)]
    assert ramp[0] == 0.07
    assert ramp[1] == pytest.approx(0.068966, abs=1e-6)
    assert ramp[28] == pytest.approx(0.041034, abs=1e-6)
    assert ramp[29:] == pytest.approx([0.04] * 171)


@pytest.mark.parametrize("num_epochs", [0, 1, 2, 7])
def test_ramp_agrees_with_linspace(num_epochs):
    expected = [*np.linspace(1.0, 3.0, num_epochs), 3.0, 3.0]
    assert [ramped(e, 1.0, 3.0, num_epochs) for e in range(num_epochs + 2)] == pytest.approx(
        expected
    )


def test_ramp_of_negative_length():
    with pytest.raises(ValueError, match="0 or more"):
        ramped(0, 1.0, 2.0, -1)


def test_old_logit_distillation_is_the_divergence_among_old_classes():
    logits, previous = random(4, 2, 6), random(4, 2, 3, seed=1)
    current = (logits[..., :3] / 0.3).log_softmax(-1).flatten(0, 1)
    targets = (previous / 0.3).log_softmax(-1).flatten(0, 1)
    expected = F.kl_div(current, targets, reduction="batchmean", log_target=True)
    torch.testing.assert_close(old_logit_distillation(logits, previous, 0.3), expected)
    changed = torch.cat([logits[..., :3], random(4, 2, 3, seed=2)], -1)  # novel columns are free
    torch.testing.assert_close(old_logit_distillation(changed, previous, 0.3), expected)
    assert old_logit_distillation(logits, logits[..., :3] + 5).item() == pytest.approx(0, abs=1e-12)


def test_old_logit_distillation_has_the_gradient_of_the_cross_entropy():
    logits, previous = random(4, 2, 6).requires_grad_(), random(4, 2, 3, seed=1).requires_grad_()
    (found,) = torch.autograd.grad(old_logit_distillation(logits, previous), logits)
    targets = (previous.detach() / 0.2).softmax(-1).flatten(0, 1)
    cross_entropy = F.cross_entropy(logits[..., :3].flatten(0, 1) / 0.2, targets)
    torch.testing.assert_close(found, torch.autograd.grad(cross_entropy, logits)[0])
    assert not old_logit_distillation(logits.detach(), previous).requires_grad
    assert torch.autograd.gradcheck(lambda x: old_logit_distillation(x, previous, 0.5), logits)


@pytest.mark.parametrize("num_old", [0, 4])
def test_old_classes_are_some_of_the_current_ones(num_old):
    with pytest.raises(ValueError, match=f"has {num_old} classes and the current one 3"):
        old_logit_distillation(torch.zeros(2, 2, 3), torch.zeros(2, 2, num_old))
