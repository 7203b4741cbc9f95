"""The single-stage scenarios a config names: one function a data set.

Of the training part some images of known classes are labeled; all others are trained on without
labels and measured on. The test part, where there is one, is measured on beside them.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from cgcd.models import InputSpec
from cgcd.stages import SingleStageScenario
from scenarios.arrays import ImageArrays
from scenarios.digits import read_digits, single_stage_composition_from_file
from scenarios.features import read_features, vector_views
from scenarios.folder import read_image_folder
from scenarios.single_stage import (
    SingleStageComposition,
    SingleStageProtocol,
    compose_single_stage,
    single_stage_scenario,
    single_stages,
)
from scenarios.views import STANDARD, Augmentation, RandomAffine, RandomCrop

DIGITS_GCD_PROTOCOL = SingleStageProtocol(num_known=5)


def digits_gcd_scenario(
    *,
    inputs: InputSpec,
    protocol: SingleStageProtocol = DIGITS_GCD_PROTOCOL,
    seed: int = 0,
    num_novel: str | int = "given",
    augmentations: Sequence[Augmentation] = (RandomAffine(), RandomCrop()),
    stages_file: str | Path | None = None,
) -> SingleStageScenario:
    """Scikit-learn's 1,797 handwritten digits in one stage; needs no download.

    Args:
        inputs: what the backbone wants, `model.inputs`.
        protocol: who is labeled; ignored with a `stages_file`.
        seed: of a draw that has no seed of its own; ignored with a `stages_file`.
        num_novel: see `single_stage_scenario`.
        augmentations: of the training views; digits are never mirrored.
        stages_file: an `.npz` that names the labeled, the unlabeled and the test images.
    """
    data, composition = (
        single_stage_composition_from_file(stages_file)
        if stages_file is not None
        else _composed(read_digits(), protocol, seed)
    )
    return single_stage_scenario(
        data,
        composition,
        name="digits_gcd",
        inputs=inputs,
        augmentations=augmentations,
        num_novel=num_novel,
    )


def image_folder_gcd_scenario(
    *,
    inputs: InputSpec,
    data_root: str | Path | None,
    protocol: SingleStageProtocol,
    name: str = "image_folder",
    seed: int = 0,
    num_novel: str | int = "given",
    augmentations: Sequence[Augmentation] = STANDARD,
) -> SingleStageScenario:
    """Labeled images as `data_root/train/<class>/*` and, if there is one, `data_root/test/...`.

    Classes are numbered by the sorted names of the folders in `train`.
    """
    data, composition = _composed(read_image_folder(data_root, needs_test=False), protocol, seed)
    return single_stage_scenario(
        data,
        composition,
        name=name,
        inputs=inputs,
        augmentations=augmentations,
        num_novel=num_novel,
    )


def features_gcd_scenario(
    *,
    inputs: InputSpec,
    data_root: str | Path | None,
    protocol: SingleStageProtocol,
    name: str = "features",
    seed: int = 0,
    num_novel: str | int = "given",
    normalize: bool = True,
    center: bool = False,
    noise: float = 0.0,
) -> SingleStageScenario:
    """Embeddings computed before, from a file; see `read_features` and `vector_views`."""
    data = read_features(data_root)
    composition = compose_single_stage(data.targets, data.test_targets, protocol, seed)
    views = vector_views(
        data.vectors, composition.labeled, inputs, normalize=normalize, center=center, noise=noise
    )
    return single_stages(
        data.vectors,
        data.test_vectors,
        data.class_names,
        composition,
        *views,
        name=name,
        num_novel=num_novel,
    )


def _composed(
    data: ImageArrays, protocol: SingleStageProtocol, seed: int
) -> tuple[ImageArrays, SingleStageComposition]:
    return data, compose_single_stage(data.train_targets, data.test_targets, protocol, seed)
