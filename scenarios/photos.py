"""Photos as people have them: any common format, turned upright, with three channels of 8 bits."""

from __future__ import annotations

import struct
from pathlib import Path
from typing import Any

import numpy as np
from PIL import ExifTags, Image

from cgcd.vocabulary import InputError
from scenarios.folder import ImageFiles

SUFFIXES = frozenset(
    ".jpg .jpeg .jpe .jfif .png .webp .bmp .gif .tif .tiff .ppm .pgm .pbm .pnm".split()
)
"""Of the files that are read, in small letters."""

_MAX_RATIO = 20  # of the sides; resized, a longer strip would fill the memory
_WHITE = (255, 255, 255, 255)
_UPRIGHT = {  # EXIF orientation to what turns the image upright
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}


class PhotoFiles(ImageFiles):
    """Photos as upright RGB PIL images, read on access; see `read_photo`.

    Args:
        paths: of the files.
        shorter_side: pixels that suffice, see `read_photo`.

    Raises:
        InputError: on access, if a file can no longer be read.
    """

    def __init__(self, paths: list[str], shorter_side: int | None = None) -> None:
        super().__init__(paths)
        self.shorter_side = shorter_side

    def __getitem__(self, index: int) -> Image.Image:  # type: ignore[override]
        path = self.paths[index]
        try:
            return read_photo(path, self.shorter_side)
        except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
            raise InputError(
                f"{path} was a readable image when the run began and is none now; put it back or "
                "start the run anew"
            ) from error


def read_photo(path: str | Path, shorter_side: int | None = None) -> Image.Image:
    """The image in a file as upright RGB: the first one, where there are several.

    Turned as its EXIF orientation says; damaged EXIF data count as none. Transparent parts show
    white. Grey of 16 bits is divided by 257, so that its white is white; integers and floats of 32
    bits, which have no white, go from their least to their largest value. Color profiles are not
    looked at.

    Args:
        path: of the file.
        shorter_side: how many pixels of the shorter side suffice; a larger image may come back
            smaller, but not below this and with its ratio, up to a pixel. JPEG is then decoded at
            1/2, 1/4 or 1/8, others are averaged over squares of whole pixels. None: as it is.

    Raises:
        Exception: of many kinds, if the file is no image or damaged.
        ValueError: if one side is more than 20 times the other, or a float is not finite.
    """
    with Image.open(path) as image:
        short, long = sorted(image.size)
        if long > _MAX_RATIO * short:
            raise ValueError(f"{image.width} x {image.height} pixels are a strip and no photo")
        if shorter_side is not None and short > shorter_side:
            width, height = (-(-side * shorter_side // short) for side in image.size)
            image.draft(None, (width, height))  # JPEG alone can do that
        image.load()
        orientation = _orientation(image)
        rgb = _rgb(image)
    factor = 1 if shorter_side is None else max(min(rgb.size) // shorter_side, 1)
    if factor > 1:
        rgb = rgb.reduce(factor)
    return rgb.transpose(_UPRIGHT[orientation]) if orientation in _UPRIGHT else rgb


def _orientation(image: Image.Image) -> int:
    """EXIF orientation 1 .. 8, 1 where there is none; TIFF comes upright already, and without."""
    try:
        return int(image.getexif().get(ExifTags.Base.Orientation, 1))
    except (SyntaxError, struct.error, ValueError, TypeError, KeyError, OSError):
        return 1


def _rgb(image: Image.Image) -> Image.Image:
    if image.mode.startswith("I;16"):
        values = np.asarray(image).astype(np.uint32)
        return Image.fromarray(((values + 128) // 257).astype(np.uint8)).convert("RGB")
    if image.mode in ("I", "F"):
        return Image.fromarray(_stretched(np.asarray(image, dtype=np.float64))).convert("RGB")
    if image.mode in ("LA", "La", "PA", "RGBA", "RGBa") or "transparency" in image.info:
        front: Any = image.convert("LA") if image.mode == "La" else image
        front = front.convert("RGBA")
        return Image.alpha_composite(Image.new("RGBA", front.size, _WHITE), front).convert("RGB")
    return image.convert("RGB")


def _stretched(values: np.ndarray) -> np.ndarray:
    """Least to largest value as 0 to 255, all 0 where they are equal."""
    if not np.isfinite(values).all():
        raise ValueError("a pixel is nan or infinite")
    low, high = values.min(), values.max()
    return np.rint(255 * (values - low) / max(high - low, np.finfo(np.float64).tiny)).astype(
        np.uint8
    )
