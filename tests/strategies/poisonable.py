"""Tiny streams of every kind whose hidden truth, test labels and base labels can be exchanged.

`KINDS[kind](folder)` builds a scenario. With `poisoned=True` it shows and holds the same samples in
the same order, but the classes of hidden and of test samples are others; with `changed=True` one
labeled sample of the base stage carries another label. Where a stream is composed of labels, it is
composed of the right ones: what is poisoned is all that is left of the truth.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from cgcd.models import InputSpec
from cgcd.stages import DiscoveryScenario
from cgcd.vocabulary import UNLABELED
from scenarios import (
    BlurryProtocol,
    Composition,
    GivenStages,
    ImageArrays,
    OnlineProtocol,
    Protocol,
    ShareProtocol,
    SingleStageProtocol,
    compose,
    compose_online,
    compose_single_stage,
    discovery_scenario,
    features_scenario,
    features_stages_scenario,
    folder_scenario,
    given_stages_scenario,
)
from scenarios.feature_stages import HalfKnown
from scenarios.features import vector_views
from scenarios.online import online_stages
from scenarios.single_stage import single_stages
from scenarios.stream import discovery_stages

NUM_BASE = 4
PARTS = (range(4), range(4, 6), range(6, 8))  # classes by the stage that they are first met at
NAMES = tuple("abcdefgh")
TARGETS = np.repeat(np.arange(8), 16)
TESTS = np.repeat(np.arange(8), 5)
VECTOR_INPUTS = InputSpec(vector=16)
IMAGE_INPUTS = InputSpec(size=8, crop_pct=0.8)

_generator = np.random.default_rng(0)
_corners = np.sign(_generator.standard_normal((8, 16))).astype(np.float32)


def _vectors(classes: np.ndarray) -> np.ndarray:
    noise = _generator.standard_normal((len(classes), 16), dtype=np.float32)
    return _corners[classes] + 0.5 * noise


def _images(classes: np.ndarray) -> np.ndarray:
    noise = _generator.integers(0, 90, (len(classes), 8, 8, 3))
    return (noise + 20 * classes[:, None, None, None]).astype(np.uint8)


VECTORS, TEST_VECTORS = _vectors(TARGETS), _vectors(TESTS)
IMAGES, TEST_IMAGES = _images(TARGETS), _images(TESTS)


def inputs_of(scenario: DiscoveryScenario) -> InputSpec:
    """What the scenario gives: vectors or images."""
    sample = scenario.train_stream[0].dataset.eval()[0][0]
    return VECTOR_INPUTS if sample.dim() == 1 else IMAGE_INPUTS


def shuffled(labels: np.ndarray, groups: Iterable[Any]) -> np.ndarray:
    """The labels, exchanged within each group of places."""
    others = np.array(labels)
    for places in groups:
        others[places] = np.random.default_rng(1).permutation(others[places])
    return others


def _one_changed(labels: np.ndarray) -> np.ndarray:
    others = np.array(labels)
    others[1] = (others[1] + 1) % NUM_BASE
    return others


PROTOCOL = Protocol(
    num_base=NUM_BASE, num_stages=2, novel_per_stage=2, samples_per_novel=12, samples_per_known=3
)
WHOLE = HalfKnown(num_stages=2, labeled_fraction=1.0, samples_per_novel=None, samples_per_known=0)
"""Leaves out and divides nothing, so a stage holds the same samples whatever their classes are."""

PROTOCOLS = {
    "staged": PROTOCOL,
    "novel only": replace(PROTOCOL, samples_per_known=0),
    "mixed": replace(PROTOCOL, samples_per_known=6, shown_fraction=0.5, labeled_fraction=0.5),
    "long tail": replace(PROTOCOL, imbalance_labeled=3.0, imbalance_unlabeled=2.0),
    "shares": ShareProtocol(
        num_base=NUM_BASE, num_stages=2, shares=[[0.7, 0.2, 0.1], [0, 0.7, 0.3], [0, 0, 1]]
    ),
    "Si-Blurry": BlurryProtocol(num_base=NUM_BASE, num_stages=2),
    "mixed Si-Blurry": BlurryProtocol(
        num_base=NUM_BASE, num_stages=2, shown_fraction=0.5, labeled_fraction=0.5
    ),
}


def _staged(
    protocol: Any, poisoned: bool, changed: bool
) -> tuple[Composition, np.ndarray, np.ndarray]:
    """The composition, training classes and test classes."""
    composition = compose(TARGETS, TESTS, protocol, seed=0)
    stages = list(composition.stages)
    train, tests = TARGETS, TESTS
    if poisoned:
        hidden = np.concatenate([plan.indices[plan.labels == UNLABELED] for plan in stages])
        train = shuffled(train, [hidden])
        tests = shuffled(tests, [plan.test_indices for plan in stages])
        stages = [replace(plan, class_counts=plan.class_counts[::-1].copy()) for plan in stages]
    if changed:
        stages[0] = replace(stages[0], labels=_one_changed(stages[0].labels))
    return replace(composition, stages=tuple(stages)), train, tests


def vectors(
    protocol: Any,
    folder: Path,
    poisoned: bool = False,
    changed: bool = False,
    num_novel: str = "given",
) -> DiscoveryScenario:
    """Stages of vectors by a protocol."""
    composition, _, tests = _staged(protocol, poisoned, changed)
    views = _views(VECTORS, composition.stages[0].indices)
    return discovery_stages(
        *(VECTORS, TEST_VECTORS, tests, NAMES, composition, *views),
        name="vectors",
        num_novel=num_novel,
    )


def images(folder: Path, poisoned: bool = False, changed: bool = False) -> DiscoveryScenario:
    """Stages of images in memory, as those of every published data set."""
    composition, train, tests = _staged(PROTOCOL, poisoned, changed)
    data = ImageArrays(IMAGES, train, TEST_IMAGES, tests, NAMES)
    return discovery_scenario(data, composition, name="images", inputs=IMAGE_INPUTS)


def single_stage(
    folder: Path, poisoned: bool = False, changed: bool = False, num_novel: str = "given"
) -> DiscoveryScenario:
    """Labeled and unlabeled vectors in one stage, with a test part."""
    protocol = SingleStageProtocol(num_known=NUM_BASE, labeled_fraction=0.5)
    composition = compose_single_stage(TARGETS, TESTS, protocol, seed=0)
    if poisoned:
        truth, tests = (shuffled(part, [...]) for part in (composition.truth, TESTS))
        composition = replace(composition, truth=truth, test_rows=tests)
    if changed:
        composition = replace(composition, labels=_one_changed(composition.labels))
    return single_stages(
        *(VECTORS, TEST_VECTORS, NAMES, composition, *_views(VECTORS, composition.labeled)),
        name="single",
        num_novel=num_novel,
    )


def online(folder: Path, poisoned: bool = False, changed: bool = False) -> DiscoveryScenario:
    """Vectors that arrive one by one."""
    composition = compose_online(TARGETS, OnlineProtocol(num_known=NUM_BASE), seed=0)
    if poisoned:
        composition = replace(composition, truth=shuffled(composition.truth, [...]))
    if changed:
        composition = replace(composition, labels=_one_changed(composition.labels))
    views = _views(VECTORS, composition.labeled)
    return online_stages(VECTORS, NAMES, composition, *views, name="online", window=40)


def features(folder: Path, poisoned: bool = False, changed: bool = False) -> DiscoveryScenario:
    """A file of embeddings with labels: the poison is in the file that the stream is made of."""
    train, tests = TARGETS, TESTS
    if poisoned:
        train = shuffled(train, [np.flatnonzero(np.isin(train, part)) for part in PARTS[1:]])
        tests = shuffled(tests, [np.flatnonzero(np.isin(tests, part)) for part in PARTS])
    if changed:
        train = _one_changed(train)
    np.savez(
        folder / "all.npz",
        f=np.concatenate([VECTORS, TEST_VECTORS]),
        y=np.concatenate([train, tests]),
        split=np.repeat([0, 1], [len(train), len(tests)]),
        classes=np.array(NAMES),
    )
    return features_scenario(
        inputs=VECTOR_INPUTS, data_root=folder / "all.npz", protocol=WHOLE, noise=0.1
    )


def _months() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Samples that are labeled, that come in May and in June; some of known classes among them."""
    early, late = (np.flatnonzero(np.isin(TARGETS, part)) for part in PARTS[1:])
    known = np.flatnonzero(np.isin(TARGETS, PARTS[0])).reshape(NUM_BASE, -1)
    may, june = known[:, -4:-2].ravel(), known[:, -2:].ravel()
    return known[:, :-4].ravel(), np.concatenate([may, early]), np.concatenate([june, late])


