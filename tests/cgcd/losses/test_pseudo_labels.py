"""Adaptive pseudo-labels against the specification, a loop and properties."""

import math

import pytest
import torch
import torch.nn.functional as F

from cgcd.losses import adaptive_pseudo_labels, hard_ratio
from cgcd.losses.pseudo_labels import adaptive_targets

TWO_IMAGES = torch.tensor(
    [[[1.0, 0.0, 0.0], [0.9, 0.1, 0.0]], [[0.3, 0.2, 0.0], [0.2, 0.3, 0.0]]], dtype=torch.float64
)  # (B, V, K) of protogcd.md 11.4


def random(*shape: int, seed: int = 0) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return 2 * torch.rand(shape, generator=generator, dtype=torch.float64) - 1


def test_ramp_of_the_specification():
    found = [hard_ratio(epoch) for epoch in (0, 1, 50, 98, 99, 199)]
    assert found == pytest.approx([0, 1 / 99, 0.505051, 0.989899, 1, 1], abs=1e-6)
    assert [hard_ratio(epoch, 0.2, 0.8, 3, wait_epochs=2) for epoch in range(7)] == pytest.approx(
        [0, 0, 0.2, 0.5, 0.8, 0.8, 0.8]
    )


def test_a_ramp_longer_than_the_run_is_allowed():
    assert hard_ratio(29, ramp_epochs=1000) == pytest.approx(29 / 999)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"start": -0.1}, "share of hard labels"),
        ({"end": 1.1}, "share of hard labels"),
        ({"ramp_epochs": -1}, "wanted 0 or more"),
        ({"wait_epochs": -1}, "wanted 0 or more"),
    ],
)
def test_ramps_that_cannot_be(settings, message):
    with pytest.raises(ValueError, match=message):
        hard_ratio(0, **settings)


@pytest.mark.parametrize(
    ("epoch", "expected"), [(0, 0.617351), (51, 0.617350), (99, 0.674643), (150, 0.674643)]
)
def test_values_of_the_specification(epoch, expected):
    found = adaptive_pseudo_labels(TWO_IMAGES, hard_ratio(epoch))
    assert found.item() == pytest.approx(expected, abs=1e-6)
    swapped = adaptive_pseudo_labels(TWO_IMAGES.flip(1), hard_ratio(epoch))
    torch.testing.assert_close(swapped, found)


def looped(logits, ratio, teacher, student):
    num_images, num_views, num_classes = logits.shape
    targets = {}
    for v in range(num_views):
        gaps = []
        for i in range(num_images):
            first, second = sorted(logits[i, v].tolist(), reverse=True)[:2]
            gaps.append((first - second, i))
        chosen = {i for _, i in sorted(gaps, reverse=True)[: math.floor(num_images * ratio)]}
        for i in range(num_images):
            soft = (logits[i, v] / teacher).softmax(0)
            hard = F.one_hot(soft.argmax(), num_classes).double()
            targets[i, v] = hard if i in chosen else soft
    losses = [
        F.cross_entropy(logits[i, w] / student, targets[i, v])
        for i, v in targets
        for w in range(num_views)
        if w != v
    ]
    return torch.stack(losses).mean()


@pytest.mark.parametrize("num_views", [2, 3])
@pytest.mark.parametrize("ratio", [0.0, 0.3, 0.55, 1.0])
def test_agrees_with_loops(num_views, ratio):
    logits = random(7, num_views, 5)
    found = adaptive_pseudo_labels(logits, ratio, 0.07, 0.2)
    torch.testing.assert_close(found, looped(logits, ratio, 0.07, 0.2))


def test_number_of_hard_labels():
    logits = random(128, 2, 10)
    for epoch, expected in {0: 0, 1: 1, 2: 2, 10: 12, 50: 64, 98: 126, 99: 128}.items():
        targets = adaptive_targets(logits, hard_ratio(epoch))
        assert (targets == 1).any(-1).sum(0).tolist() == [expected, expected]
    assert (adaptive_targets(random(99, 2, 4), hard_ratio(50)) == 1).any(-1).sum() == 100


def test_the_most_confident_by_cosine_gap_are_hard():
    logits = random(20, 2, 6).float()
    targets = adaptive_targets(logits, 0.4)
    top = logits.topk(2, -1).values
    gaps = top[..., 0] - top[..., 1]
    hard = (targets == 1).any(-1)
    for v in range(2):
        assert hard[:, v].sum() == 8
        assert gaps[hard[:, v], v].min() > gaps[~hard[:, v], v].max()
    torch.testing.assert_close(targets.sum(-1), torch.ones(20, 2))
    shifted = adaptive_targets(logits + torch.arange(20.0)[:, None, None] / 8, 0.4)
    assert torch.equal((shifted == 1).any(-1), hard)


def test_no_gradient_through_the_targets():
    logits, teacher = random(6, 2, 4).requires_grad_(), random(6, 2, 4, seed=1).requires_grad_()
    adaptive_pseudo_labels(logits, 0.5, teacher_logits=teacher).backward()
    assert teacher.grad is None
    own = logits.detach().clone().requires_grad_()
    fixed = logits.detach()
    (of_both,) = torch.autograd.grad(adaptive_pseudo_labels(own, 0.5), own)
    (of_student,) = torch.autograd.grad(adaptive_pseudo_labels(own, 0.5, teacher_logits=fixed), own)
    torch.testing.assert_close(of_both, of_student)
    assert torch.autograd.gradcheck(
        lambda x: adaptive_pseudo_labels(x, 0.5, 0.5, 0.8, teacher_logits=fixed), own
    )


def test_a_view_is_never_its_own_target():
    """With one view's prediction flat, the other's target meets log K, whatever that target is."""
    logits = torch.zeros(3, 2, 4, dtype=torch.float64)
    logits[:, 0] = random(3, 4)
    targets = adaptive_targets(logits, 0.0)
    own = -(targets[:, 1] * (logits[:, 0] / 0.1).log_softmax(-1)).sum(-1).mean()
    expected = (math.log(4) + own) / 2
    torch.testing.assert_close(adaptive_pseudo_labels(logits, 0.0), expected)


def test_labels_play_no_part_but_every_image_does():
    logits = random(4, 2, 3).requires_grad_()
    adaptive_pseudo_labels(logits, 0.5).backward()
    assert (logits.grad.abs().sum((1, 2)) > 0).all()


def test_one_class_and_bad_arguments():
    assert adaptive_pseudo_labels(random(3, 2, 1), 0.5).item() == 0
    with pytest.raises(ValueError, match="V >= 2"):
        adaptive_pseudo_labels(random(3, 1, 4), 0.5)
    with pytest.raises(ValueError, match=r"wanted a number in \[0, 1\]"):
        adaptive_pseudo_labels(random(3, 2, 4), 1.5)
