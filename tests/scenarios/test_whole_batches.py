"""Batches of images made whole against reading the same stage sample by sample: equal bits."""

from __future__ import annotations

import threading
from typing import Any

import numpy as np
import pytest
import torch
import torchvision.transforms.functional as TF
from PIL import Image, ImageOps
from torch.utils.data import BatchSampler, DataLoader
from torchvision.transforms import InterpolationMode

from cgcd.engine import half_labeled
from cgcd.engine.batches import pass_batches, training_batches
from cgcd.engine.image_loading import PassImages, TrainingImages
from cgcd.engine.kept_workers import KeptWorkers, TrainingSamples
from cgcd.engine.loading import DrawnViews, EpochBatches, shuffled
from cgcd.engine.seeding import Draw
from cgcd.models import InputSpec
from cgcd.stages import stage_dataset
from scenarios import views as module
from scenarios.views import (
    STANDARD,
    CenterView,
    HorizontalFlip,
    PilImages,
    RandomAffine,
    RandomCrop,
    TrainViews,
    image_of,
    pixels_of,
    resized_image,
)

SPEC = InputSpec(size=12, mean=(0.4, 0.5, 0.6), std=(0.2, 0.3, 0.4), crop_pct=0.8)
ROWS = np.random.default_rng(1).permutation(40)[:30]
LABELS = np.where(np.arange(30) % 3, -1, np.arange(30) % 4)
CPU = torch.device("cpu")


class Solarized:
    """An augmentation that knows no pixels."""

    num_draws = 1

    def __call__(self, image: Image.Image, draws: np.ndarray, spec: InputSpec) -> Image.Image:
        return ImageOps.solarize(image, int(256 * draws[0]))


class Mixed:
    """Images of two shapes, of which all are at hand."""

    def __init__(self) -> None:
        generator = np.random.default_rng(0)
        self.images = [
            Image.fromarray(generator.integers(0, 256, (9 + 5 * (i % 2), 14, 3), dtype=np.uint8))
            for i in range(40)
        ]

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: int) -> Image.Image:
        return self.images[index]

    def holds(self, spec: InputSpec) -> bool:
        return True

    def resized(self, index: int, spec: InputSpec) -> torch.Tensor:
        return pixels_of(resized_image(self.images[index], spec))


def arrays() -> PilImages:
    return PilImages(np.random.default_rng(0).integers(0, 256, (40, 10, 10, 3), dtype=np.uint8))


def dataset(source: Any, augmentations: Any = STANDARD) -> Any:
    train = TrainViews(SPEC, augmentations)
    return stage_dataset(
        source, ROWS, LABELS, train_transform=train, eval_transform=CenterView(SPEC)
    )


def assert_equal_batches(fast: Any, slow: Any) -> None:
    count = 0
    for ours, theirs in zip(fast, slow, strict=True):
        for one, other in zip(ours, theirs, strict=True):
            assert one.dtype == other.dtype and torch.equal(one, other)
            assert one.stride() == other.stride()  # what layout decides the kernels of a network
        count += 1
    assert count > 1


def order() -> BatchSampler:
    return BatchSampler(range(30), 8, drop_last=False)


def loaders(data: Any, batches: EpochBatches, workers: int = 0) -> tuple[Any, Any]:
    fast = training_batches(
        data, batches, device=CPU, workers=KeptWorkers(workers, False), generator=torch.Generator()
    )
    return fast, DataLoader(DrawnViews(data, batches.draw), batch_sampler=batches)


@pytest.mark.parametrize("source", [arrays, Mixed])
@pytest.mark.parametrize("order", [shuffled, half_labeled])
@pytest.mark.parametrize(
    "augmentations",
    [
        STANDARD,
        (HorizontalFlip(0.9), RandomAffine(shear=5.0), Solarized(), RandomCrop()),
    ],
)
def test_training_batches_are_those_of_the_samples(
    source: Any, order: Any, augmentations: Any
) -> None:
    data = dataset(source(), augmentations).train()
    draw = Draw(seed=3, stage=2, num_views=3)
    batches = EpochBatches(LABELS, 7, draw, order, drop_last=False)
    fast, slow = loaders(data, batches)
    assert isinstance(fast, TrainingImages) and len(fast) == len(slow) == 5
    seen = []
    for batches.epoch in (0, 5):
        assert_equal_batches(fast, slow)
        seen.append(next(iter(fast))[0])
    assert seen[0].shape == (7, 3, 3, 12, 12) and not torch.equal(*seen)


def test_the_next_epoch_begins_ahead_and_changes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[int] = []
    data = dataset(arrays()).train()
    batches = EpochBatches(LABELS, 7, Draw(seed=3), drop_last=False)
    batches.epochs = 3
    fast, slow = loaders(data, batches)
    assert isinstance(fast, TrainingImages)
    monkeypatch.setattr(
        fast, "_made", lambda batch: (made.append(batch[0]), TrainingImages._made(fast, batch))[1]
    )
    threads = threading.active_count()
    for batches.epoch in range(3):
        assert_equal_batches(fast, slow)
        assert made.count(batches.epoch) == 5  # none twice
        assert (fast._begun is not None) == (batches.epoch < 2)
    assert threading.active_count() == threads

    batches.epochs = 9
    for batches.epoch, batches.skip in ((3, 2), (4, 0), (4, 0), (7, 0), (8, 0)):
        assert_equal_batches(fast, slow)  # begun, resumed, repeated, skipped
    for batches.epoch in (4, 5):
        next(iter(fast))  # given up in between
    assert_equal_batches(fast, slow)


