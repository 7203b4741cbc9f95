"""The composer against its rules, one by one, and against a slow count of what it drew."""

from __future__ import annotations

import time
from collections import Counter
from dataclasses import replace

import numpy as np
import pytest
from omegaconf import OmegaConf

from cgcd.vocabulary import UNLABELED, InputError
from scenarios.draws import draw_without_replacement
from scenarios.protocol import Composition, Protocol, compose

SMALL = Protocol(num_base=4, num_stages=3, samples_per_novel=12, samples_per_known=3)


def targets(num_classes: int, per_class: int, seed: int = 0) -> np.ndarray:
    """Class ids in random order, slightly uneven: class c has per_class + c % 3 images."""
    counts = per_class + np.arange(num_classes) % 3
    return np.random.default_rng(seed).permutation(np.repeat(np.arange(num_classes), counts))


TRAIN, TEST = targets(11, 20), targets(11, 6, seed=1)


def same(first: Composition, second: Composition) -> bool:
    return first.hash == second.hash


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"base_classes": "shuffled", "novel_order": "shuffled", "order_seed": 3},
        {"base_classes": (9, 2, 5, 0), "novel_order": (10, 1, 3), "novel_per_stage": 1},
        {"subset_size": 8, "subset_seed": 4, "novel_per_stage": (2, 1, 1)},
    ],
)
def test_every_rule_of_the_draw_holds_by_a_slow_count(changes: dict) -> None:
    protocol = replace(SMALL, **changes)
    composition = compose(TRAIN, TEST, protocol, seed=5)
    order = composition.class_order.tolist()
    base, known, labeled, test_so_far = order[:4], [], set(), []
    for plan in composition.stages:
        novel = [order[row] for row in plan.novel_rows]
        drawn = Counter(TRAIN[plan.indices].tolist())
        assert plan.num_known == len(known) == plan.novel_rows.start
        assert len(set(plan.indices.tolist())) == len(plan.indices)
        assert (np.diff(plan.indices) > 0).all()
        for row, original in enumerate(order[: plan.novel_rows.stop]):
            num_images = int((TRAIN == original).sum())
            if plan.index == 0:
                wanted = int(0.8 * num_images)
            elif original in base:
                wanted = min(3, num_images - int(0.8 * num_images))
            else:
                wanted = 12 if original in novel else 3
            assert drawn.pop(original) == wanted == plan.class_counts[row]
        assert not drawn  # nothing of any other class
        if plan.index == 0:
            labeled = set(plan.indices.tolist())
            assert [order[row] for row in plan.labels] == TRAIN[plan.indices].tolist()
        else:
            assert (plan.labels == UNLABELED).all()
            assert not labeled & set(plan.indices.tolist())
        assert set(TEST[plan.test_indices].tolist()) == set(novel)
        known += novel
        test_so_far += plan.test_indices.tolist()
        assert sorted(test_so_far) == np.flatnonzero(np.isin(TEST, known)).tolist()
    assert len(composition.stages) == 4


def test_the_last_stage_takes_the_remainder_and_a_number_leaves_classes_unused() -> None:
    sizes = [len(plan.novel_rows) for plan in compose(TRAIN, TEST, SMALL, 0).stages]
    assert sizes == [4, 2, 2, 3]
    composition = compose(TRAIN, TEST, replace(SMALL, novel_per_stage=2), 0)
    assert composition.class_order.tolist() == list(range(10))
    assert composition.rows(np.array([[9, 10], [0, 99]])).tolist() == [[9, -1], [0, -1]]


def test_a_stage_depends_on_seed_and_stage_alone() -> None:
    protocol = replace(SMALL, novel_per_stage=2)
    full = compose(TRAIN, TEST, protocol, 7)
    assert same(full, compose(TRAIN.copy(), TEST.copy(), protocol, 7))
    short = compose(TRAIN, TEST, replace(protocol, num_stages=2), 7)
    for plan, alone in zip(full.stages, short.stages, strict=False):
        np.testing.assert_array_equal(plan.indices, alone.indices)
    other = compose(TRAIN, TEST, protocol, 8)
    for plan, differing in zip(full.stages, other.stages, strict=True):
        assert plan.indices.tolist() != differing.indices.tolist()
        np.testing.assert_array_equal(plan.test_indices, differing.test_indices)