def given_stages(folder: Path, poisoned: bool = False, changed: bool = False) -> DiscoveryScenario:
    """Stages that somebody has, with a truth and labeled samples that are held out."""
    labeled, *stages = _months()
    labeled, held_out = labeled[::2], labeled[1::2]
    truth = shuffled(TARGETS, [*stages, held_out]) if poisoned else TARGETS.copy()
    if changed:
        truth[labeled] = _one_changed(truth[labeled])
    given = GivenStages(
        *(VECTORS, [f"sample {i}" for i in range(len(VECTORS))], labeled, truth[labeled]),
        *(held_out, truth[held_out], tuple(stages), truth, NAMES),
    )
    views = _views(VECTORS, labeled)
    return given_stages_scenario(given, *views, name="given", num_novel="given")


def features_stages(
    folder: Path, poisoned: bool = False, changed: bool = False
) -> DiscoveryScenario:
    """A labeled file and files without: labels in the first are a truth, as is the CSV."""
    labeled, may, june = _months()
    truth = shuffled(TARGETS, [may, june]) if poisoned else TARGETS
    shown = _one_changed(TARGETS[labeled]) if changed else TARGETS[labeled]
    names = np.array(NAMES)
    np.savez(folder / "known.npz", f=VECTORS[labeled], y=shown, classes=names[:NUM_BASE])
    np.savez(folder / "may.npz", f=VECTORS[may], y=truth[may], classes=names)
    np.save(folder / "june.npy", VECTORS[june])
    lines = [f"june:{row},{names[c]}" for row, c in enumerate(truth[june])]
    (folder / "truth.csv").write_text("\n".join(["id,class", *lines]))
    return features_stages_scenario(
        inputs=VECTOR_INPUTS,
        labeled=folder / "known.npz",
        stages=[folder / "may.npz", folder / "june.npy"],
        truth=folder / "truth.csv",
        num_novel="given",
        noise=0.1,
    )


