"""Convolutions that see a whole map at once, as products of matrices."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn

_CHANNELS_LAST = (0, 2, 3, 1)  # as the engine lays them, so that little has to be moved


class WholeMapConv2d(nn.Conv2d):
    """A convolution that is a product of matrices where its output has a single position.

    There the window does not slide, and of the kernel only the taps on the map count: one of nine
    for a 3 x 3 kernel on a map of one position. Libraries for CPUs compute, and derive, all nine,
    in a layout meant for large maps; small inputs spend most of a step there. Parameters and their
    names are those of a Conv2d, results equal its up to rounding, at every size.
    """

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) to (B, out, H', W')."""
        rows, columns = (self._seen(axis, x.shape[axis - 2]) for axis in (0, 1))
        if rows is None or columns is None:
            return super().forward(x)
        seen = x.permute(_CHANNELS_LAST)[:, : len(rows), : len(columns)]
        taps = self.weight.permute(_CHANNELS_LAST)[
            :, rows.start : rows.stop, columns.start : columns.stop
        ]
        return F.linear(seen.flatten(1), taps.flatten(1), self.bias)[..., None, None]

    def _seen(self, axis: int, size: int) -> range | None:
        """Taps that lie on a map of this size; None where there is not just one position."""
        kernel, padding = self.kernel_size[axis], int(self.padding[axis])
        if (size + 2 * padding - kernel) // self.stride[axis]:
            return None
        return range(padding, min(kernel, size + padding))


def see_whole_maps(net: nn.Module) -> None:
    """Turn plain dense convolutions of a net into `WholeMapConv2d`, in place."""
    for module in net.modules():
        if type(module) is nn.Conv2d and _is_plain(module):
            module.__class__ = WholeMapConv2d


def _is_plain(convolution: nn.Conv2d) -> bool:
    return (
        convolution.groups == 1
        and set(convolution.dilation) == {1}
        and convolution.padding_mode == "zeros"
        and not isinstance(convolution.padding, str)
    )