def test_draws_of_two_stages_are_independent_and_a_novel_class_may_repeat_its_own() -> None:
    protocol = Protocol(num_base=1, num_stages=2, samples_per_novel=50, samples_per_known=10)
    train = np.repeat([0, 1, 2], 100)
    stages = compose(train, np.arange(3), protocol, 0).stages
    drawn = [plan.indices[train[plan.indices] == 1] for plan in stages[1:]]
    assert 0 < np.isin(drawn[1], drawn[0]).sum() < 10  # about half of the ten came before
    rest = [plan.indices[train[plan.indices] == 0] for plan in stages[1:]]
    assert 0 < np.isin(rest[1], rest[0]).sum() < 10  # 10 of a pool of 20, anew


def test_all_images_where_there_are_fewer_than_wanted() -> None:
    protocol = replace(SMALL, samples_per_novel=None, samples_per_known=10**30)
    for plan in compose(TRAIN, TEST, protocol, 0).stages[1:]:
        for row in range(plan.novel_rows.stop):
            whole = int((TRAIN == row).sum())
            assert plan.class_counts[row] == (whole - int(0.8 * whole) if row < 4 else whole)
    everything = replace(SMALL, labeled_fraction=1)
    assert compose(TRAIN, TEST, everything, 0).stages[1].class_counts.tolist() == [0] * 4 + [12] * 2


def test_draws_are_uniform() -> None:
    counts, taken = np.array([5, 0, 8]), np.array([2, 0, 3])
    draws = [draw_without_replacement(counts, taken, 0, stream) for stream in range(4000)]
    hits = np.bincount(np.concatenate(draws), minlength=13) / len(draws)
    np.testing.assert_allclose(hits, [2 / 5] * 5 + [3 / 8] * 8, atol=0.03)


def test_the_hash_covers_everything_and_is_the_same_everywhere() -> None:
    train, test = np.arange(231) * 5 % 11, np.arange(66) % 11
    composition = compose(train, test, SMALL, 0)
    assert composition.hash == "2608f1da6654408dd5b9319217dc96ecb07026a587fde3a1feb7c84fd2e12247"
    assert same(composition, compose(train.astype(np.int16), test.astype(np.uint8), SMALL, 0))
    for plan in composition.stages:
        for name in ("indices", "labels", "test_indices"):
            array = getattr(plan, name).copy()
            array[0] += 1
            stages = list(composition.stages)
            stages[plan.index] = replace(plan, **{name: array})
            assert not same(composition, replace(composition, stages=tuple(stages)))
    turned = replace(composition, class_order=composition.class_order[::-1])
    assert not same(composition, turned)


def test_the_description_is_plain_and_adds_up() -> None:
    composition = compose(TRAIN, TEST, SMALL, 0)
    rows = composition.describe()
    OmegaConf.create(rows)  # accepts plain data only
    assert [row["labeled"] > 0 for row in rows] == [True, False, False, False]
    assert [row["novel_classes"] for row in rows] == [[0, 1, 2, 3], [4, 5], [6, 7], [8, 9, 10]]
    assert rows[3]["test"] == len(TEST)
    for row in rows:
        assert sum(row["images_per_class"].values()) == row["labeled"] + row["unlabeled"]
    assert composition.row_of_class == {c: c for c in range(11)}


def test_lists_of_the_configuration_become_tuples() -> None:
    lists = OmegaConf.create({"base_classes": [3, 1], "novel_per_stage": [1, 2]})
    protocol = Protocol(num_base=2, num_stages=2, samples_per_novel=1, samples_per_known=1, **lists)
    assert protocol.base_classes == (3, 1) and protocol.novel_per_stage == (1, 2)
    hash(protocol)


