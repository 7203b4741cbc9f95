"""Whatever a protocol says of whatever data: a refusal in words, or a stream by the rules."""

from __future__ import annotations

from typing import Any

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from cgcd.vocabulary import UNLABELED, InputError
from scenarios import compose, compose_online, compose_single_stage
from scenarios.blurry import BlurryProtocol
from scenarios.feature_stages import HalfKnown
from scenarios.online import OnlineProtocol
from scenarios.protocol import Protocol
from scenarios.shares import ShareProtocol
from scenarios.single_stage import SingleStageProtocol

SHARE = st.sampled_from([0.3, 0.5, 0.8, 1.0])
SEED = st.integers(0, 2**32 - 1)
ODD = [-1, 0, 0.0, 1.5, -0.5, float("nan"), 2**40, None, True, "guess", [0, 0], [9, 1], [], [[1]]]


@st.composite
def targets(draw: st.DrawFn) -> np.ndarray:
    """Labels of 3 to 8 classes in any order, now and then with few or no samples of some."""
    size = st.integers(6, 20) if draw(st.integers(0, 4)) else st.integers(0, 3)
    counts = draw(st.lists(size, min_size=3, max_size=8).filter(any))
    labels = np.repeat(np.arange(len(counts)), counts)
    return np.random.default_rng(draw(st.integers(0, 99))).permutation(labels)


def spoiled(draw: st.DrawFn, fields: dict[str, Any]) -> dict[str, Any]:
    """The fields, in one of three cases with an odd value in one place."""
    if draw(st.integers(0, 2)) == 0:
        fields[draw(st.sampled_from(sorted(fields)))] = draw(st.sampled_from(ODD))
    return fields


def common(draw: st.DrawFn) -> dict[str, Any]:
    num_base = draw(st.integers(1, 3))
    return {
        "num_base": num_base,
        "num_stages": draw(st.integers(1, 3)),
        "base_classes": draw(st.sampled_from(["natural", "shuffled", [2, 0, 1][:num_base]])),
        "novel_order": draw(st.sampled_from(["natural", "shuffled"])),
        "order_seed": draw(SEED),
        "subset_size": draw(st.sampled_from([None, None, None, 5])),
        "shown_fraction": draw(st.sampled_from([0.0, 0.0, 0.5, 1.0])),
        "imbalance_labeled": draw(st.sampled_from([1.0, 2.0, 50.0])),
        "imbalance_unlabeled": draw(st.sampled_from([1.0, 3.0])),
    }


@st.composite
def staged(draw: st.DrawFn) -> Any:
    """A protocol of stages of any family, as its constructor takes or refuses it."""
    family = draw(st.sampled_from(["numbers", "shares", "blurry", "half"]))
    if family == "half":
        own = {"num_stages": draw(st.integers(1, 5)), "samples_per_known": draw(st.integers(0, 9))}
        return lambda labels: HalfKnown(**own).of(1 + int(labels.max()))
    fields = common(draw)
    if family == "numbers":
        fields |= {
            "labeled_fraction": draw(SHARE),
            "samples_per_novel": draw(st.sampled_from([None, 1, 10, 30])),
            "samples_per_known": draw(st.sampled_from([0, 3, 30])),
        }
        fields = spoiled(draw, fields)
        return lambda labels: Protocol(**fields)
    if family == "shares":
        size = 1 + fields["num_stages"]
        rows = [
            [0.0] * g + [draw(st.sampled_from([0.3, 0.5, 1.0])) for _ in range(size - g)]
            for g in range(size)
        ]
        fields["shares"] = [[share / max(sum(row), 1.0) for share in row] for row in rows]
        fields = spoiled(draw, fields)
        return lambda labels: ShareProtocol(**fields)
    for name in ("labeled_fraction", "disjoint_ratio", "blurry_ratio"):
        fields[name] = draw(SHARE)
    fields = spoiled(draw, fields)
    return lambda labels: BlurryProtocol(**fields)


@given(targets(), targets(), staged(), st.integers(0, 2**40))
def test_stages(train: np.ndarray, test: np.ndarray, make: Any, seed: int) -> None:
    try:
        composition = compose(train, test, make(train), seed)
    except InputError as error:
        assert len(str(error)) > 20 and "wanted" in str(error)
        return
    order = composition.class_order
    assert len(set(order.tolist())) == len(order) and composition.num_base >= 1
    labeled: set[int] = set()
    met = 0
    for plan in composition.stages:
        assert plan.num_known == plan.novel_rows.start == met and len(plan.novel_rows) >= 1
        assert (np.diff(plan.indices) > 0).all() and 0 <= plan.indices[0]
        assert plan.indices[-1] < len(train)
        rows, shown = composition.rows(train[plan.indices]), plan.labels != UNLABELED
        assert (plan.labels[shown] == rows[shown]).all() and rows.min() >= 0
        assert rows.max() < plan.novel_rows.stop and (shown.all() or plan.index)
        assert not labeled & set(plan.indices[~shown].tolist())
        labeled |= set(plan.indices[shown].tolist())
        counts = np.bincount(rows, minlength=plan.novel_rows.stop)
        assert counts.tolist() == plan.class_counts.tolist()
        assert (counts[list(plan.novel_rows)] > 0).all() and len(plan.test_indices)
        met = plan.novel_rows.stop
    assert composition.hash == compose(train, test, make(train), seed).hash


@st.composite
def known_novel(draw: st.DrawFn, draws: tuple[str, ...]) -> dict[str, Any]:
    num_known = draw(st.integers(1, 2))
    fields = {
        "num_known": num_known,
        "num_novel": draw(st.sampled_from([None, None, 1])),
        "labeled_fraction": draw(SHARE),
        "labeled_draw": draw(st.sampled_from(draws)),
        "split_seed": draw(st.one_of(st.none(), SEED)),
        "known_classes": draw(st.sampled_from(["natural", [2, 0][:num_known]])),
        "novel_classes": "natural",
    }
    return spoiled(draw, fields)


@given(targets(), known_novel(OnlineProtocol.draws), st.sampled_from(["fixed", "shuffled"]), SEED)
def test_streams(labels: np.ndarray, fields: dict[str, Any], order: str, seed: int) -> None:
    try:
        found = compose_online(labels, OnlineProtocol(**fields, order=order), seed)
    except InputError as error:
        assert "wanted" in str(error)
        return
    row = {int(c): k for k, c in enumerate(found.class_order)}
    assert [row[c] for c in labels[found.labeled].tolist()] == found.labels.tolist()
    assert [row[c] for c in labels[found.stream].tolist()] == found.truth.tolist()
    assert set(found.labels.tolist()) == set(range(found.num_known))
    everyone = np.concatenate([found.labeled, found.stream])
    assert len(np.unique(everyone)) == len(everyone) == np.isin(labels, found.class_order).sum()
    if order == "fixed":
        assert (np.diff(found.stream) > 0).all()


@given(targets(), targets(), known_novel(SingleStageProtocol.draws), st.integers(0, 99))
def test_single_stages(
    train: np.ndarray, test: np.ndarray, fields: dict[str, Any], seed: int
) -> None:
    try:
        found = compose_single_stage(train, test, SingleStageProtocol(**fields), seed)
    except InputError as error:
        assert "wanted" in str(error)
        return
    order = found.class_order
    assert (order[found.labels] == train[found.labeled]).all()
    assert (order[found.truth] == train[found.unlabeled]).all()
    assert (order[found.test_rows] == test[found.test]).all()
    assert found.num_known == fields["num_known"] < len(order)
    assert not set(found.labeled.tolist()) & set(found.unlabeled.tolist())
