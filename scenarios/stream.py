"""From a composition and its images to the Avalanche scenario a strategy trains on."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from PIL import Image
from torch import Tensor

from cgcd.models import InputSpec
from cgcd.places import input_cache_bytes
from cgcd.stages import DiscoveryScenario, Sample, Stage, stage_dataset
from cgcd.vocabulary import InputError
from scenarios.arrays import ImageArrays
from scenarios.composition import Composition
from scenarios.folder import ImageFiles
from scenarios.identity import data_hash
from scenarios.input_cache import cached_images
from scenarios.views import STANDARD, Augmentation, CenterView, PilImages, TrainViews


def discovery_scenario(
    data: ImageArrays,
    composition: Composition,
    *,
    name: str,
    inputs: InputSpec,
    augmentations: Sequence[Augmentation] = STANDARD,
    num_novel: str | int = "given",
) -> DiscoveryScenario:
    """A scenario of labeled base stage and unlabeled stages.

    The train stages hold images, visible labels and nothing else; test stage t holds the test
    images of the classes first met at stage t, labeled with their rows.

    Args:
        data: images and original class ids.
        composition: who is where.
        name: short name for folders and tables.
        inputs: size and normalization the backbone wants.
        augmentations: of the training views.
        num_novel: "given" tells each stage how many classes are new; any other word or a number
            (which the strategy uses for every stage) leaves the stages silent.

    Raises:
        InputError: see `image_views`.
    """
    train_images, test_images = at_hand(inputs, data.train_images, data.test_images)
    train_view, test_view = image_views(train_images, inputs, augmentations)
    return discovery_stages(
        train_images,
        test_images,
        data.test_targets,
        data.class_names,
        composition,
        train_view,
        test_view,
        name=name,
        num_novel=num_novel,
    )


def discovery_stages(
    train_samples: Sequence[Any],
    test_samples: Sequence[Any],
    test_targets: np.ndarray,
    class_names: Sequence[str],
    composition: Composition,
    train_view: Callable[[Sample], Tensor],
    test_view: Callable[[Sample], Tensor],
    *,
    name: str,
    num_novel: str | int = "given",
    **more: Any,
) -> DiscoveryScenario:
    """As `discovery_scenario`, of any samples with their views.

    Args:
        train_samples, test_samples: what the views take, indexable.
        test_targets: original class ids of the test samples.
        class_names: name of class id k at place k.
        composition: who is where.
        train_view, test_view: of a sample.
        name, num_novel: see `discovery_scenario`.
        **more: of `DiscoveryScenario`.
    """
    rows = composition.rows(test_targets)

    def stage(
        samples: Sequence[Any], index: int, which: np.ndarray, labels: np.ndarray, novel: int | None
    ) -> Stage:
        dataset = stage_dataset(
            samples, which, labels, train_transform=train_view, eval_transform=test_view
        )
        return Stage(dataset, index, novel)

    train, test = [], []
    for plan in composition.stages:
        told = len(plan.novel_rows) if num_novel == "given" else None
        train.append(stage(train_samples, plan.index, plan.indices, plan.labels, told))
        test.append(
            stage(test_samples, plan.index, plan.test_indices, rows[plan.test_indices], told)
        )
    return DiscoveryScenario(
        train,
        test,
        name=name,
        class_names=[class_names[c] for c in composition.class_order],
        num_base=composition.num_base,
        num_novel="given" if num_novel == "given" or isinstance(num_novel, int) else num_novel,
        stream_hash=composition.hash,
        data_hash=data_hash(train_samples, train_view, test_view, data_hash(test_samples)),
        description={"stages": composition.describe()},
        **more,
    )


def as_pil(images: np.ndarray | Sequence[Image.Image]) -> Sequence[Image.Image]:
    """Arrays as images made on access; what holds images already comes back as it is."""
    return PilImages(images) if isinstance(images, np.ndarray) else images


def at_hand(
    inputs: InputSpec, *parts: np.ndarray | Sequence[Image.Image]
) -> list[Sequence[Image.Image]]:
    """The parts of a data set as images; those of files are kept decoded where they may be.

    Args:
        inputs: what the backbone wants.
        parts: training images first, for they come first where there is room for some only.
    """
    files = [part for part in parts if isinstance(part, ImageFiles)]
    if len(files) < len(parts) or not input_cache_bytes() or inputs.vector is not None:
        return [as_pil(part) for part in parts]
    return list(cached_images(files, inputs, input_cache_bytes()))


def image_views(
    images: Sequence[Image.Image], inputs: InputSpec, augmentations: Sequence[Augmentation]
) -> tuple[TrainViews, CenterView]:
    """The random training views and the evaluation view of images.

    Raises:
        InputError: if the model takes vectors, or the training view would not have the input size.
    """
    if inputs.vector is not None:
        raise InputError(
            f"the scenario gives images and the model takes vectors of {inputs.vector} values: set"
            " model=resnet10t or another model of images, or scenario=features_online"
        )
    train_view = TrainViews(inputs, tuple(augmentations))
    shape = tuple(train_view(Sample(images[0], 0)).shape[-2:])
    wanted = (inputs.size, inputs.size)
    if shape != wanted:
        raise InputError(
            f"the augmentations give images of {shape}; the backbone wants {wanted}: let "
            "scenarios.views.RandomCrop be one of them"
        )
    return train_view, CenterView(inputs)