def photos(folder: Path, poisoned: bool = False, changed: bool = False) -> DiscoveryScenario:
    """Folders of photos; the truth of the later ones is in a CSV."""
    labeled, *months = _months()
    shown = _one_changed(TARGETS[labeled]) if changed else TARGETS[labeled]
    truth = shuffled(TARGETS, months) if poisoned else TARGETS
    for sample, c in zip(labeled, shown, strict=True):
        _write_photo(folder / "known" / NAMES[c], sample)
    lines = ["path,class"]
    for month, samples in zip(("may", "june"), months, strict=True):
        for sample in samples:
            _write_photo(folder / month, sample)
            lines.append(f"{month}/{sample}.png,{NAMES[truth[sample]]}")
    (folder / "truth.csv").write_text("\n".join(lines))
    return folder_scenario(
        inputs=IMAGE_INPUTS,
        labeled=folder / "known",
        stages=[folder / "may", folder / "june"],
        truth=folder / "truth.csv",
        num_novel="given",
    )


def _write_photo(folder: Path, sample: int) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    Image.fromarray(IMAGES[sample]).save(folder / f"{sample}.png")


def _views(samples: np.ndarray, labeled: np.ndarray) -> tuple[Any, Any]:
    settings = {"normalize": True, "center": False, "noise": 0.1}
    return vector_views(samples, labeled, VECTOR_INPUTS, **settings)


KINDS: dict[str, Callable[..., DiscoveryScenario]] = {
    **{name: partial(vectors, protocol) for name, protocol in PROTOCOLS.items()},
    "images": images,
    "single stage": single_stage,
    "on-line": online,
    "features": features,
    "given stages": given_stages,
    "features_stages": features_stages,
    "folder": photos,
}

KIND_OF_SETTING = {"continual": "staged", "single_stage": "single stage", "online": "on-line"}
"""One kind for each setting of a strategy; a setting that is not here is tested by nobody yet."""
