"""Hash losses against hand-worked values, plain loops and the released implementations."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from cgcd.losses import (
    center_cross_entropy,
    center_quantization,
    center_separation,
    class_scores,
    hamming_radius,
    prototype_similarity,
    separation_target,
    sign_quantization,
)
from cgcd.vocabulary import UNLABELED, InputError

SATURATED = torch.tensor([[1, 1, 1, 1], [1, 1, 1, -1], [-1, -1, 1, 1]], dtype=torch.float64) * 20


def random(*shape: int, seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(shape, generator=generator, dtype=torch.float64)


def on_the_circle(distance: float) -> Tensor:
    """A unit vector at this distance from (1, 0)."""
    angle = 2 * math.asin(distance / 2)
    return torch.tensor([math.cos(angle), math.sin(angle)], dtype=torch.float64)


def learned(case: dict[str, np.ndarray], name: str) -> Tensor:
    return torch.tensor(case[name], requires_grad=True)


def assert_close(got: Tensor, case: dict[str, np.ndarray], name: str, rtol: float = 1e-5) -> None:
    desc = f"{case['desc']}: {name}"
    np.testing.assert_allclose(got.detach().numpy(), case[name], rtol, 1e-6, err_msg=desc)


# similarity to prototypes


@pytest.mark.parametrize(
    ("distance", "expected"),
    [(0, 9.210340), (0.5, 1.098412), (1, 0.693047), (math.sqrt(2), 0.534729), (2, 0.405415)],
)
def test_similarity_of_the_specification(distance, expected):
    got = prototype_similarity(on_the_circle(distance), torch.eye(2, dtype=torch.float64)[:1])
    assert got.item() == pytest.approx(expected, abs=5e-7)


def test_similarity_looks_at_directions_only():
    feature, prototype = torch.tensor([3.0, 4.0]), torch.tensor([[4.0, 3.0]])
    similarity = prototype_similarity(feature, prototype)
    assert similarity.item() == pytest.approx(1.511589, abs=1e-6)
    torch.testing.assert_close(prototype_similarity(50 * feature, 0.01 * prototype), similarity)


def test_similarity_agrees_with_a_loop_and_falls_with_the_distance():
    features, prototypes = random(4, 2, 5), random(6, 5, seed=1)
    got = prototype_similarity(features, prototypes)
    assert got.shape == (4, 2, 6)
    distances = torch.empty_like(got)
    for i in range(4):
        for v in range(2):
            for j in range(6):
                z = features[i, v] / features[i, v].norm()
                d = (z - prototypes[j] / prototypes[j].norm()).norm()
                distances[i, v, j] = d
                assert got[i, v, j].item() == pytest.approx(math.log((d + 1) / (d + 1e-4)))
    order = distances.flatten().argsort()
    assert (got.flatten()[order].diff() < 0).all()


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_similarity_has_a_finite_gradient_at_zero_distance(dtype):
    rows = torch.cat([torch.eye(3, 8), random(3, 8)])  # of unit rows the cosine is exactly 1
    prototypes = rows.to(dtype).requires_grad_()
    features = (7 * prototypes.detach()).requires_grad_()
    similarities = prototype_similarity(features, prototypes)
    similarities.sum().backward()
    assert similarities.isfinite().all() and (similarities.diagonal() > 7.5).all()
    assert features.grad.isfinite().all() and prototypes.grad.isfinite().all()


def test_similarity_keeps_its_precision_under_autocast():
    prototypes = random(3, 64).float()
    features = prototypes + 0.01 * random(3, 64, seed=1).float()
    expected = prototype_similarity(features, prototypes)
    with torch.autocast("cpu", torch.bfloat16):
        got = prototype_similarity(features, prototypes)
    assert torch.equal(got, expected)
    assert prototype_similarity(features.bfloat16(), prototypes).dtype == torch.float32


def test_scores_of_the_specification():
    similarities = torch.tensor([2, 1, 0.5, 0.5])
    scores = class_scores(similarities, 2)
    assert scores.tolist() == [2.5, -0.5]
    loss = F.cross_entropy(scores, torch.tensor(0))
    assert loss.item() == pytest.approx(0.048587, abs=5e-7)
    by_own = torch.tensor([1.5 * 3, 1.5 * 1]).softmax(0)
    torch.testing.assert_close(scores.softmax(0), by_own)


@pytest.mark.parametrize(("num_classes", "per_class"), [(1, 4), (5, 1), (7, 3)])
def test_scores_are_those_of_the_frozen_matrix(num_classes, per_class):
    similarities = random(3, 2, num_classes * per_class)
    frozen = torch.full((num_classes, num_classes * per_class), -0.5, dtype=torch.float64)
    for c in range(num_classes):
        frozen[c, c * per_class : (c + 1) * per_class] = 1
    scores = class_scores(similarities, num_classes)
    torch.testing.assert_close(scores, similarities @ frozen.T)
    # a mask of prototypes stays linear: 0.9 of every similarity gives 0.9 of every score
    torch.testing.assert_close(class_scores(0.9 * similarities, num_classes), 0.9 * scores)


@pytest.mark.parametrize("num_classes", [0, 4])
def test_prototypes_must_be_shared_out_evenly(num_classes):
    with pytest.raises(ValueError, match=f"10 prototypes .* among {num_classes} classes"):
        class_scores(torch.zeros(2, 10), num_classes)


# separation and quantization


def test_targets_of_the_specification():
    table = {
        (12, 200): 3,
        (12, 38): 4,
        (16, 200): 4,
        (16, 101): 5,
        (32, 200): 10,
        (32, 56): 12,
        (64, 196): 24,
        (8, 200): 2,
        (4, 20): 0,
        (5, 5): 3,
    }
    targets = {arguments: separation_target(*arguments) for arguments in table}
    assert targets == table
    radii = [hamming_radius(target) for target in targets.values()]
    assert radii == [1, 2, 2, 2, 5, 6, 12, 1, 1, 1]


def test_targets_of_the_papers_table():
    printed = {
        12: [3, 3, 4, 3, 3, 4, 3, 3],
        16: [4, 4, 5, 5, 4, 5, 5, 5],
        32: [10, 10, 12, 11, 11, 12, 11, 11],  # Arachnida: 11 in print, 12 by the rule
        64: [24, 24, 27, 25, 25, 26, 25, 25],
    }
    totals = [200, 196, 38, 101, 121, 56, 77, 93]
    for num_bits, expected in printed.items():
        assert [separation_target(num_bits, total) for total in totals] == expected
    assert [separation_target(num_bits, 100) for num_bits in printed] == [3, 5, 11, 25]


def test_targets_are_exact_for_long_codes():
    # 2^L / K equals a coefficient exactly: both ends belong to the range
    assert separation_target(4, 4) == 2 and separation_target(8, 32) == 2
    found = separation_target(1024, 200)
    quotient = 2**1024 // 200
    assert math.comb(1024, found - 2) <= quotient <= math.comb(1024, found - 1)
    assert separation_target(16, 5) == 0  # few classes: 2^16 / 5 exceeds every coefficient


def test_bad_sizes_are_an_input_error():
    for num_bits in (0, 1025, -3):
        with pytest.raises(InputError, match=f"num_bits is {num_bits}; wanted a code length"):
            separation_target(num_bits, 10)
    with pytest.raises(InputError, match="num_classes is 0; wanted 1 or more"):
        separation_target(12, 0)


@pytest.mark.parity
def test_targets_and_radii_of_the_released_code(parity):
    for case in parity("phe_dmax"):
        targets = [[separation_target(int(b), int(k)) for k in case["K_all"]] for b in case["L"]]
        np.testing.assert_array_equal(targets, case["d_max"])
        radii = [[hamming_radius(target) for target in row] for row in targets]
        np.testing.assert_array_equal(radii, case["radius"])


def test_separation_of_the_specification():
    plain = center_separation(SATURATED, 3, slack=1.0)
    assert plain.item() == pytest.approx(2.0)  # over ordered pairs 6, over three classes 2
    assert center_separation(SATURATED, 3).item() == pytest.approx(2.2)
    assert center_separation(SATURATED[[2, 0, 1]], 3).item() == pytest.approx(2.2)
    for target in (0.9, 0.5):  # the least distance is 1, or 0.9 with the slack of 0.025 L
        assert center_separation(SATURATED, target).item() == pytest.approx(0, abs=1e-12)
    assert center_separation(SATURATED, 1).item() > 0.06


def test_separation_agrees_with_a_loop():
    centers = random(5, 6)
    signs = (2 * centers).tanh()
    total = 0.0
    for a in range(5):
        for b in range(5):
            if a != b:
                distance = sum((0.9 - signs[a, i] * signs[b, i]).item() for i in range(6)) / 2
                total += max(0.0, 4 - distance)
    got = center_separation(centers, 4, slack=0.9, sharpness=2)
    assert got.item() == pytest.approx(total / 5)


def test_a_single_center_is_separated():
    center = random(1, 6).requires_grad_()
    loss = center_separation(center, 3)
    loss.backward()
    assert loss.item() == 0 and not center.grad.any()


def test_quantization_of_the_specification():
    for value, expected in [(0, 1), (0.1, 0.708687), (0.5, 0.094852), (1, 0.004945)]:
        for sign in (1, -1):
            center = torch.full((2, 3), float(sign * value), dtype=torch.float64)
            assert center_quantization(center).item() == pytest.approx(expected, abs=5e-7)
    centers = random(7, 4)
    expected = np.mean(1 - np.abs(np.tanh(3 * centers.numpy())))
    assert center_quantization(centers).item() == pytest.approx(expected)
    assert 0 <= center_quantization(centers, sharpness=100).item() <= 0.05


def test_sign_quantization_of_the_specification():
    assert sign_quantization(torch.tensor([1.0, -1, 1])).item() == 0
    assert sign_quantization(torch.zeros(2, 3)).item() == 1
    one = torch.ones((), dtype=torch.float64).tanh()
    assert sign_quantization(one).item() == pytest.approx(0.238406, abs=5e-7)
    row = torch.tensor([2, -0.5, 0.1], dtype=torch.float64).tanh()
    assert sign_quantization(row).item() == pytest.approx(0.491396, abs=5e-7)


# codes and centers


def test_center_cross_entropy_of_the_specification():
    code, centers = torch.tensor([[1.0, 0.0]]), torch.tensor([[2.0, 0.0], [0, 3], [-1, 0]])
    loss = center_cross_entropy(code, centers, torch.tensor([0]))
    assert loss.item() == pytest.approx(0.407606, abs=5e-7)
    scaled = center_cross_entropy(9 * code, 0.1 * centers, torch.tensor([0]))
    torch.testing.assert_close(scaled, loss)


def test_center_cross_entropy_has_a_floor():
    floor = math.log(1 + 99 * math.exp(-2))
    assert floor == pytest.approx(2.667, abs=1e-3)
    codes, labels = random(50, 12), torch.arange(50)
    assert center_cross_entropy(codes, random(100, 12, seed=1), labels).item() > floor
    opposite = torch.tensor([[1.0, 0.0], *[[-1.0, 0.0]] * 99])
    lowest = center_cross_entropy(opposite[:1], opposite, torch.tensor([0]))
    assert lowest.item() == pytest.approx(floor, rel=1e-6)


def test_center_cross_entropy_takes_views_and_leaves_unlabeled_samples_out():
    codes, centers = random(3, 2, 5), random(4, 5, seed=1)
    labels = torch.tensor([[0, 1], [UNLABELED, 3], [2, UNLABELED]])
    rows = [codes[i, v] for i in range(3) for v in range(2) if labels[i, v] != UNLABELED]
    expected = 0.0
    for row, label in zip(rows, [0, 1, 3, 2], strict=True):
        cosines = [F.cosine_similarity(row, center, dim=0).item() for center in centers]
        expected += math.log(sum(map(math.exp, cosines))) - cosines[label]
    got = center_cross_entropy(codes, centers, labels)
    assert got.item() == pytest.approx(expected / 4)
    with pytest.raises(ValueError, match="one label for each"):
        center_cross_entropy(codes, centers, labels[:, 0])


def test_gradients_in_double_precision():
    labels = torch.tensor([0, 2, 1])
    features, prototypes = random(3, 4).requires_grad_(), random(6, 4, seed=1).requires_grad_()
    centers, codes = random(3, 5, seed=2).requires_grad_(), random(3, 5, seed=3).requires_grad_()

    def prototype_loss(features: Tensor, prototypes: Tensor) -> Tensor:
        return F.cross_entropy(class_scores(prototype_similarity(features, prototypes), 3), labels)

    assert torch.autograd.gradcheck(prototype_loss, (features, prototypes))
    assert torch.autograd.gradcheck(lambda c: center_separation(c, 4), centers)
    assert torch.autograd.gradcheck(center_quantization, centers)
    assert torch.autograd.gradcheck(
        lambda b, c: center_cross_entropy(b, c, labels), (codes, centers)
    )


@pytest.mark.parity
def test_parts_of_the_released_code(parity):
    for case in parity("phe_loss_parts"):
        target, slack = int(case["d_max"]), float(case["alpha_slack"])
        assert_close((3 * torch.from_numpy(case["hash_centers"])).tanh(), case, "centers_tanh")
        for name, loss in {
            "sep": lambda centers, _, t=target, s=slack: center_separation(centers, t, s),
            "quan": lambda centers, _: center_quantization(centers),
            "feature": lambda centers, codes, y=case["labels"]: center_cross_entropy(
                codes, centers, torch.from_numpy(y)
            ),
        }.items():
            centers, codes = learned(case, "hash_centers"), learned(case, "hash_feat")
            value = loss(centers, codes)
            value.backward()
            assert_close(value, case, name)
            key = {"sep": "g_sep", "quan": "g_quan", "feature": "g_feat_c"}[name]
            assert_close(centers.grad, case, key, rtol=1e-4)
            if name == "feature":
                assert_close(codes.grad, case, "g_feat_f", rtol=1e-4)
            exact = loss(centers.double(), codes.double())
            np.testing.assert_allclose(exact.item(), case[f"{name}64"], rtol=1e-9, atol=1e-12)
