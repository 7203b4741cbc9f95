"""The composer of streams against its rules and against the released draw; then the scenario."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hydra.utils import instantiate
from omegaconf import OmegaConf

from cgcd.models import InputSpec
from cgcd.vocabulary import InputError
from scenarios.online import OnlineProtocol, compose_online

SMALL = OnlineProtocol(num_known=4)
INPUTS = InputSpec(size=8, crop_pct=0.8)
PROTOCOLS = Path(__file__).resolve().parents[2] / "configs" / "protocol"


def targets(num_classes: int, per_class: int, seed: int = 0) -> np.ndarray:
    """Class ids in random order, slightly uneven: class c has per_class + c % 3 images."""
    counts = per_class + np.arange(num_classes) % 3
    return np.random.default_rng(seed).permutation(np.repeat(np.arange(num_classes), counts))


TARGETS = targets(11, 20)


@contextmanager
def global_seed(seed: int) -> Iterator[None]:
    """NumPy's global generator, as released code uses it; put back afterwards."""
    state = np.random.get_state()
    np.random.seed(seed)
    try:
        yield
    finally:
        np.random.set_state(state)


@pytest.mark.parametrize("order", ["fixed", "shuffled"])
@pytest.mark.parametrize("draw", ["per_class", "uniform"])
@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"num_novel": 3},
        {"num_novel": 0},
        {"known_classes": (9, 2, 5, 0), "novel_classes": (10, 1, 3)},
        {"known_classes": (9, 2, 5, 0), "novel_classes": (10, 1, 3), "num_novel": 2},
        {"labeled_fraction": 0.75},
    ],
)
def test_every_image_of_a_used_class_is_labeled_or_arrives_once(
    changes: dict, draw: str, order: str
) -> None:
    protocol = replace(SMALL, labeled_draw=draw, order=order, **changes)
    composition = compose_online(TARGETS, protocol, seed=5)
    classes = composition.class_order.tolist()
    labeled, stream = composition.labeled.tolist(), composition.stream.tolist()
    assert sorted(labeled + stream) == np.flatnonzero(np.isin(TARGETS, classes)).tolist()
    assert labeled == sorted(labeled)
    assert (stream == sorted(stream)) is (order == "fixed")
    assert [classes[row] for row in composition.labels] == TARGETS[labeled].tolist()
    assert [classes[row] for row in composition.truth] == TARGETS[stream].tolist()
    assert set(composition.labels.tolist()) == set(range(4))

    listed = "known_classes" in changes
    known, novel = ([9, 2, 5, 0], [10, 1, 3]) if listed else ([0, 1, 2, 3], list(range(4, 11)))
    assert classes == known + novel[: changes.get("num_novel")]
    share = changes.get("labeled_fraction", 0.5)
    counts = [int((TARGETS == c).sum()) for c in known]
    if draw == "per_class":
        taken = Counter(TARGETS[labeled].tolist())
        assert [taken[c] for c in known] == [int(share * n) for n in counts]
    else:
        assert len(labeled) == int(share * sum(counts))


@pytest.mark.parametrize("seed", [0, 3])
def test_the_uniform_draw_is_the_released_one(seed: int) -> None:
    """Known classes picked out image by image, then a draw by the global legacy generator."""
    for known in ("natural", (7, 2, 9, 4)):
        protocol = replace(
            SMALL,
            labeled_draw="uniform",
            split_seed=seed,
            known_classes=known,
            labeled_fraction=0.4,
        )
        wanted = range(4) if known == "natural" else known
        images = [index for index, target in enumerate(TARGETS) if target in wanted]
        with global_seed(seed):
            places = np.random.choice(
                range(len(images)), replace=False, size=(int(0.4 * len(images)),)
            )
        expected = sorted(images[place] for place in places)
        for run_seed in (0, 1):
            assert compose_online(TARGETS, protocol, run_seed).labeled.tolist() == expected
    from_run = compose_online(TARGETS, replace(SMALL, labeled_draw="uniform"), seed)
    own = compose_online(TARGETS, replace(SMALL, labeled_draw="uniform", split_seed=seed), 77)
    assert from_run.hash == own.hash


def test_published_sizes_of_an_even_data_set() -> None:
    cifar = np.random.default_rng(0).permutation(np.repeat(np.arange(100), 500))
    protocol = OnlineProtocol(num_known=80, labeled_draw="uniform", split_seed=0)
    described = compose_online(cifar, protocol, 0).describe()
    assert (described["labeled"], described["stream"]) == (20_000, 30_000)
    assert (described["known_in_stream"], described["novel_in_stream"]) == (20_000, 10_000)


