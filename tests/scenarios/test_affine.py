"""Affine maps of whole batches against Pillow's of single images."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from PIL import Image

from scenarios import affine
from scenarios.affine import inverse_affine, moved
from scenarios.views import image_of, pixels_of


def maps(number: int, width: int, height: int) -> torch.Tensor:
    draws = 2 * np.random.default_rng(1).random((number, 5)) - 1
    return torch.tensor(
        [
            inverse_affine(
                (width, height), 60 * a, [round(9 * b), round(9 * c)], 1 + 0.6 * d, 30 * e
            )
            for a, b, c, d, e in draws.tolist()
        ],
        dtype=torch.float64,
    )


@pytest.mark.parametrize("at_once", [1, 2**20])
@pytest.mark.parametrize(("width", "height"), [(27, 27), (40, 9), (1, 6)])
def test_images_move_like_pillows(width, height, at_once, monkeypatch):
    monkeypatch.setattr(affine, "_VALUES_AT_ONCE", at_once)
    shape = (60, 3, height, width)
    images = torch.from_numpy(np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8))
    given = maps(60, width, height)
    wanted = [
        pixels_of(
            image_of(image).transform(
                (width, height), Image.Transform.AFFINE, row, Image.Resampling.BILINEAR
            )
        )
        for image, row in zip(images, given.tolist(), strict=True)
    ]
    found = moved(images, given)
    assert found.dtype == torch.uint8 and torch.equal(found, torch.stack(wanted))


def test_the_map_that_changes_nothing_keeps_every_bit():
    images = torch.arange(2 * 3 * 4 * 5, dtype=torch.uint8).view(2, 3, 4, 5)
    nothing = torch.tensor([inverse_affine((5, 4), 0.0, [0, 0], 1.0, 0.0)] * 2, dtype=torch.float64)
    assert torch.equal(moved(images, nothing), images)
    right = torch.tensor([inverse_affine((5, 4), 0.0, [2, 0], 1.0, 0.0)] * 2, dtype=torch.float64)
    assert torch.equal(moved(images, right)[..., 2:], images[..., :3])
    assert not moved(images, right)[..., :2].any()
