"""Images turned, sheared, scaled and shifted, many at once."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

_VALUES_AT_ONCE = 2**20  # so that what one step leaves is still near when the next wants it


def inverse_affine(
    size: tuple[int, int], angle: float, shift: Sequence[int], scale: float, shear: float
) -> list[float]:
    """Where the pixels of a turned, sheared, scaled and shifted image come from.

    Args:
        size: width and height.
        angle, shear: in degrees.
        shift: right and down, in pixels.
        scale: a factor.

    Returns:
        a, b, c, d, e, f: pixel (x, y) shows what was at (a x + b y + c, d x + e y + f).
    """
    turn, slant = math.radians(angle), math.radians(shear)
    cosine, sine = math.cos(turn - slant), math.sin(turn - slant)
    forward = (
        (cosine / math.cos(slant), -cosine * math.tan(slant) / math.cos(slant) - math.sin(turn)),
        (sine / math.cos(slant), -sine * math.tan(slant) / math.cos(slant) + math.cos(turn)),
    )  # of determinant 1
    back = (forward[1][1], -forward[0][1]), (-forward[1][0], forward[0][0])
    x, y = size[0] * 0.5, size[1] * 0.5
    numbers = []
    for (across, down), middle in zip(back, (x, y), strict=True):
        across, down = across / scale, down / scale
        numbers += [across, down, across * (-x - shift[0]) + down * (-y - shift[1]) + middle]
    return numbers


def moved(images: Tensor, maps: Tensor) -> Tensor:
    """Each image under its own affine map, bilinear; what comes in from outside is black.

    Pillow's transform, to the bit: a pixel whose middle comes from outside is black, one whose
    neighbors lie outside sees the border, and the value is cut off, not rounded.

    Args:
        images: uint8, (M, C, H, W), on any device.
        maps: as `inverse_affine` gives them, float64, (M, 6), on the processor.
    """
    device = torch.device("cpu") if images.device.type == "mps" else images.device  # no float64
    at_once = max(_VALUES_AT_ONCE // max(images[0].numel(), 1), 1)
    parts = zip(images.to(device).split(at_once), maps.to(device).split(at_once), strict=True)
    return torch.cat([_moved(*part) for part in parts]).to(images.device)


def _moved(images: Tensor, maps: Tensor) -> Tensor:
    number, channels, height, width = images.shape
    a, b, c, d, e, f = maps[:, :, None, None].unbind(1)
    middles = torch.arange(max(width, height), dtype=maps.dtype, device=maps.device) + 0.5
    across, down = middles[:width], middles[:height, None]
    x, y = a * across + b * down + c, d * across + e * down + f
    inside = (x >= 0) & (x < width) & (y >= 0) & (y < height)
    x, y = x - 0.5, y - 0.5
    left, top = x.floor(), y.floor()
    right, low = (x - left)[:, None], (y - top)[:, None]  # how far from there
    columns, rows = _pair(left, width), [row * width for row in _pair(top, height)]
    pixels = images.to(maps.dtype).view(number, channels, -1)

    def at(row: Tensor, column: Tensor) -> Tensor:
        places = (row + column).view(number, 1, -1).expand(-1, channels, -1)
        return pixels.gather(2, places).view_as(images)

    above, below = (
        at(row, columns[0]).mul_(1 - right).add_(at(row, columns[1]).mul_(right)) for row in rows
    )
    values = above.mul_(1 - low).add_(below.mul_(low))
    return values.to(images.dtype).mul_(inside[:, None])


def _pair(places: Tensor, size: int) -> list[Tensor]:
    """Each place and the one after it, or the border's."""
    first = places.long()
    return [first.clamp(0, size - 1), (first + 1).clamp_(0, size - 1)]