@pytest.mark.parametrize(
    ("name", "known_counts", "novel_counts", "sizes"),
    [
        ("online_cifar10", [5000] * 5, [5000] * 5, (12_500, 37_500)),
        ("online_food101", [750] * 51, [750] * 50, (19_125, 56_625)),
        ("online_omniglot", [20] * 100, [20] * 1523, (1000, 3000)),
        ("online_pets", [99] * 16 + [100] * 3, [100] * 17 + [96], (942, 2738)),  # plausible counts
    ],
)
def test_sizes_of_the_protocol_files(
    name: str, known_counts: list[int], novel_counts: list[int], sizes: tuple[int, int]
) -> None:
    counts = known_counts + novel_counts
    protocol = instantiate(OmegaConf.load(PROTOCOLS / f"{name}.yaml"))
    composition = compose_online(np.repeat(np.arange(len(counts)), counts), protocol, 1)
    assert (len(composition.labeled), len(composition.stream)) == sizes


@pytest.mark.parametrize(("name", "file"), [("online_cub", "cub"), ("online_cars", "scars")])
def test_classes_are_the_lists_in_their_order(shared: Path, name: str, file: str) -> None:
    text = (shared / "splits" / f"{file}.txt").read_text(encoding="utf-8")
    lists = {words[0]: [*map(int, words[1:])] for words in map(str.split, text.splitlines()[1:])}
    novel = [c for part in ("hard", "medium", "easy") for c in lists[f"unknown_{part}"]]
    protocol = instantiate(OmegaConf.load(PROTOCOLS / f"{name}.yaml"))
    images = np.repeat(np.arange(len(lists["known"]) + len(novel)), 30)
    composition = compose_online(images, protocol, 0)
    assert composition.class_order.tolist() == lists["known"] + novel


def test_labels_and_order_hang_on_their_own_seeds() -> None:
    shuffled = replace(SMALL, order="shuffled")
    first, second = (compose_online(TARGETS, shuffled, seed) for seed in (1, 2))
    assert first.hash == compose_online(TARGETS.astype(np.uint8), shuffled, 1).hash != second.hash
    assert first.labeled.tolist() != second.labeled.tolist()

    same_labels = replace(shuffled, split_seed=1)
    third = compose_online(TARGETS, same_labels, 2)
    np.testing.assert_array_equal(third.labeled, first.labeled)
    assert sorted(third.stream) == sorted(first.stream)
    assert third.stream.tolist() != first.stream.tolist()
    assert compose_online(TARGETS, replace(same_labels, order_seed=1), 2).hash == first.hash

    fixed = replace(same_labels, order="fixed")
    assert compose_online(TARGETS, fixed, 2).hash == compose_online(TARGETS, fixed, 3).hash


def test_every_order_of_arrival_is_as_likely() -> None:
    protocol = OnlineProtocol(num_known=1, labeled_fraction=0.25, order="shuffled", split_seed=0)
    drawn = [compose_online(np.zeros(4, int), protocol, seed).stream for seed in range(3000)]
    orders = Counter(tuple(np.argsort(stream).tolist()) for stream in drawn)
    assert len(orders) == 6
    np.testing.assert_allclose(np.array(list(orders.values())) / len(drawn), 1 / 6, atol=0.03)


def test_the_hash_covers_everything_and_is_the_same_everywhere() -> None:
    composition = compose_online(np.arange(231) * 5 % 11, replace(SMALL, order="shuffled"), 0)
    assert composition.hash == "25ec77d6b922a0f25e308eca2572facbe9d10d9afce2b54d0cf44428ce56707b"
    for name in ("labeled", "labels", "stream", "truth", "class_order"):
        array = getattr(composition, name).copy()
        array[0] += 1
        assert replace(composition, **{name: array}).hash != composition.hash
    assert replace(composition, num_known=5).hash != composition.hash


