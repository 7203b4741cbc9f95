"""The on-line scenarios a config names: one function a data set.

Of every data set only the training part is used: labeled images of known classes, then one stream
of all others.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from cgcd.models import InputSpec
from cgcd.stages import OnlineScenario
from scenarios.digits import online_composition_from_file, read_digits
from scenarios.features import read_features, vector_views
from scenarios.folder import scan_image_folder
from scenarios.online import (
    OnlineProtocol,
    compose_online,
    online_scenario,
    online_stages,
)
from scenarios.views import STANDARD, Augmentation, RandomAffine, RandomCrop

DIGITS_ONLINE_PROTOCOL = OnlineProtocol(num_known=5)
WRITTEN = (RandomAffine(), RandomCrop())
"""Views of handwriting, which is never mirrored."""


def digits_online_scenario(
    *,
    inputs: InputSpec,
    protocol: OnlineProtocol = DIGITS_ONLINE_PROTOCOL,
    seed: int = 0,
    augmentations: Sequence[Augmentation] = WRITTEN,
    window: int = 100,
    stages_file: str | Path | None = None,
) -> OnlineScenario:
    """The 1258 training images of scikit-learn's handwritten digits; needs no download.

    Args:
        inputs: what the backbone wants, `model.inputs`.
        protocol: who is labeled and in which order the others come; ignored with a `stages_file`.
        seed: of the draws that have no seed of their own; ignored with a `stages_file`.
        augmentations: of the training views.
        window: samples between two rows of metrics.
        stages_file: an `.npz` that names the labeled images and those of the stream, in order.
    """
    if stages_file is not None:
        data, composition = online_composition_from_file(stages_file)
    else:
        data = read_digits()
        composition = compose_online(data.train_targets, protocol, seed)
    return online_scenario(
        data.train_images,
        data.class_names,
        composition,
        name="digits_online",
        inputs=inputs,
        augmentations=augmentations,
        window=window,
    )


def image_folder_online_scenario(
    *,
    inputs: InputSpec,
    data_root: str | Path | None,
    protocol: OnlineProtocol,
    name: str = "image_folder",
    seed: int = 0,
    augmentations: Sequence[Augmentation] = STANDARD,
    window: int = 100,
    max_skipped: float = 0.05,
) -> OnlineScenario:
    """Labeled images as `data_root/train/<class>/*`, every file of which is decoded once before.

    Classes are numbered by the sorted names of the folders. `description["skipped"]` lists the
    files that are left out, see `scan_image_folder`.
    """
    data = scan_image_folder(data_root, max_skipped)
    scenario = online_scenario(
        data.images,
        data.class_names,
        compose_online(data.targets, protocol, seed),
        name=name,
        inputs=inputs,
        augmentations=augmentations,
        window=window,
    )
    scenario.description["skipped"] = data.skipped
    return scenario


def features_online_scenario(
    *,
    inputs: InputSpec,
    data_root: str | Path | None,
    protocol: OnlineProtocol,
    name: str = "features",
    seed: int = 0,
    normalize: bool = True,
    center: bool = False,
    noise: float = 0.0,
    window: int = 100,
) -> OnlineScenario:
    """Embeddings computed before, from a file; see `read_features` and `vector_views`."""
    data = read_features(data_root)
    composition = compose_online(data.targets, protocol, seed)
    views = vector_views(
        data.vectors, composition.labeled, inputs, normalize=normalize, center=center, noise=noise
    )
    return online_stages(
        data.vectors, data.class_names, composition, *views, name=name, window=window
    )
