"""The protocols of GCD, SimGCD, ProtoGCD, SMILE and PHE on label files of the true size.

The data sets are not here: labels are made with the published totals and as many images of known
classes as the published numbers of labeled ones say, spread evenly. Happy's protocols and those of
digits are in `test_protocols.py`.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hydra.utils import instantiate
from omegaconf import OmegaConf

from scenarios import DATASETS, compose, compose_online, compose_single_stage

FOLDER = Path(__file__).resolve().parents[2] / "configs" / "protocol"
IMAGENET100 = 127_200  # images of its 100 classes, 31.9k + 95.3k


def read(name: str) -> Any:
    return instantiate(OmegaConf.load(FOLDER / f"{name}.yaml"))


def spread(classes: list[int], total: int) -> np.ndarray:
    """`total` labels of these classes, class after class, as evenly as it goes."""
    counts = np.full(len(classes), total // len(classes))
    counts[: total % len(classes)] += 1
    return np.repeat(classes, counts)


def label_file(
    protocol: Any, num_classes: int, total: int, num_known: int, mixed: bool
) -> np.ndarray:
    """Labels of a training part, in the order of classes or, as Stanford Cars has them, mixed."""
    known, novel = (
        list(range(protocol.num_known)) if part == "natural" else list(part)
        for part in (protocol.known_classes, protocol.novel_classes)
    )
    if protocol.novel_classes == "natural":
        novel = sorted(set(range(num_classes)) - set(known))
    labels = np.sort(np.concatenate((spread(known, num_known), spread(novel, total - num_known))))
    return np.random.default_rng(0).permutation(labels) if mixed else labels


# protocol, data set, images of known classes, published labeled and unlabeled, digits they have
CUTS = [
    ("gcd_cifar10", "cifar10", 25_000, 12_500, 37_500, 0),
    ("gcd_cifar100", "cifar100", 40_000, 20_000, 30_000, 0),
    ("gcd_cub", "cub", 2997, 1498, 4496, 0),
    ("gcd_cars", "cars", 4000, 2000, 6144, 0),
    ("gcd_aircraft", "aircraft", 3334, 1700, 5000, 2),
    ("gcd_herbarium19", "herbarium19", 17_800, 8900, 25_300, 2),
    ("gcd_imagenet100", "imagenet100", 63_800, 31_900, 95_300, 2),
    ("gcd_imagenet", "imagenet", 642_289, 321_000, 960_000, 3),
    ("online_cifar10", "cifar10", 25_000, 12_500, 37_500, 0),
    ("online_cifar100", "cifar100", 40_000, 20_000, 30_000, 0),
    ("online_cub", "cub", 2997, 1498, 4496, 0),
    ("online_cars", "cars", 4000, 2000, 6144, 0),
    ("online_aircraft", "aircraft", 3334, 1700, 5000, 2),
    ("online_herbarium19", "herbarium19", 17_800, 8900, 25_300, 2),
    ("online_imagenet100", "imagenet100", 63_800, 31_900, 95_300, 2),
    ("online_food101", "food101", 38_250, 19_125, 56_625, 0),
    ("online_pets", "pets", 1884, 942, 2738, 0),
    ("online_inat_fungi", "inat_fungi", 3600, 1800, 5800, 2),
    ("online_inat_arachnida", "inat_arachnida", 3350, 1700, 4300, 2),
    ("online_inat_animalia", "inat_animalia", 3000, 1500, 5100, 2),
    ("online_inat_mollusca", "inat_mollusca", 4750, 2400, 7000, 2),
]


@pytest.mark.parametrize(
    ("name", "data", "num_known", "labeled", "unlabeled", "thousands"),
    CUTS,
    ids=[case[0] for case in CUTS],
)
def test_a_cut_has_the_published_sizes_and_draw(
    name: str, data: str, num_known: int, labeled: int, unlabeled: int, thousands: int
) -> None:
    protocol = read(name)
    entry = DATASETS["imagenet" if data == "imagenet100" else data]
    total = IMAGENET100 if data == "imagenet100" else entry.num_train
    targets = label_file(protocol, entry.num_classes, total, num_known, mixed=data == "cars")
    if name.startswith("gcd_"):
        found = compose_single_stage(targets, targets, protocol, seed=3)
        others = found.unlabeled
    else:
        found = compose_online(targets, protocol, seed=3)
        others = found.stream
        assert (np.diff(others) > 0).all()  # in the order of the data set
    assert len(found.labeled) + len(others) == total
    if thousands:  # published in thousands, with one decimal or none
        for count, wanted in ((len(found.labeled), labeled), (len(others), unlabeled)):
            assert abs(count - wanted) <= (500 if wanted > 300_000 else 120), (count, wanted)
    else:
        assert (len(found.labeled), len(others)) == (labeled, unlabeled)
    # the draw of the released codes: the first half of a permutation with seed 0, whatever ours is
    rows = found.class_order.tolist()
    known = np.flatnonzero(np.isin(targets, rows[: protocol.num_known]))
    drawn = known[np.random.RandomState(0).permutation(len(known))[: len(known) // 2]]
    assert found.labeled.tolist() == np.sort(drawn).tolist()
    assert [rows[label] for label in found.labels] == targets[found.labeled].tolist()
    if isinstance(protocol.known_classes, str):
        assert rows == list(range(entry.num_classes))


@pytest.mark.parametrize("data", ["cars", "cub", "aircraft", "herbarium19", "imagenet100"])
def test_stages_and_streams_have_the_same_known_classes(data: str) -> None:
    single, online = read(f"gcd_{data}"), read(f"online_{data}")
    assert single.known_classes == online.known_classes
    assert single.novel_classes == online.novel_classes
    if data not in ("herbarium19", "imagenet100"):
        assert read(f"happy_{data}").base_classes == single.known_classes


@pytest.mark.parametrize(
    ("name", "known", "total"),
    [
        ("cub", 100, 200),
        ("cars", 98, 196),
        ("aircraft", 50, 100),
        ("herbarium19", 341, 683),
        ("imagenet", 500, 1000),
        ("imagenet100", 50, 100),
        ("inat_fungi", 61, 121),
        ("inat_arachnida", 28, 56),
        ("inat_animalia", 39, 77),
        ("inat_mollusca", 47, 93),
        ("food101", 51, 101),
        ("pets", 19, 37),
    ],
)
def test_class_counts_are_the_published_ones(name: str, known: int, total: int) -> None:
    kind = "gcd" if name == "imagenet" else "online"
    assert read(f"{kind}_{name}").num_known == known
    if name != "imagenet100":
        assert DATASETS[name].num_classes == total


def stages(name: str, train: np.ndarray, per_class_test: int) -> list[dict[str, Any]]:
    classes = np.arange(len(train))
    targets, tests = np.repeat(classes, train), np.repeat(classes, per_class_test)
    return compose(targets, tests, read(name), seed=1).describe()


def test_ten_stages_of_tiny_imagenet() -> None:
    rows = stages("happy_tiny_imagenet_10stages", np.full(200, 500), 50)
    assert [row["labeled"] for row in rows] == [40_000] + [0] * 10
    assert [row["unlabeled"] for row in rows[1:]] == list(range(6500, 8751, 250))
    assert [row["test"] for row in rows] == list(range(5000, 10_001, 500))
    order = [c for row in rows[1:] for c in row["novel_classes"]]
    assert order[:6] == [126, 186, 102, 155, 175, 193] and len(order) == 100


@pytest.mark.parametrize(
    ("name", "counts", "labeled", "unlabeled"),
    [
        ("food101", [750] * 101, 30_600, [7275, 7525, 7775, 8025, 8275]),
        ("pets", [99] * 18 + [100] * 18 + [98], 1502, [670, 730, 790]),
        ("mnist", [6000] * 10, 24_000, [5250, 5500, 5750, 6000, 6250]),
        ("herbarium19", [50] * 683, 341 * 40, [341 * 2 + 114 * (50 + 2 * t) for t in range(3)]),
    ],
)
def test_our_own_stages_have_the_stated_sizes(
    name: str, counts: list[int], labeled: int, unlabeled: list[int]
) -> None:
    rows = stages(name, np.array(counts), 10)
    assert [row["labeled"] for row in rows] == [labeled] + [0] * len(unlabeled)
    assert [row["unlabeled"] for row in rows[1:]] == unlabeled
    assert sum(len(row["novel_classes"]) for row in rows) == len(counts)
