"""From an image to a tensor: random views for training, one fixed view for evaluation.

Every random number comes from `cgcd.engine.seeding.uniforms`, a function of seed, stage, epoch,
sample and view, so views do not depend on workers, resuming or what was drawn before.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np
import torch
import torchvision.transforms.functional as TF
from PIL import Image
from torch import Tensor
from torchvision.transforms import InterpolationMode

from cgcd.engine.seeding import current_draw, uniforms
from cgcd.models import InputSpec
from cgcd.stages import Sample


class Augmentation(Protocol):
    """A random change of a PIL image that uses `num_draws` numbers in [0, 1)."""

    num_draws: int

    def __call__(self, image: Image.Image, draws: np.ndarray, spec: InputSpec) -> Image.Image: ...


@dataclass(frozen=True)
class RandomCrop:
    """A square of the input size at a random place."""

    num_draws = 2

    def __call__(self, image: Image.Image, draws: np.ndarray, spec: InputSpec) -> Image.Image:
        left = int(draws[0] * (image.width - spec.size + 1))
        top = int(draws[1] * (image.height - spec.size + 1))
        return image.crop((left, top, left + spec.size, top + spec.size))


@dataclass(frozen=True)
class HorizontalFlip:
    """Mirrors the image with probability `p`."""

    p: float = 0.5
    num_draws = 1

    def __call__(self, image: Image.Image, draws: np.ndarray, spec: InputSpec) -> Image.Image:
        return TF.hflip(image) if draws[0] < self.p else image


@dataclass(frozen=True)
class RandomAffine:
    """Turns, shifts and scales the image; what comes in from outside is black.

    Attributes:
        degrees: largest angle either way.
        translate: largest shift either way, as a fraction of the side.
        scale: smallest and largest factor.
        shear: largest shear angle either way, in degrees.
    """

    degrees: float = 10.0
    translate: float = 0.1
    scale: tuple[float, float] = (0.9, 1.1)
    shear: float = 0.0
    num_draws = 5

    def __call__(self, image: Image.Image, draws: np.ndarray, spec: InputSpec) -> Image.Image:
        turn, right, down, shear = 2 * draws[:4] - 1
        low, high = self.scale
        shift = [
            round(right * self.translate * image.width),
            round(down * self.translate * image.height),
        ]
        return TF.affine(
            image,
            angle=turn * self.degrees,
            translate=shift,
            scale=low + (high - low) * float(draws[4]),
            shear=[shear * self.shear],
            interpolation=InterpolationMode.BILINEAR,
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
        resized = _resized(sample.image, self.spec)
        views = []
        for view in range(draw.num_views):
            numbers = uniforms(draw, sample.id, view, sum(a.num_draws for a in self.augmentations))
            image, used = resized, 0
            for augmentation in self.augmentations:
                image = augmentation(
                    image, numbers[used : used + augmentation.num_draws], self.spec
                )
                used += augmentation.num_draws
            views.append(_normalized(image, self.spec))
        return torch.stack(views)


@dataclass(frozen=True)
class CenterView:
    """The evaluation view, (C, H, W): shorter side resized, center crop, normalized."""

    spec: InputSpec

    def __call__(self, sample: Sample) -> Tensor:
        image = TF.center_crop(_resized(sample.image, self.spec), [self.spec.size] * 2)
        return _normalized(image, self.spec)


class PilImages(Sequence[Image.Image]):
    """Images (N, H, W, 3) uint8 as PIL images."""

    def __init__(self, arrays: np.ndarray) -> None:
        self.arrays = arrays

    def __len__(self) -> int:
        return len(self.arrays)

    def __getitem__(self, index: int) -> Image.Image:  # type: ignore[override]
        return Image.fromarray(self.arrays[index])


def _resized(image: Image.Image, spec: InputSpec) -> Image.Image:
    return TF.resize(image, spec.resize, InterpolationMode(spec.interpolation))


def _normalized(image: Image.Image, spec: InputSpec) -> Tensor:
    return TF.normalize(TF.to_tensor(image), spec.mean, spec.std)
