"""The scenarios a config names: one function a data set."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from cgcd.models import InputSpec
from cgcd.stages import DiscoveryScenario
from scenarios.arrays import ImageArrays
from scenarios.composition import Composition
from scenarios.digits import composition_from_file, read_digits
from scenarios.folder import read_image_folder
from scenarios.protocol import Protocol, compose
from scenarios.staged import StagedProtocol
from scenarios.stream import discovery_scenario
from scenarios.views import STANDARD, Augmentation, RandomAffine, RandomCrop

DIGITS_PROTOCOL = Protocol(
    num_base=5, num_stages=5, novel_per_stage=1, samples_per_novel=100, samples_per_known=10
)


def digits_scenario(
    *,
    inputs: InputSpec,
    protocol: StagedProtocol = DIGITS_PROTOCOL,
    seed: int = 0,
    num_novel: str | int = "given",
    augmentations: Sequence[Augmentation] = (RandomAffine(), RandomCrop()),
    stages_file: str | Path | None = None,
) -> DiscoveryScenario:
    """Scikit-learn's 1,797 handwritten digits; needs no download.

    Args:
        inputs: what the backbone wants, `model.inputs`.
        protocol: which classes come when; ignored with a `stages_file`.
        seed: of the draws of images; ignored with a `stages_file`.
        num_novel: see `discovery_scenario`.
        augmentations: of the training views; digits are never mirrored.
        stages_file: an `.npz` that names the images of every stage.
    """
    data, composition = (
        composition_from_file(stages_file)
        if stages_file is not None
        else _composed(read_digits(), protocol, seed)
    )
    return discovery_scenario(
        data,
        composition,
        name="digits",
        inputs=inputs,
        augmentations=augmentations,
        num_novel=num_novel,
    )


def image_folder_scenario(
    *,
    inputs: InputSpec,
    data_root: str | Path | None,
    protocol: StagedProtocol,
    name: str = "image_folder",
    seed: int = 0,
    num_novel: str | int = "given",
    augmentations: Sequence[Augmentation] = STANDARD,
) -> DiscoveryScenario:
    """Labeled images as `data_root/train/<class>/*` and `data_root/test/<class>/*`.

    Classes are numbered by the sorted names of the folders in `train`.
    """
    data, composition = _composed(read_image_folder(data_root), protocol, seed)
    return discovery_scenario(
        data,
        composition,
        name=name,
        inputs=inputs,
        augmentations=augmentations,
        num_novel=num_novel,
    )


def _composed(
    data: ImageArrays, protocol: StagedProtocol, seed: int
) -> tuple[ImageArrays, Composition]:
    return data, compose(data.train_targets, data.test_targets, protocol, seed)