def test_scale() -> None:
    train = np.random.default_rng(0).integers(0, 10**3, 10**5)
    protocol = Protocol(num_base=500, num_stages=100, samples_per_novel=80, samples_per_known=10)
    start = time.perf_counter()
    compose(train, np.arange(10**3), protocol, 0)
    assert time.perf_counter() - start < 2  # 0.2 s on a free core


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("num_base", 0),
        ("num_base", "four"),
        ("num_base", True),
        ("num_stages", 0),
        ("num_stages", 2.5),
        ("novel_per_stage", 0),
        ("novel_per_stage", "equal"),
        ("novel_per_stage", [1, 2]),
        ("novel_per_stage", [1, 2, 0]),
        ("labeled_fraction", 0),
        ("labeled_fraction", 1.1),
        ("labeled_fraction", float("nan")),
        ("labeled_fraction", "0.8"),
        ("samples_per_novel", 0),
        ("samples_per_known", -1),
        ("samples_per_known", None),
        ("base_classes", "random"),
        ("base_classes", [0, 1, 2, 2]),
        ("base_classes", []),
        ("base_classes", 4),
        ("novel_order", "random"),
        ("novel_order", [4, -1]),
        ("novel_order", [4.5, 5]),
        ("order_seed", -1),
        ("order_seed", 2**32),
        ("subset_size", 0),
        ("subset_seed", None),
    ],
)
def test_a_bad_value_is_refused_by_name(field: str, value: object) -> None:
    with pytest.raises(InputError, match=rf"^protocol\.{field} is .*; wanted .*: .+\.{field}="):
        replace(SMALL, **{field: value})


def test_the_message_is_one_a_user_can_act_on() -> None:
    with pytest.raises(InputError) as error:
        replace(SMALL, num_stages=0)
    assert str(error.value) == (
        "protocol.num_stages is 0; wanted at least 1 continual stage:"
        " set scenario.protocol.num_stages=5"
    )
    with pytest.raises(InputError, match=r"num_base is 4; wanted as many as the 3 of base_classes"):
        replace(SMALL, base_classes=[0, 1, 2])


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"num_base": 11}, r"protocol\.num_base is 11; wanted at least 1 of the 11 classes left"),
        ({"num_base": 9}, r"protocol\.num_base is 9"),
        ({"num_stages": 10**12}, r"protocol\.num_base"),
        ({"novel_per_stage": 3}, r"protocol\.novel_per_stage is 3; wanted at most 7"),
        ({"novel_per_stage": 10**30}, r"protocol\.novel_per_stage"),
        ({"novel_order": [4, 5]}, r"protocol\.num_stages is 3; wanted at most the 2"),
        (
            {"novel_order": [3, 5, 6]},
            r"protocol\.novel_order .* class 3; wanted .* no base classes",
        ),
        ({"novel_order": [5, 6, 10**30]}, r"protocol\.novel_order .* class 10+;"),
        ({"base_classes": [0, 1, 2, 11]}, r"protocol\.base_classes .* class 11;"),
        ({"subset_size": 12}, r"protocol\.subset_size is 12; wanted at most the data's 11"),
        ({"labeled_fraction": 0.04}, r"protocol\.labeled_fraction .* base class 0;"),
    ],
)
def test_a_protocol_that_does_not_fit_the_data_is_refused(changes: dict, message: str) -> None:
    with pytest.raises(InputError, match=message):
        compose(TRAIN, TEST, replace(SMALL, **changes), 0)


def test_an_empty_class_is_named_unless_it_is_unused() -> None:
    train = TRAIN[TRAIN != 6]
    with pytest.raises(InputError, match=r"class 6 has 0 training images .*novel_order"):
        compose(train, TEST, SMALL, 0)
    with pytest.raises(InputError, match="class 2 has 0 test images"):
        compose(TRAIN, TEST[TEST != 2], SMALL, 0)
    without = replace(SMALL, novel_order=(4, 5, 7))
    assert 6 not in compose(train, TEST, without, 0).class_order


@pytest.mark.parametrize(
    "bad",
    [np.empty(0, int), np.zeros((3, 2), int), np.array([0.0, 1.0]), np.array([-1, 0]), [2**40]],
)
def test_targets_that_are_no_class_ids_are_refused(bad: np.ndarray) -> None:
    with pytest.raises(InputError, match=r"^train_targets .*wanted"):
        compose(bad, TEST, SMALL, 0)
    with pytest.raises(InputError, match=r"^test_targets .*wanted"):
        compose(TRAIN, bad, SMALL, 0)


@pytest.mark.parametrize("seed", [-1, 2**64, 0.5, None, True])
def test_a_seed_that_is_none_is_refused(seed: object) -> None:
    with pytest.raises(InputError, match=r"^seed is"):
        compose(TRAIN, TEST, SMALL, seed)
