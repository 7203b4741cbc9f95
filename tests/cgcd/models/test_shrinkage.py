"""Shrunk covariances against scikit-learn, worked by hand, and what must not change them."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from sklearn.covariance import ledoit_wolf_shrinkage as sklearn_shrinkage

from cgcd.models.shrinkage import (
    blend_share,
    diagonal_correlation,
    jittered_cholesky,
    ledoit_wolf_shrinkage,
    log_determinant,
    shrunk,
    volume_aligned,
)


def centered(rows):
    rows = torch.as_tensor(rows, dtype=torch.float64)
    return rows - rows.mean(0)


@pytest.mark.parametrize(
    "rows, shrinkage, covariance",
    [
        ([(3, 1), (-3, -1), (1, -1), (-1, 1)], 0.6, [[3.8, 0.4], [0.4, 2.2]]),
        (
            [(2, 0), (-2, 0), (0, 1), (0, -1)],
            17 / 18,
            [[1.291667, 0], [0, 1.208333]],
        ),
        ([(0, 0), (2, 0), (0, 2), (6, 6)], 0.79, [[5.79 + 0.21, 1.05], [1.05, 6.0]]),
        ([(1, 2), (3, 2)], 0.0, [[1, 0], [0, 0]]),
    ],
)
def test_worked_by_hand(rows, shrinkage, covariance):
    x = centered(rows)
    assert ledoit_wolf_shrinkage(x) == pytest.approx(shrinkage, abs=1e-12)
    ours = shrunk(x.T @ x / len(x), shrinkage)
    torch.testing.assert_close(ours, torch.tensor(covariance).double(), atol=1e-6, rtol=0)


@pytest.mark.parametrize("shape", [(40, 5), (5, 40), (30, 30), (2, 8)])
def test_equals_scikit_learn_and_sees_no_rotation_or_scale(shape):
    generator = np.random.default_rng(shape[0])
    x = centered(generator.standard_normal(shape) * np.linspace(1, 3, shape[1]))
    ours = ledoit_wolf_shrinkage(x)
    assert ours == pytest.approx(sklearn_shrinkage(x.numpy(), assume_centered=True), abs=1e-12)
    assert 0 <= ours <= 1
    turn = torch.linalg.qr(torch.as_tensor(generator.standard_normal((shape[1],) * 2)))[0]
    assert ledoit_wolf_shrinkage(7 * x @ turn) == pytest.approx(ours, abs=1e-9)
    covariance = x.T @ x / len(x)
    torch.testing.assert_close(shrunk(covariance, 0.3).trace(), covariance.trace())


def test_one_sample_has_none():
    assert ledoit_wolf_shrinkage(torch.zeros(1, 4).double()) == 0


@pytest.mark.parametrize("n, share", [(1, 0.6667), (2, 0.5), (20, 0.0909)])
def test_share_of_the_tied_covariance(n, share):
    assert blend_share(n, 2.0) == pytest.approx(share, abs=1e-4)
    assert blend_share(n, 0.0) == 0 and blend_share(n, math.inf) == 1


def test_log_determinant_of_a_large_matrix():
    factor = torch.linalg.cholesky(torch.diag(torch.tensor([2.0, 1.0])) + torch.ones(2, 2))
    assert float(log_determinant(factor).exp()) == pytest.approx(5)
    wide = 3.0 * torch.eye(768, dtype=torch.float64)  # whose determinant is no float
    assert float(log_determinant(wide)) == pytest.approx(2 * 768 * math.log(3))


def test_volume_alignment_by_hand():
    known = torch.diag_embed(torch.tensor([[2.0, 1.0], [1.0, 1.0]]).double())
    new = torch.diag(torch.tensor([3.0, 2.0]).double())[None]
    aligned = volume_aligned(new, known)[0]
    torch.testing.assert_close(
        (aligned @ aligned.T).diagonal(), torch.tensor([2.12132, 0.942809]).double(), atol=1e-5,
        rtol=0,
    )  # fmt: skip
    less = volume_aligned(new, known, ratio=0.7)
    assert float(log_determinant(less)[0]) == pytest.approx(math.log(2) - 0.7)


def test_fecam_by_hand():
    given = torch.tensor([[2, 1, 0.5], [1, 1, 0.2], [0.5, 0.2, 3]]).double()
    raised = given + 3 * 2 * torch.eye(3) + 3 * (1.7 / 3) * (1 - torch.eye(3))
    torch.testing.assert_close(
        raised, torch.tensor([[8, 2.7, 2.2], [2.7, 7, 1.9], [2.2, 1.9, 9]]).double()
    )
    ours = diagonal_correlation(given, 1.0, 1.0, 2)
    assert ours.diagonal().tolist() == pytest.approx([1, 1, 1])
    wanted = [0.360803, 0.259272, 0.239377]
    assert [float(ours[i, j]) for i, j in ((0, 1), (0, 2), (1, 2))] == pytest.approx(
        wanted, abs=1e-6
    )


def test_jitter_only_where_it_is_needed(caplog):
    exact = torch.tensor([[4.0, 1.0], [1.0, 3.0]]).double()
    assert torch.equal(jittered_cholesky(exact), torch.linalg.cholesky(exact))
    assert not caplog.records
    singular = torch.ones(2, 2).double() * 5
    factor = jittered_cholesky(singular)
    torch.testing.assert_close(factor @ factor.T, singular, rtol=2e-3, atol=0)
    assert "on the diagonal" in caplog.text
    with pytest.raises(ValueError, match="is not positive definite; shrink it more"):
        jittered_cholesky(torch.zeros(2, 2).double())
