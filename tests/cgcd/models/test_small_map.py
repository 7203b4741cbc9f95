"""Convolutions that give a small map give what any convolution gives."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import nn

from cgcd.models import GCDModel
from cgcd.models.small_map import SmallMapConv2d, multiply_small_maps


@pytest.mark.parametrize(
    ("size", "kernel", "stride", "padding"),
    [
        ((1, 1), 3, 1, 1),
        ((2, 2), 3, 2, 1),
        ((2, 1), 3, 2, 1),
        ((1, 1), 1, 1, 0),
        ((3, 3), 3, 1, 0),
        ((4, 4), 3, 2, 0),  # a row and a column are not seen
        ((3, 2), (5, 4), (2, 3), (2, 1)),
        ((1, 1), 1, 3, 1),  # sees nothing but padding
        ((2, 2), 3, 1, 1),  # from here on there are several positions
        ((3, 3), 3, 2, 1),
        ((1, 4), (3, 2), (1, 1), (1, 0)),
        ((1, 1), 1, 1, 1),  # most of which see nothing but padding
        ((1, 5), 3, 1, 1),  # these are left to the library
        ((7, 7), 3, 2, 1),
    ],
)
@pytest.mark.parametrize("bias", [False, True])
def test_results_and_gradients_are_those_of_a_convolution(size, kernel, stride, padding, bias):
    generator = torch.Generator().manual_seed(0)
    reference = nn.Conv2d(3, 5, kernel, stride, padding, bias=bias).double()
    ours = copy.deepcopy(reference)
    multiply_small_maps(ours)
    assert type(ours) is SmallMapConv2d
    inputs = torch.randn(4, 3, *size, generator=generator, dtype=torch.float64)
    results = []
    for convolution in (reference, ours):
        x = inputs.clone().requires_grad_()
        y = convolution(x)
        weights = torch.linspace(-1, 2, y.numel(), dtype=y.dtype).view_as(y)
        (y * weights).sum().backward()
        results.append([y, x.grad, *(p.grad for p in convolution.parameters())])
    for expected, found in zip(*results, strict=True):
        torch.testing.assert_close(found, expected)


def test_a_map_smaller_than_the_kernel_is_refused_like_by_any_convolution():
    convolution = nn.Conv2d(1, 1, 3)
    multiply_small_maps(convolution)
    with pytest.raises(RuntimeError, match=r"Kernel size can't be greater than actual input size"):
        convolution(torch.zeros(1, 1, 2, 2))


def test_only_plain_dense_convolutions_change():
    class Own(nn.Conv2d):
        pass

    net = nn.Sequential(
        nn.Conv2d(4, 4, 1),
        nn.Conv2d(4, 4, 1, groups=2),
        nn.Conv2d(4, 4, 3, dilation=2),
        nn.Conv2d(4, 4, 3, padding="same"),
        nn.Conv2d(4, 4, 3, padding=1, padding_mode="reflect"),
        Own(4, 4, 1),
    )
    names = list(net.state_dict())
    multiply_small_maps(net)
    assert [type(module) is SmallMapConv2d for module in net] == [True] + [False] * 5
    assert list(net.state_dict()) == names


def test_features_of_a_small_input_stay():
    model = GCDModel("resnet10t", input_size=24, projection_hidden=16, projection_dim=8).eval()
    images = torch.randn(3, 3, 24, 24, generator=torch.Generator().manual_seed(0))
    expected = model.backbone(images)
    multiply_small_maps(model.backbone)
    torch.testing.assert_close(model.backbone(images), expected, rtol=1e-4, atol=1e-5)
