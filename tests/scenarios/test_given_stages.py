"""Streams that somebody has: who is where, what is told, and what is refused."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from cgcd.vocabulary import UNLABELED, InputError
from scenarios import GivenStages, given_stages_scenario
from scenarios.given_stages import held_out_places, rows_of_names

SAMPLES = np.random.default_rng(0).normal(size=(20, 3)).astype(np.float32)
NAMES = ["a"] * 4 + ["b"] * 4 + ["z"] * 3 + ["a"] * 3 + ["c", "z", "d", "b", "c", "d"]
STAGES = (np.arange(8, 14), np.arange(14, 20))


def given(told: bool = False, **more: Any) -> GivenStages:
    rows, names = rows_of_names(NAMES, ("a", "b"), STAGES)
    values = {
        "samples": SAMPLES,
        "sample_names": [f"id-{i}" for i in range(20)],
        "labeled": np.array([0, 1, 2, 4, 5, 6]),
        "labels": np.array([0, 0, 0, 1, 1, 1]),
        "held_out": np.array([3, 7]),
        "held_out_labels": np.array([0, 1]),
        "stages": STAGES,
        "truth": rows if told else None,
        "class_names": names if told else ("a", "b"),
    }
    return GivenStages(**{**values, **more})


def scenario(part: GivenStages, num_novel: str | int = "estimate") -> Any:
    return given_stages_scenario(part, image_of, image_of, name="mine", num_novel=num_novel)


def image_of(sample: Any) -> Any:
    return sample.image


def ids(stage: Any) -> list[int]:
    return list(stage.dataset.sample_id)


def test_rows_follow_the_stages_and_then_the_names() -> None:
    rows, names = rows_of_names(NAMES, ("a", "b"), STAGES)
    assert names == ("a", "b", "z", "c", "d")
    assert [names[row] for row in rows] == NAMES
    unknown = [None if name == "c" else name for name in NAMES]
    rows, names = rows_of_names(unknown, ("a", "b"), STAGES)
    assert names == ("a", "b", "z", "d") and rows[14] == rows[18] == UNLABELED


def test_stages_show_no_label_and_are_tested_on_themselves() -> None:
    for truth in (False, True):
        made = scenario(given(truth))
        base, *later = made.train_stream
        assert base.labels.tolist() == [0, 0, 0, 1, 1, 1] and ids(base) == [0, 1, 2, 4, 5, 6]
        assert all((stage.labels == UNLABELED).all() for stage in later)
        assert [ids(s) for s in later] == [ids(s) for s in made.test_stream[1:]]
        assert ids(made.test_stream[0]) == [3, 7] and made.test_stream[0].labels.tolist() == [0, 1]
        shown = [made.test_stream[t].labels.tolist() for t in (1, 2)]
        assert shown == (
            [[2, 2, 2, 0, 0, 0], [3, 2, 4, 1, 3, 4]] if truth else [[UNLABELED] * 6] * 2
        )
        assert made.sample_names[7] == "id-7" and made.sample_kind == "id"


def test_only_the_whole_truth_tells_how_many_classes_are_new() -> None:
    assert [s.num_novel for s in scenario(given(True), "given").train_stream] == [2, 1, 2]
    for part, word in ((given(), "given"), (given(True), "estimate"), (given(True), 3)):
        assert [s.num_novel for s in scenario(part, word).train_stream] == [None] * 3
    partly = given(True).truth.copy()
    partly[19] = UNLABELED
    told = scenario(given(True, truth=partly), "given")
    assert told.train_stream[1].num_novel is None and told.test_stream[2].labels[-1] == UNLABELED


def test_the_description_counts_what_is_known() -> None:
    table = scenario(given(True)).description["stages"]
    assert [row["novel_classes"] for row in table] == [[0, 1], [2], [3, 4]]
    assert [row["num_known"] for row in table] == [0, 2, 3]
    assert [row["test"] for row in table] == [2, 8, 14]
    assert table[2]["images_per_class"] == {0: 0, 1: 1, 2: 1, 3: 2, 4: 2}
    blind = scenario(given()).description["stages"]
    assert [row["images_per_class"] for row in blind] == [{0: 3, 1: 3}, None, None]
    assert [row["unlabeled"] for row in blind] == [0, 6, 6]


def test_without_held_out_samples_those_trained_on_are_measured_and_it_is_said() -> None:
    none = np.empty(0, dtype=np.int64)
    made = scenario(given(held_out=none, held_out_labels=none))
    assert ids(made.test_stream[0]) == ids(made.train_stream[0])
    assert made.description["base_test"] == "labeled samples trained on"
    assert scenario(given()).description["base_test"] == "held-out labeled samples"


def test_the_hash_tells_streams_apart() -> None:
    parts = [
        given(),
        given(True),
        given(stages=STAGES[::-1]),
        given(sample_names=[f"{i}" for i in range(20)]),
        given(labels=np.array([0, 0, 1, 1, 1, 1])),
    ]
    assert len({part.hash for part in parts}) == len(parts) and given().hash == given().hash


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"stages": ()}, "no unlabeled stage"),
        ({"stages": (STAGES[0], np.empty(0, int))}, "stage 2 is empty"),
        ({"stages": (STAGES[0], STAGES[0])}, "share a sample"),
        ({"stages": (np.array([2, 9]),)}, "share a sample"),
        ({"stages": (np.array([20]),)}, "outside 0 .. 19"),
        ({"labels": np.array([0, 0, 0, 2, 2, 2])}, "wanted 0 .. K-1"),
        ({"held_out_labels": np.array([0, 2])}, "wanted 0 .. K-1"),
        ({"sample_names": ["x"]}, "one name"),
        ({"truth": np.full(20, UNLABELED)}, "another class than its label"),
        ({"truth": np.array([0] * 4 + [1] * 4 + [3] * 6 + [2] * 6)}, "rows \\[3\\]; wanted 2"),
    ],
)
def test_what_does_not_fit_is_refused(change: dict[str, Any], words: str) -> None:
    with pytest.raises(InputError, match=words):
        given(**change)


@pytest.mark.parametrize("share", [0.0, 0.1, 0.5, 0.99])
def test_every_class_keeps_and_holds_out_a_sample(share: float) -> None:
    labels = np.random.default_rng(1).permutation(np.repeat(np.arange(4), [1, 2, 10, 41]))
    places = held_out_places(labels, share, 3)
    counts = np.bincount(labels[places], minlength=4)
    wanted = {0.0: [0, 0, 0, 0], 0.1: [0, 1, 1, 4], 0.5: [0, 1, 5, 20], 0.99: [0, 1, 9, 40]}
    assert counts.tolist() == wanted[share] and places.tolist() == sorted(set(places.tolist()))
    assert np.array_equal(places, held_out_places(labels, share, 3))
    assert not share or not np.array_equal(places, held_out_places(labels, share, 4))


@pytest.mark.parametrize("share", [-0.1, 1.0, float("nan")])
def test_a_share_that_is_none_is_refused(share: float) -> None:
    with pytest.raises(InputError, match=r"scenario\.held_out=0\.1"):
        held_out_places(np.array([0, 0]), share, 0)
