"""Separation of prototypes against hand-computed values and a loop."""

import math

import pytest
import torch
import torch.nn.functional as F

from cgcd.losses import prototype_separation


def random(*shape: int) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(0), dtype=torch.float64)


TRIANGLE = [[1.0, 0.0], [-0.5, 3**0.5 / 2], [-0.5, -(3**0.5) / 2]]


@pytest.mark.parametrize(
    ("rows", "expected"),
    [
        ([[1.0, 0, 0], [0, 1, 0], [0, 0, 1]], 0.0),
        ([[0.6, 0.8]] * 3, 10.0),
        ([[1.0, 0], [-1, 0]], -10.0),
        (TRIANGLE, -5.0),
        ([[1.0, 0], [0, 1], [0.6, 0.8]], 6.683432),
        ([[1.0, 0]], 0.0),
    ],
)
def test_values_of_the_specification(rows, expected):
    directions = torch.tensor(rows, dtype=torch.float64)
    assert prototype_separation(directions).item() == pytest.approx(expected, abs=1e-6)


def test_agrees_with_a_loop():
    directions = random(6, 4)
    unit = F.normalize(directions, dim=-1)
    rows = [
        math.log(sum(math.exp(float(unit[k] @ unit[j]) / 0.3) for j in range(6) if j != k) / 5)
        for k in range(6)
    ]
    found = prototype_separation(directions, 0.3)
    assert found.item() == pytest.approx(sum(rows) / 6)


def test_many_random_prototypes_are_nearly_orthogonal():
    assert prototype_separation(random(100, 768)).item() == pytest.approx(0.07, abs=0.02)


def test_lengths_do_not_matter():
    directions = random(5, 3)
    scaled = directions * torch.tensor([1e-3, 1, 7, 100, 0.5]).double()[:, None]
    torch.testing.assert_close(prototype_separation(scaled), prototype_separation(directions))


def test_a_step_separates_the_closest_pair():
    directions = torch.tensor([[1.0, 0, 0], [0.9, 0.1, 0], [0, 0, 1]], requires_grad=True)
    prototype_separation(directions).backward()
    moved = directions.detach() - 0.01 * directions.grad
    closest = F.cosine_similarity(*directions.detach()[:2], dim=0)
    assert F.cosine_similarity(*moved[:2], dim=0) < closest


def test_gradients_and_precision():
    directions = random(4, 3).requires_grad_()
    assert torch.autograd.gradcheck(lambda x: prototype_separation(x, 0.5), directions)
    single = torch.ones(1, 3, requires_grad=True)
    prototype_separation(single).backward()
    assert not single.grad.any()
    assert prototype_separation(torch.ones(2, 3, dtype=torch.bfloat16)).dtype == torch.float32
