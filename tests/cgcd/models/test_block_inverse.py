"""Inverses by blocks beside NumPy's, at sizes on either side of the smallest block."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from cgcd.models.block_inverse import SMALLEST, block_inverse


@pytest.mark.parametrize("size", [1, SMALLEST, SMALLEST + 1, 2 * SMALLEST + 5])
def test_inverses_and_volumes_are_those_of_numpy(size):
    root = np.random.default_rng(size).standard_normal((3, size, 2 * size))
    matrices = root @ root.transpose(0, 2, 1) / size
    lower = torch.as_tensor(np.tril(matrices))  # the upper triangle is not read
    inverses, volumes = block_inverse(lower)
    np.testing.assert_allclose(inverses.numpy(), np.linalg.inv(matrices), atol=1e-9)
    np.testing.assert_allclose(volumes.numpy(), np.linalg.slogdet(matrices)[1], atol=1e-9)


def test_what_is_not_positive_definite_has_no_volume():
    matrices = torch.eye(2 * SMALLEST).double().repeat(3, 1, 1)
    matrices[1, 2, 2] = -1.0
    matrices[2, -1, -1] = 0.0
    volumes = block_inverse(matrices)[1]
    assert volumes[0] == 0 and volumes[1:].isnan().all()