@pytest.mark.parametrize("source", [arrays, Mixed])
def test_a_pass_is_that_of_the_samples(source: Any) -> None:
    data = dataset(source()).eval()
    fast = pass_batches(
        data, order(), device=CPU, workers=KeptWorkers(2, False), generator=torch.Generator()
    )
    assert isinstance(fast, PassImages) and len(fast) == 4
    assert_equal_batches(fast, DataLoader(data, batch_sampler=order()))


def test_images_are_resized_once_as_long_as_there_is_room(monkeypatch: pytest.MonkeyPatch) -> None:
    side = SPEC.resize
    monkeypatch.setattr(module, "_MOST_KEPT", 39 * 3 * side**2)
    count = []
    monkeypatch.setattr(
        module, "resized_image", lambda *pair: (count.append(pair), resized_image(*pair))[1]
    )
    source = arrays()
    batches = EpochBatches(LABELS, 8, Draw())
    data = dataset(source).train()
    by_sample = loaders(data, batches, workers=1)[0]
    assert isinstance(by_sample, TrainingSamples)  # not all stay, so processes do better
    assert isinstance(loaders(data, batches)[0], TrainingImages)
    count.clear()
    for index in [*range(40), *range(40)]:
        assert torch.equal(
            source.resized(index, SPEC), pixels_of(resized_image(source[index], SPEC))
        )
    assert len(count) == 39 - 1 + 2  # the first was seen before, the last has no room
    monkeypatch.setattr(module, "_MOST_KEPT", 40 * 3 * side**2)
    assert isinstance(loaders(data, batches, workers=1)[0], TrainingImages)


def test_what_a_plugin_changed_is_left_to_the_samples() -> None:
    data = dataset(arrays()).train()
    batches = EpochBatches(LABELS, 8, Draw())
    changed = (
        data.subset([3, 1]),
        data.concat(data),
        data.replace_current_transform_group(None),
        data.freeze_transforms(),
        data.eval(),
        dataset([image for image in arrays()]).train(),
    )
    for other in changed:
        assert isinstance(loaders(other, batches)[0], DataLoader)


def test_an_affine_change_has_the_bits_of_torchvision() -> None:
    generator = np.random.default_rng(0)
    change = RandomAffine(40.0, 0.3, (0.5, 1.7), 20.0)
    for _ in range(50):
        width, height = generator.integers(5, 40, 2)
        pixels = generator.integers(0, 256, (height, width, 3), dtype=np.uint8)
        image, draws = Image.fromarray(pixels), generator.random(5)
        turn, right, down, shear = 2 * draws[:4] - 1
        wanted = TF.affine(
            image,
            angle=float(turn * 40),
            translate=[round(right * 0.3 * image.width), round(down * 0.3 * image.height)],
            scale=0.5 + 1.2 * float(draws[4]),
            shear=[float(shear * 20)],
            interpolation=InterpolationMode.BILINEAR,
        )
        assert np.array_equal(np.asarray(change(image, draws, SPEC)), np.asarray(wanted))


def test_a_crop_from_an_image_that_is_too_small_shows_black() -> None:
    image = Image.fromarray(np.full((9, 20, 3), 7, dtype=np.uint8))
    for draws in np.random.default_rng(0).random((5, 2)):
        alone = pixels_of(RandomCrop()(image, draws, SPEC))
        assert torch.equal(RandomCrop().of_pixels(pixels_of(image), draws, SPEC), alone)


@pytest.mark.parametrize(
    "change", [RandomCrop(), HorizontalFlip(), RandomAffine(30.0, 0.2, (0.7, 1.3), 10.0)]
)
@pytest.mark.parametrize("shape", [(14, 17), (9, 20)])  # the second is too small for a crop
def test_many_images_at_once_are_those_one_by_one(change: Any, shape: tuple[int, int]) -> None:
    generator = np.random.default_rng(0)
    pixels = torch.from_numpy(generator.integers(0, 256, (30, 3, *shape), dtype=np.uint8))
    draws = generator.random((30, change.num_draws))
    pairs = zip(pixels, draws, strict=True)
    alone = [pixels_of(change(image_of(image), some, SPEC)) for image, some in pairs]
    assert torch.equal(change.of_batch(pixels, draws, SPEC), torch.stack(alone))


def test_views_made_together_from_the_start_are_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    """As on an accelerator, where no image is better changed alone."""
    source = arrays()
    images = [source.resized(index, SPEC) for index in range(8)]
    view = TrainViews(SPEC, (HorizontalFlip(), RandomAffine(), RandomCrop()))
    given = images, list(range(8)), Draw(seed=5), [0] * 8, CPU
    apart = view.drawn(*given)
    monkeypatch.setattr(module, "_together", lambda views, *_: torch.stack(list(views)))
    together = view.drawn(*given)
    assert torch.equal(together, apart) and together.stride() == apart.stride()
