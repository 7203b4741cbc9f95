"""Every protocol file gives the stage sizes and class orders that its source states."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hydra.utils import instantiate
from omegaconf import OmegaConf

from scenarios.digits import read_digits
from scenarios.online import OnlineProtocol
from scenarios.protocol import Composition, Protocol, compose
from scenarios.single_stage import SingleStageProtocol

FOLDER = Path(__file__).resolve().parents[2] / "configs" / "protocol"
FILES = sorted(FOLDER.glob("*.yaml"))
GENERATOR = np.random.default_rng(0)

# Training images per class of the true size where it is fixed, of a plausible one where it is not:
# the data sets are not here. Every tenth ImageNet class is short of 1000 images.
TRAIN_COUNTS = {
    "happy_cifar100": np.full(100, 500),
    "happy_cifar100_10stages": np.full(100, 500),
    "happy_imagenet100": np.where(np.arange(1000) % 10 == 7, 800, 1300),
    "happy_tiny_imagenet": np.full(200, 500),
    "happy_cub": GENERATOR.integers(29, 31, 200),
    "happy_cars": GENERATOR.integers(30, 60, 196),
    "happy_aircraft": GENERATOR.integers(66, 68, 100),
}
TEST_COUNTS = {"happy_cifar100": 100, "happy_cifar100_10stages": 100}  # others: 50 per class


def read(name: str) -> Protocol:
    return instantiate(OmegaConf.load(FOLDER / f"{name}.yaml"))


def composed(name: str) -> Composition:
    counts = TRAIN_COUNTS[name]
    classes = np.arange(len(counts))
    train = np.repeat(classes, counts)
    return compose(train, np.repeat(classes, TEST_COUNTS.get(name, 50)), read(name), seed=1)


def sizes(composition: Composition, part: str) -> list[int]:
    return [row[part] for row in composition.describe()]


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_every_file_names_its_source_and_lists_every_field(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    assert text.startswith("# ") and "\n# Source: " in text
    kinds = {"online": OnlineProtocol, "gcd": SingleStageProtocol}
    kind = kinds.get(path.stem.split("_")[0], Protocol)
    assert isinstance(instantiate(OmegaConf.load(path)), kind)
    listed = set(OmegaConf.load(path)) - {"_target_"}
    assert listed == set(kind.__dataclass_fields__)


@pytest.mark.parametrize(
    ("name", "labeled", "unlabeled", "test"),
    [
        (
            "happy_cifar100",
            20_000,
            [5250, 5500, 5750, 6000, 6250],
            [5000, 6000, 7000, 8000, 9000, 10_000],
        ),
        (
            "happy_cifar100_10stages",
            20_000,
            list(range(3250, 4376, 125)),
            list(range(5000, 10_001, 500)),
        ),
        (
            "happy_tiny_imagenet",
            40_000,
            [10_500, 11_000, 11_500, 12_000, 12_500],
            [5000, 6000, 7000, 8000, 9000, 10_000],
        ),
    ],
)
def test_sizes_of_the_even_data_sets(
    name: str, labeled: int, unlabeled: list[int], test: list[int]
) -> None:
    composition = composed(name)
    assert sizes(composition, "labeled") == [labeled] + [0] * len(unlabeled)
    assert sizes(composition, "unlabeled") == [0, *unlabeled]
    assert sizes(composition, "test") == test


@pytest.mark.parametrize(
    ("name", "base", "others"),
    [
        ("happy_cub", 500, [500, 600, 700, 800, 900]),
        ("happy_cars", 588, [570, 684, 798, 912, 1116]),  # published 568, 678, 798, 911, 1116
        ("happy_aircraft", 500, [550, 650, 750, 850, 950]),
    ],
)
def test_sizes_of_the_fine_grained_data_sets(name: str, base: int, others: list[int]) -> None:
    composition, counts = composed(name), TRAIN_COUNTS[name]
    for plan, expected in zip(composition.stages[1:], others, strict=True):
        assert plan.class_counts[: composition.num_base].sum() == base
        assert plan.class_counts[composition.num_base :].sum() == expected
    labeled = composition.stages[0].class_counts
    of_base = counts[composition.class_order[: composition.num_base]]
    assert labeled.tolist() == [int(0.8 * n) for n in of_base]
    assert set(labeled) <= {"happy_cub": {23, 24}, "happy_aircraft": {52, 53}}.get(
        name, set(labeled)
    )


def test_cars_with_short_classes_takes_all_there_is() -> None:
    counts = np.full(196, 40)
    counts[[39, 118]] = 29  # novel at stage 1
    train = np.repeat(np.arange(196), counts)
    stages = compose(train, np.arange(196), read("happy_cars"), 0).stages
    assert stages[1].class_counts[98:].sum() == 568
    assert [len(plan.novel_rows) for plan in stages] == [98, 19, 19, 19, 19, 22]


def test_sizes_and_subset_of_imagenet100() -> None:
    composition, counts = composed("happy_imagenet100"), TRAIN_COUNTS["happy_imagenet100"]
    chosen = np.sort(composition.class_order)
    assert len(chosen) == 100 and chosen[:8].tolist() == [1, 14, 27, 31, 45, 55, 77, 103]
    assert composition.class_order[:50].tolist() == chosen[:50].tolist()
    assert sizes(composition, "labeled")[0] == sum(int(0.8 * n) for n in counts[chosen[:50]])
    assert sizes(composition, "test") == [2500, 3000, 3500, 4000, 4500, 5000]
    for plan in composition.stages[1:]:
        novel = np.minimum(counts[composition.class_order[list(plan.novel_rows)]], 1000)
        assert plan.class_counts[:50].sum() == 3000
        assert plan.class_counts[50 : plan.num_known].tolist() == [60] * (plan.num_known - 50)
        assert plan.class_counts[plan.num_known :].tolist() == novel.tolist()


HUNDRED = [78, 61, 60, 91, 52, 77, 88, 81, 72, 54, 83, 85, 76, 84, 68, 57, 64, 95, 98, 79]


@pytest.mark.parametrize(
    ("name", "first"),
    [
        ("happy_cifar100", HUNDRED),
        ("happy_cifar100_10stages", HUNDRED),
        ("happy_imagenet100", HUNDRED),
        ("happy_tiny_imagenet", [126, 186, 102, 155, 175, 193]),
        ("happy_cub", [52, 170, 3, 109, 148, 185, 32]),
        ("happy_aircraft", [70, 31, 26, 88, 8]),
        ("happy_cars", [39, 118, 5, 74, 91]),
    ],
)
def test_novel_classes_come_in_the_published_order(name: str, first: list[int]) -> None:
    composition = composed(name)
    # ImageNet-100 states places among its 100 sorted ids; elsewhere id and place are the same
    places = np.searchsorted(np.sort(composition.class_order), composition.class_order)
    start = composition.num_base
    assert places[start : start + len(first)].tolist() == first
    assert len(set(places.tolist())) == len(places)
    natural = name not in ("happy_cub", "happy_cars", "happy_aircraft")
    assert (places[:start].tolist() == list(range(start))) is natural


@pytest.mark.parametrize(
    ("name", "file"),
    [("happy_cub", "cub"), ("happy_cars", "scars"), ("happy_aircraft", "aircraft")],
)
def test_base_classes_are_the_known_list_in_its_order(shared: Path, name: str, file: str) -> None:
    lines = (shared / "splits" / f"{file}.txt").read_text(encoding="utf-8").splitlines()
    (known,) = (line.split()[1:] for line in lines if line.startswith("known"))
    assert read(name).base_classes == tuple(int(word) for word in known)


@pytest.mark.parametrize("name", TRAIN_COUNTS)
def test_labeled_images_never_come_back(name: str) -> None:
    first, *later = composed(name).stages
    for plan in later:
        assert len(np.unique(plan.indices)) == len(plan.indices)
        assert not np.isin(plan.indices, first.indices).any()


@pytest.mark.parametrize(
    ("name", "labeled", "unlabeled", "test"),
    [
        ("digits", 503, [150, 160, 170, 180, 190], [270, 325, 379, 433, 485, 539]),
        ("digits_2per", 402, [240, 260, 280], [216, 325, 433, 539]),
    ],
)
def test_sizes_of_digits_are_those_of_the_baseline_runs(
    name: str, labeled: int, unlabeled: list[int], test: list[int]
) -> None:
    arrays = read_digits()
    composition = compose(arrays.train_targets, arrays.test_targets, read(name), seed=0)
    assert sizes(composition, "labeled")[0] == labeled
    assert sizes(composition, "unlabeled")[1:] == unlabeled
    assert sizes(composition, "test") == test