def test_the_description_is_plain_and_adds_up() -> None:
    composition = compose_online(TARGETS, replace(SMALL, num_novel=5), 0)
    described = composition.describe()
    OmegaConf.create(described)  # accepts plain data only
    assert described["labeled"] + described["stream"] == (TARGETS < 9).sum()
    assert described["known_in_stream"] + described["novel_in_stream"] == described["stream"]
    assert described["novel_in_stream"] == ((TARGETS >= 4) & (TARGETS < 9)).sum()
    assert (described["known_classes"], described["novel_classes"]) == (4, 5)
    base, stream = described["stages"]
    assert base["novel_classes"] == [0, 1, 2, 3] and stream["novel_classes"] == [4, 5, 6, 7, 8]
    for row in (base, stream):
        assert sum(row["images_per_class"].values()) == row["labeled"] + row["unlabeled"]
    assert base["labeled"] == described["labeled"] and stream["unlabeled"] == described["stream"]


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("num_known", 0),
        ("num_known", "four"),
        ("num_novel", -1),
        ("num_novel", 2.5),
        ("labeled_fraction", 0),
        ("labeled_fraction", 1.1),
        ("labeled_fraction", float("nan")),
        ("labeled_fraction", "half"),
        ("labeled_draw", "stratified"),
        ("labeled_draw", None),
        ("split_seed", -1),
        ("split_seed", 2**32),
        ("order_seed", 0.5),
        ("order", "random"),
        ("known_classes", "shuffled"),
        ("known_classes", [0, 1, 2, 2]),
        ("known_classes", []),
        ("novel_classes", "shuffled"),
        ("novel_classes", [4, -1]),
    ],
)
def test_a_bad_value_is_refused_by_name(field: str, value: object) -> None:
    with pytest.raises(InputError, match=rf"^protocol\.{field} is .*; wanted .*: .+\.{field}="):
        replace(SMALL, **{field: value})


def test_the_message_is_one_a_user_can_act_on() -> None:
    with pytest.raises(InputError) as error:
        replace(SMALL, order="random")
    assert str(error.value) == (
        "protocol.order is 'random'; wanted fixed or shuffled: set scenario.protocol.order=fixed"
    )
    with pytest.raises(InputError, match=r"num_known is 4; wanted as many as the 3 of known_cla"):
        replace(SMALL, known_classes=[0, 1, 2])
    lists = OmegaConf.create({"known_classes": [3, 1], "novel_classes": [2]})
    assert OnlineProtocol(num_known=2, **lists).known_classes == (3, 1)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"num_known": 12}, r"protocol\.num_known is 12; wanted at most the data's 11"),
        ({"num_novel": 8}, r"protocol\.num_novel is 8; wanted at most the 7"),
        ({"known_classes": [0, 1, 2, 11]}, r"protocol\.known_classes .* class 11;"),
        ({"novel_classes": [3, 5]}, r"protocol\.novel_classes .* class 3; .* no known classes"),
        ({"labeled_fraction": 0.04}, r"labeled_fraction .* known class 0; .*known_classes$"),
        (
            {"labeled_fraction": 0.02, "labeled_draw": "uniform"},
            r"labeled_fraction .* of known class .*; wanted .*raise .*labeled_fraction or .*_seed$",
        ),
        (
            {"num_novel": 0, "labeled_fraction": 1.0},
            r"labeled_fraction .* not labeled: set .*=0\.5",
        ),
    ],
)
def test_a_protocol_that_does_not_fit_the_data_is_refused(changes: dict, message: str) -> None:
    with pytest.raises(InputError, match=message):
        compose_online(TARGETS, replace(SMALL, **changes), 0)


def test_an_empty_class_is_named_unless_it_is_unused() -> None:
    holes = TARGETS[~np.isin(TARGETS, (2, 6))]
    with pytest.raises(InputError, match=r"class 2 has 0 training .*known_classes.*novel_classes"):
        compose_online(holes, SMALL, 0)
    listed = replace(SMALL, known_classes=(0, 1, 3, 4), novel_classes=(7, 5))
    assert compose_online(holes, listed, 0).class_order.tolist() == [0, 1, 3, 4, 7, 5]


@pytest.mark.parametrize("bad", [np.empty(0, int), np.zeros((3, 2), int), np.array([0.5])])
def test_targets_that_are_no_class_ids_are_refused(bad: np.ndarray) -> None:
    with pytest.raises(InputError, match=r"^targets .*wanted"):
        compose_online(bad, SMALL, 0)


def test_a_seed_that_is_none_is_refused() -> None:
    for seed in (-1, 2**64, None, True):
        with pytest.raises(InputError, match=r"^seed is"):
            compose_online(TARGETS, SMALL, seed)
    compose_online(TARGETS, SMALL, 2**64 - 1)
    with pytest.raises(InputError, match=r"^seed is .*uniform .*split_seed=0$"):
        compose_online(TARGETS, replace(SMALL, labeled_draw="uniform"), 2**40)
