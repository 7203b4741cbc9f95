"""Convolutions that give a small map, as products of matrices."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

_CHANNELS_LAST = (0, 2, 3, 1)  # as the engine lays them, so that little has to be moved
_MOST_POSITIONS = 4  # above, a library's convolution is faster


class SmallMapConv2d(nn.Conv2d):
    """A convolution that is a product of matrices for each of a few positions of its output.

    On a map that is hardly larger than the kernel, many of the taps lie beside the map: five of
    nine for a 3 x 3 kernel on 2 x 2 positions, eight on a single one. Libraries for CPUs compute,
    and derive, all nine, in a layout meant for large maps; small inputs spend most of a step there.
    Parameters and their names are those of a Conv2d, results equal its up to rounding, at every
    size.
    """

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) to (B, out, H', W')."""
        starts = [self._starts(axis, x.shape[axis - 2]) for axis in (0, 1)]
        shape = [len(x), *(len(axis) for axis in starts), self.out_channels]
        if not 1 <= shape[1] * shape[2] <= _MOST_POSITIONS:
            return super().forward(x)
        rows, columns = (
            [_window(start, self.kernel_size[axis], x.shape[axis - 2]) for start in starts[axis]]
            for axis in (0, 1)
        )
        image, kernel = x.permute(_CHANNELS_LAST), self.weight.permute(_CHANNELS_LAST)
        positions = [
            F.linear(
                image[:, row, column].flatten(1), kernel[:, taps, others].flatten(1), self.bias
            )
            for row, taps in rows
            for column, others in columns
        ]
        return torch.stack(positions, dim=1).view(shape).permute(0, 3, 1, 2)

    def _starts(self, axis: int, size: int) -> range:
        """Where each window begins along an axis; in the padding before the map it is negative."""
        padding = int(self.padding[axis])
        return range(-padding, size + padding - self.kernel_size[axis] + 1, self.stride[axis])


def _window(start: int, kernel: int, size: int) -> tuple[slice, slice]:
    """The part of the map that a window sees, and the taps it sees that with."""
    first = max(start, 0)
    last = max(min(start + kernel, size), first)
    return slice(first, last), slice(first - start, last - start)


def multiply_small_maps(net: nn.Module) -> None:
    """Turn plain dense convolutions of a net into `SmallMapConv2d`, in place."""
    for module in net.modules():
        if type(module) is nn.Conv2d and _is_plain(module):
            module.__class__ = SmallMapConv2d


def _is_plain(convolution: nn.Conv2d) -> bool:
    return (
        convolution.groups == 1
        and set(convolution.dilation) == {1}
        and convolution.padding_mode == "zeros"
        and not isinstance(convolution.padding, str)
    )
