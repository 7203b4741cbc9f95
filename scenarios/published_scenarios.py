"""A scenario of each setting over any published data set, by its name.

The order of images is that of the data set's own lists, so that draws which depend on it are those
of the released codes.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from cgcd.models import InputSpec
from cgcd.stages import DiscoveryScenario, OnlineScenario, SingleStageScenario
from cgcd.vocabulary import InputError
from scenarios.arrays import ImageArrays
from scenarios.omniglot import InvertedFiles
from scenarios.online import OnlineProtocol, compose_online, online_scenario
from scenarios.online_datasets import WRITTEN
from scenarios.protocol import compose
from scenarios.published import published
from scenarios.single_stage import (
    SingleStageProtocol,
    compose_single_stage,
    single_stage_scenario,
)
from scenarios.staged import StagedProtocol
from scenarios.stream import discovery_scenario
from scenarios.views import STANDARD, Augmentation


def dataset_scenario(
    *,
    dataset: str,
    name: str,
    inputs: InputSpec,
    data_root: str | Path | None,
    protocol: StagedProtocol,
    seed: int = 0,
    num_novel: str | int = "given",
    augmentations: Sequence[Augmentation] | None = None,
) -> DiscoveryScenario:
    """A published data set as labeled base stage and unlabeled stages.

    Args:
        dataset: its name, as `cgcd data list` prints it.
        name: of the scenario, for folders and tables.
        inputs: what the backbone wants, `model.inputs`.
        data_root: where it lies, as `cgcd data check` says.
        protocol: which classes come when.
        seed: of the draws of images.
        num_novel: see `discovery_scenario`.
        augmentations: of the training views; None: crop and mirror, or for handwriting, which is
            never mirrored, small turns and crop.

    Raises:
        InputError: if there is no such data set, it cannot be read, or it has no test images.
    """
    data, views = _read(dataset, data_root, augmentations)
    if not len(data.test_targets):
        raise InputError(
            f"{published(dataset).title} has no test images, which stages are measured on: take a"
            " setting without them, scenario=inat_online with scenario.dataset and a protocol"
        )
    return discovery_scenario(
        data,
        compose(data.train_targets, data.test_targets, protocol, seed),
        name=name,
        inputs=inputs,
        augmentations=views,
        num_novel=num_novel,
    )


def dataset_gcd_scenario(
    *,
    dataset: str,
    name: str,
    inputs: InputSpec,
    data_root: str | Path | None,
    protocol: SingleStageProtocol,
    seed: int = 0,
    num_novel: str | int = "given",
    augmentations: Sequence[Augmentation] | None = None,
) -> SingleStageScenario:
    """A published data set as ONE stage of labeled and unlabeled images; see `dataset_scenario`."""
    data, views = _read(dataset, data_root, augmentations)
    return single_stage_scenario(
        data,
        compose_single_stage(data.train_targets, data.test_targets, protocol, seed),
        name=name,
        inputs=inputs,
        augmentations=views,
        num_novel=num_novel,
    )


def dataset_online_scenario(
    *,
    dataset: str,
    name: str,
    inputs: InputSpec,
    data_root: str | Path | None,
    protocol: OnlineProtocol,
    seed: int = 0,
    augmentations: Sequence[Augmentation] | None = None,
    window: int = 100,
) -> OnlineScenario:
    """A published data set's training images as labeled stage and stream; see `dataset_scenario`.

    `window` is how many samples lie between two rows of metrics.
    """
    data, views = _read(dataset, data_root, augmentations)
    scenario = online_scenario(
        data.train_images,
        data.class_names,
        compose_online(data.train_targets, protocol, seed),
        name=name,
        inputs=inputs,
        augmentations=views,
        window=window,
    )
    if isinstance(data.train_images, InvertedFiles):  # who answers with the run must do so too
        scenario.description["inverted"] = True
    return scenario


def _read(
    dataset: str, data_root: str | Path | None, augmentations: Sequence[Augmentation] | None
) -> tuple[ImageArrays, Sequence[Augmentation]]:
    """Images, and the augmentations that suit them where none are given."""
    entry = published(dataset)
    suited = WRITTEN if entry.handwriting else STANDARD
    return entry.read(data_root), suited if augmentations is None else augmentations
