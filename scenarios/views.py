"""From an image to a tensor: random views for training, one fixed view for evaluation.

Every random number comes from `cgcd.engine.seeding.uniforms`, a function of seed, stage, epoch,
sample and view, so views do not depend on workers, resuming or what was drawn before. A view makes
a whole batch at once from resized pixels, with the same numbers and to the same bits as one by one.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Protocol, runtime_checkable

import numpy as np
import torch
import torchvision.transforms.functional as TF
from PIL import Image
from torch import Tensor
from torchvision.transforms import InterpolationMode

from cgcd.engine.seeding import Draw, batch_uniforms, current_draw, uniforms
from cgcd.models import InputSpec
from cgcd.stages import Sample
from scenarios.affine import inverse_affine, moved

_MOST_KEPT = 2**31  # bytes of resized images that stay in memory


class Augmentation(Protocol):
    """A random change of a PIL image that uses `num_draws` numbers in [0, 1)."""

    num_draws: int

    def __call__(self, image: Image.Image, draws: np.ndarray, spec: InputSpec) -> Image.Image: ...


@runtime_checkable
class PixelAugmentation(Protocol):
    """An augmentation that also works on pixels, uint8 (C, H, W), to the same bits."""

    def of_pixels(self, pixels: Tensor, draws: np.ndarray, spec: InputSpec) -> Tensor: ...


@runtime_checkable
class BatchAugmentation(Protocol):
    """An augmentation that works on many images of one size at once, to the same bits.

    Pixels are uint8 (M, C, H, W), on the device of the model; draws (M, num_draws).
    """

    def of_batch(self, pixels: Tensor, draws: np.ndarray, spec: InputSpec) -> Tensor: ...


@dataclass(frozen=True)
class RandomCrop:
    """A square of the input size at a random place."""

    num_draws = 2

    def __call__(self, image: Image.Image, draws: np.ndarray, spec: InputSpec) -> Image.Image:
        left, top = self._corner(image.width, image.height, draws, spec.size)
        return image.crop((left, top, left + spec.size, top + spec.size))

    def of_pixels(self, pixels: Tensor, draws: np.ndarray, spec: InputSpec) -> Tensor:
        """The same square; no pixel is copied."""
        height, width = pixels.shape[1:]
        if min(height, width) < spec.size:
            return pixels_of(self(image_of(pixels), draws, spec))
        left, top = self._corner(width, height, draws, spec.size)
        return pixels[:, top : top + spec.size, left : left + spec.size]

    def of_batch(self, pixels: Tensor, draws: np.ndarray, spec: InputSpec) -> Tensor:
        """The same of many images at once."""
        height, width = pixels.shape[2:]
        if min(height, width) < spec.size:
            alone = [self.of_pixels(*one, spec) for one in zip(pixels, draws, strict=True)]
            return torch.stack(alone).to(pixels.device)
        left, top = torch.tensor(
            [self._corner(width, height, some, spec.size) for some in draws], device=pixels.device
        ).T
        squares = pixels.unfold(2, spec.size, 1).unfold(3, spec.size, 1)
        return squares[torch.arange(len(pixels), device=pixels.device), :, top, left]

    @staticmethod
    def _corner(width: int, height: int, draws: np.ndarray, size: int) -> tuple[int, int]:
        return int(draws[0] * (width - size + 1)), int(draws[1] * (height - size + 1))


@dataclass(frozen=True)
class HorizontalFlip:
    """Mirrors the image with probability `p`."""

    p: float = 0.5
    num_draws = 1

    def __call__(self, image: Image.Image, draws: np.ndarray, spec: InputSpec) -> Image.Image:
        return TF.hflip(image) if draws[0] < self.p else image

    def of_pixels(self, pixels: Tensor, draws: np.ndarray, spec: InputSpec) -> Tensor:
        """The same for pixels."""
        return pixels.flip(2) if draws[0] < self.p else pixels

    def of_batch(self, pixels: Tensor, draws: np.ndarray, spec: InputSpec) -> Tensor:
        """The same for many images at once."""
        chosen = torch.from_numpy(draws[:, 0] < self.p).to(pixels.device)
        return torch.where(chosen[:, None, None, None], pixels.flip(3), pixels)


@dataclass(frozen=True)
class RandomAffine:
    """Turns, shifts and scales the image; what comes in from outside is black.

    Attributes:
        degrees: largest angle either way.
        translate: largest shift either way, as a fraction of the side.
        scale: smallest and largest factor.
        shear: largest shear angle either way, in degrees, of both axes.

    Source: torchvision's `affine`, whose bits the result has.
    """

    degrees: float = 10.0
    translate: float = 0.1
    scale: tuple[float, float] = (0.9, 1.1)
    shear: float = 0.0
    num_draws = 5

    def __call__(self, image: Image.Image, draws: np.ndarray, spec: InputSpec) -> Image.Image:
        return image_of(self.of_batch(pixels_of(image)[None], draws[None], spec)[0])

    def of_batch(self, pixels: Tensor, draws: np.ndarray, spec: InputSpec) -> Tensor:
        """The same for many images at once."""
        maps = [self._map((pixels.shape[3], pixels.shape[2]), some) for some in draws]
        return moved(pixels, torch.tensor(maps, dtype=torch.float64))

    def _map(self, size: tuple[int, int], draws: np.ndarray) -> list[float]:
        turn, right, down, shear, between = draws.tolist()
        low, high = self.scale
        return inverse_affine(
            size,
            (2 * turn - 1) * self.degrees,
            [
                round((2 * share - 1) * self.translate * side)
                for share, side in zip((right, down), size, strict=True)
            ],
            low + (high - low) * between,
            (2 * shear - 1) * self.shear,
        )


STANDARD = (RandomCrop(), HorizontalFlip())
"""Happy's and SimGCD's views (their color jitter has all strengths at zero)."""


@dataclass(frozen=True)
class TrainViews:
    """V random views of a sample, (V, C, H, W); how many and which draws the engine decides.

    Attributes:
        spec: input size and normalization of the backbone.
        augmentations: applied in order after the shorter side is resized to `spec.resize`; the last
            size must be the input size, so one of them must crop.
    """

    spec: InputSpec
    augmentations: Sequence[Augmentation] = field(default=STANDARD)

    def __call__(self, sample: Sample) -> Tensor:
        draw = current_draw()
        resized = resized_image(sample.image, self.spec)
        views = []
        for view in range(draw.num_views):
            numbers = uniforms(draw, sample.id, view, self._num_draws)
            image, used = resized, 0
            for augmentation in self.augmentations:
                image = augmentation(
                    image, numbers[used : used + augmentation.num_draws], self.spec
                )
                used += augmentation.num_draws
            views.append(_normalized(image, self.spec))
        return torch.stack(views)

    def drawn(
        self,
        images: Sequence[Tensor],
        sample_ids: Sequence[int],
        draw: Draw,
        repeats: Sequence[int],
        device: torch.device,
    ) -> Tensor:
        """The views of a batch, (B, V, C, H, W), on the device.

        Args:
            images: resized, uint8 (C, H, W) each, maybe of different shapes, B of them.
            sample_ids: (B,).
            draw: which views; its `repeat` does not count.
            repeats: how often each sample was drawn before in this epoch, (B,).
            device: of the result.
        """
        numbers = batch_uniforms(draw, sample_ids, self._num_draws, repeats)
        draws = numbers.reshape(-1, self._num_draws)
        views: Sequence[Tensor] | Tensor
        views = [pixels for pixels in images for _ in range(draw.num_views)]
        used = 0
        for augmentation in self.augmentations:
            some = draws[:, used : used + augmentation.num_draws]
            used += augmentation.num_draws
            views = _changed(augmentation, views, some, self.spec, device)
        return _normalized_batch(views, self.spec, device).unflatten(0, (len(images), -1))

    @property
    def _num_draws(self) -> int:
        return sum(augmentation.num_draws for augmentation in self.augmentations)


@dataclass(frozen=True)
class CenterView:
    """The evaluation view, (C, H, W): shorter side resized, center crop, normalized."""

    spec: InputSpec

    def __call__(self, sample: Sample) -> Tensor:
        image = TF.center_crop(resized_image(sample.image, self.spec), [self.spec.size] * 2)
        return _normalized(image, self.spec)

    def centered(self, images: Sequence[Tensor], device: torch.device) -> Tensor:
        """The views of a batch of resized images, uint8 (C, H, W) each; (B, C, H, W)."""
        size = [self.spec.size] * 2
        crops = [TF.center_crop(pixels, size) for pixels in images]
        return _normalized_batch(crops, self.spec, device)


class PilImages(Sequence[Image.Image]):
    """Images (N, H, W, 3) uint8 as PIL images, and resized, each once as long as there is room."""

    def __init__(self, arrays: np.ndarray) -> None:
        self.arrays = arrays
        self._kept: dict[tuple[int, str, int], Tensor] = {}
        self._room = _MOST_KEPT

    def __len__(self) -> int:
        return len(self.arrays)

    def __getitem__(self, index: int) -> Image.Image:  # type: ignore[override]
        return Image.fromarray(self.arrays[index])

    def holds(self, spec: InputSpec) -> bool:
        """There is room for all images as `resized` gives them."""
        return len(self) == 0 or len(self) * self.resized(0, spec).nbytes <= _MOST_KEPT

    def resized(self, index: int, spec: InputSpec) -> Tensor:
        """Pixels of `resized_image`, uint8 (C, H, W), which nobody may change."""
        key = spec.resize, spec.interpolation, index
        pixels = self._kept.get(key)
        if pixels is None:
            pixels = pixels_of(resized_image(self[index], spec))
            if pixels.nbytes <= self._room:
                self._kept[key] = pixels
                self._room -= pixels.nbytes
        return pixels


def resized_image(image: Image.Image, spec: InputSpec) -> Image.Image:
    """The image with its shorter side at `spec.resize`: what no draw changes of a view."""
    return TF.resize(image, spec.resize, InterpolationMode(spec.interpolation))


def pixels_of(image: Image.Image) -> Tensor:
    """An RGB image as uint8 (C, H, W)."""
    return torch.from_numpy(np.array(image)).permute(2, 0, 1)


def image_of(pixels: Tensor) -> Image.Image:
    """The image of pixels, uint8 (C, H, W)."""
    return Image.fromarray(pixels.permute(1, 2, 0).cpu().numpy())


def _changed(
    augmentation: Augmentation,
    views: Sequence[Tensor] | Tensor,
    draws: np.ndarray,
    spec: InputSpec,
    device: torch.device,
) -> Sequence[Tensor] | Tensor:
    """An augmentation of M images, each with its own draws, all at once where that is quicker."""
    if isinstance(augmentation, BatchAugmentation):
        pixels = _together(views, isinstance(augmentation, PixelAugmentation), device)
        if pixels is not None:
            return augmentation.of_batch(pixels, draws, spec)
    change = _pixel_change(augmentation)
    return [change(*pair, spec) for pair in zip(views, draws, strict=True)]


def _together(
    views: Sequence[Tensor] | Tensor, may_be_alone: bool, device: torch.device
) -> Tensor | None:
    """Images in one tensor on the device; None where they are better changed one by one.

    On a CPU pixels that lie apart stay there as long as they may: a crop of one copies nothing.
    """
    if isinstance(views, Tensor):
        return views
    if (may_be_alone and device.type == "cpu") or len({view.shape for view in views}) > 1:
        return None
    return _stacked(views, device)


def _pixel_change(augmentation: Augmentation) -> Callable[..., Tensor]:
    """`of_pixels` of an augmentation, by way of a PIL image where it has none."""
    if isinstance(augmentation, PixelAugmentation):
        return augmentation.of_pixels
    return lambda pixels, draws, spec: pixels_of(augmentation(image_of(pixels), draws, spec))


def _normalized(image: Image.Image, spec: InputSpec) -> Tensor:
    return TF.normalize(TF.to_tensor(image), spec.mean, spec.std)


def _normalized_batch(
    images: Sequence[Tensor] | Tensor, spec: InputSpec, device: torch.device
) -> Tensor:
    """`_normalized` of each of M images, uint8 (C, H, W), on the device, (M, C, H, W)."""
    pixels = images if isinstance(images, Tensor) else _stacked(images, device)
    values = pixels.to(torch.get_default_dtype())
    white, mean, std = (
        torch.tensor(numbers, dtype=values.dtype, device=device)[..., None, None]
        for numbers in (255.0, spec.mean, spec.std)  # a number would be multiplied by 1 / 255 there
    )
    return values.div_(white).sub_(mean).div_(std)


def _stacked(images: Sequence[Tensor], device: torch.device) -> Tensor:
    """M images of one device, uint8 (C, H, W), on this device, (M, C, H, W)."""
    if device.type != "cuda" or images[0].is_cuda:
        return torch.stack(list(images)).to(device)
    shape = (len(images), *images[0].shape)
    pixels = torch.empty(shape, dtype=torch.uint8, pin_memory=True)
    return torch.stack(list(images), out=pixels).to(device, non_blocking=True)
