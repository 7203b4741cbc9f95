"""What every family of staged protocols promises, and what each says beyond that."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from cgcd.vocabulary import UNLABELED, InputError
from scenarios.blurry import BlurryProtocol
from scenarios.composition import Composition
from scenarios.draws import cut_at_random, divided, draw_without_replacement
from scenarios.long_tail import tail_factors, thinned
from scenarios.protocol import Protocol, compose
from scenarios.shares import ShareProtocol, by_largest_remainder

CLASSES = {"num_base": 5, "num_stages": 3}
MIX = [[0.87, 0.07, 0.03, 0.03], [0, 0.7, 0.2, 0.1], [0, 0, 0.9, 0.1], [0, 0, 0, 1]]
NUMBERS = Protocol(**CLASSES, samples_per_novel=18, samples_per_known=3)
SHARES = ShareProtocol(**CLASSES, shares=MIX)
BLURRY = BlurryProtocol(**CLASSES, blurry_ratio=0.4)
FAMILIES = {
    "numbers": NUMBERS,
    "novel only": replace(NUMBERS, samples_per_known=0, labeled_fraction=1.0),
    "few base": replace(NUMBERS, num_base=1, num_stages=9, novel_order="shuffled"),
    "mixed": replace(NUMBERS, shown_fraction=0.5, base_classes=(9, 4, 0, 7, 2)),
    "long tail": replace(NUMBERS, imbalance_labeled=4.0, imbalance_unlabeled=6.0),
    "shares": SHARES,
    "mixed shares": replace(SHARES, shown_fraction=0.3, order_seed=5, novel_order="shuffled"),
    "long-tailed shares": replace(SHARES, imbalance_unlabeled=6.0),
    "Si-Blurry": BLURRY,
    "long-tailed mixed Si-Blurry": replace(
        BLURRY, imbalance_labeled=2.0, imbalance_unlabeled=3.0, shown_fraction=0.5
    ),
    "all disjoint": replace(BLURRY, disjoint_ratio=1.0),
    "one stage": replace(BLURRY, num_stages=1, disjoint_ratio=0.2),
}
ONCE = ("shares", "Si-Blurry", "all disjoint", "one stage")


def targets(per_class: int, seed: int) -> np.ndarray:
    """11 classes in random order; class c has per_class + c % 3 images."""
    counts = per_class + np.arange(11) % 3
    return np.random.default_rng(seed).permutation(np.repeat(np.arange(11), counts))


TRAIN, TEST = targets(40, 0), targets(6, 1)


@pytest.fixture(params=FAMILIES)
def family(request: pytest.FixtureRequest) -> str:
    return request.param


def composed(family: str, seed: int = 3) -> Composition:
    return compose(TRAIN, TEST, FAMILIES[family], seed)


def test_no_labeled_image_comes_back_unlabeled_and_labels_are_true(family: str) -> None:
    composition = composed(family)
    order, labeled = composition.class_order, set()
    for plan in composition.stages:
        shown = plan.labels != UNLABELED
        assert shown.all() if plan.index == 0 else not shown.all()
        assert (plan.labels[shown] < composition.num_base).all()
        assert (order[plan.labels[shown]] == TRAIN[plan.indices[shown]]).all()
        assert not labeled & set(plan.indices[~shown].tolist())
        labeled |= set(plan.indices[shown].tolist())
        assert (np.diff(plan.indices) > 0).all()
    again = set(composition.stages[0].indices.tolist())
    assert not any(again & set(plan.indices.tolist()) for plan in composition.stages[1:])


def test_classes_occur_from_their_stage_on_and_are_counted_truly(family: str) -> None:
    composition, met = composed(family), 0
    for plan in composition.stages:
        rows = composition.rows(TRAIN[plan.indices])
        assert plan.novel_rows.start == plan.num_known == met
        assert len(plan.novel_rows) >= 1 and rows.max() < plan.novel_rows.stop
        assert set(plan.novel_rows) <= set(rows.tolist())
        counts = np.bincount(rows, minlength=plan.novel_rows.stop)
        assert counts.tolist() == plan.class_counts.tolist()
        tested = composition.rows(TEST)
        assert set(plan.test_indices) == set(np.flatnonzero(np.isin(tested, plan.novel_rows)))
        met = plan.novel_rows.stop
    assert met == len(composition.class_order) == len(set(composition.class_order.tolist()))


@pytest.mark.parametrize("family", ONCE)
def test_stages_are_disjoint_and_their_union_is_all_there_is(family: str) -> None:
    stages = composed(family).stages
    everything = np.sort(np.concatenate([plan.indices for plan in stages]))
    assert everything.tolist() == list(range(len(TRAIN)))
    tests = np.sort(np.concatenate([plan.test_indices for plan in stages]))
    assert tests.tolist() == list(range(len(TEST)))


def test_the_stream_is_a_function_of_the_seed(family: str) -> None:
    assert composed(family).hash == composed(family).hash
    seeds = [composed(family, seed) for seed in range(4)]
    assert len({composition.hash for composition in seeds}) == len(seeds)
    in_turn = compose(TRAIN[::-1].copy(), TEST, FAMILIES[family], 3)
    assert in_turn.hash != composed(family).hash  # other data


def test_stages_do_not_hang_on_the_order_in_which_they_are_asked_for(family: str) -> None:
    forward = [plan.indices for plan in composed(family).stages]
    composition = composed(family)
    for stage in np.random.default_rng(0).permutation(len(forward)):
        np.testing.assert_array_equal(composition.stages[stage].indices, forward[stage])


@pytest.mark.parametrize("shown", [0.0, 0.5])
def test_a_stage_of_numbers_hangs_on_seed_and_stage_alone(shown: float) -> None:
    classes = {"novel_order": (5, 6, 7), "novel_per_stage": 1, "shown_fraction": shown}
    full = compose(TRAIN, TEST, replace(NUMBERS, **classes), 0).stages
    short = compose(TRAIN, TEST, replace(NUMBERS, **classes, num_stages=2), 0).stages
    for plan, alone in zip(full[:3], short, strict=True):
        np.testing.assert_array_equal(plan.indices, alone.indices)
        np.testing.assert_array_equal(plan.labels, alone.labels)


# ------------------------------------------------------------------ mixed stages


@pytest.mark.parametrize(("family", "share"), [("mixed", 0.5), ("mixed shares", 0.3)])
def test_a_fixed_share_of_each_base_class_shows_its_label(family: str, share: float) -> None:
    first, *later = composed(family).stages
    for row in range(5):
        original = composed(family).class_order[row]
        rest = (TRAIN == original).sum() - (first.labels == row).sum()
        shown = {i for plan in later for i in plan.indices[plan.labels == row].tolist()}
        if family == "mixed shares":  # every image comes
            assert len(shown) == max(1, int(share * rest + 0.5))
        assert 0 < len(shown) <= max(1, int(share * rest + 0.5))
    bare = compose(TRAIN, TEST, replace(FAMILIES[family], shown_fraction=0.0), 3).stages
    for plan, without in zip((first, *later), bare, strict=True):  # no image moves
        np.testing.assert_array_equal(plan.indices, without.indices)
        assert plan.index == 0 or (without.labels == UNLABELED).all()


# ------------------------------------------------------------------ long tails


def test_the_profile_is_the_exponential_one() -> None:
    ranks = np.array([2, 0, 3, 1])
    np.testing.assert_allclose(tail_factors(ranks, 8.0), [1 / 4, 1, 1 / 8, 1 / 2])
    kept = thinned(np.array([400, 400, 400, 400]), tail_factors(ranks, 8.0))
    assert kept.tolist() == [100, 400, 50, 200]
    assert thinned(np.array([0, 1, 3]), np.full(3, 0.01)).tolist() == [0, 1, 1]
    assert tail_factors(np.array([7]), 9.0).tolist() == [1.0]
    assert thinned(np.array([400]), np.array([0.01])).tolist() == [4]


def test_a_long_tail_thins_each_part_by_its_own_ratio() -> None:
    train, test = np.repeat(np.arange(9), 500), np.repeat(np.arange(9), 10)
    even = Protocol(num_base=3, num_stages=2, samples_per_novel=400, samples_per_known=100)
    tailed = replace(even, imbalance_labeled=4.0, imbalance_unlabeled=256.0)
    full, thin = (compose(train, test, p, 0).stages for p in (even, tailed))
    assert sorted(thin[0].class_counts.tolist()) == [100, 200, 400]
    assert (full[0].class_counts == 400).all()
    shares = thin[2].class_counts / full[2].class_counts
    wanted = 256.0 ** (-np.arange(9) / 8)
    np.testing.assert_allclose(np.sort(shares)[::-1], wanted, atol=0.011)
    for whole, part in zip(full, thin, strict=True):
        assert set(part.indices) <= set(whole.indices)  # the tail draws nothing else
        np.testing.assert_array_equal(part.test_indices, whole.test_indices)
    base_ranks = np.argsort(np.argsort(-thin[0].class_counts))
    in_stage = np.argsort(np.argsort(-thin[1].class_counts[:3]))
    assert base_ranks.tolist() == in_stage.tolist()  # one class is rare everywhere
    other = compose(train, test, tailed, seed=1).stages[0].class_counts
    assert other.tolist() == thin[0].class_counts.tolist()  # which one, order_seed says


# ------------------------------------------------------------------ shares


def test_largest_remainders_by_hand() -> None:
    parts = by_largest_remainder(
        np.array([125, 10, 3, 0]), np.array([MIX[0], MIX[1], [0.5, 0.25, 0, 0], MIX[3]])
    )
    # 108.75, 8.75, 3.75, 3.75: three left, ties to the front; 1.5 and 0.75 of 3 sum to 2.25
    assert parts.tolist() == [[109, 9, 4, 3], [0, 7, 2, 1], [1, 1, 0, 0], [0, 0, 0, 0]]


def test_largest_remainders_keep_totals_and_stay_within_one() -> None:
    generator = np.random.default_rng(0)
    totals = generator.integers(0, 2000, 500)
    shares = generator.dirichlet(np.ones(7), 500)
    parts = by_largest_remainder(totals, shares)
    np.testing.assert_array_equal(parts.sum(1), totals)
    assert (np.abs(parts - totals[:, None] * shares) < 1).all() and (parts >= 0).all()


def test_promptccd_has_the_counts_of_its_table() -> None:
    train, test = np.repeat(np.arange(10), 500), np.repeat(np.arange(10), 5)
    protocol = ShareProtocol(num_base=7, num_stages=3, shares=MIX)
    counts = [plan.class_counts.tolist() for plan in compose(train, test, protocol, 0).stages]
    assert counts[0] == [435] * 7
    assert counts[1] == [35] * 7 + [350]
    assert counts[2] == [15] * 7 + [100, 450]
    assert counts[3] == [15] * 7 + [50, 50, 500]


def test_shares_below_one_leave_images_out() -> None:
    half = [[0.4, 0.05, 0.05, 0], [0, 0.5, 0, 0], [0, 0, 0.25, 0.25], [0, 0, 0, 0.5]]
    stages = compose(TRAIN, TEST, replace(SHARES, shares=half), 0).stages
    totals = np.bincount(TRAIN)
    used = np.bincount(TRAIN[np.concatenate([plan.indices for plan in stages])])
    assert used.tolist() == (totals // 2).tolist()


@pytest.mark.parametrize(
    ("shares", "message"),
    [
        (MIX[:3], r"protocol\.shares is .*wanted 4 rows of 4"),
        ([row[:3] for row in MIX], r"wanted 4 rows of 4"),
        (7, "wanted 4 rows"),
        ("abcd", "wanted 4 rows"),
        ([*MIX[:3], [0, 0, 0, 1.5]], r"shares\[3\] is .*from 0 to 1"),
        ([*MIX[:3], [0, 0, 0, "x"]], r"shares\[3\]"),
        ([*MIX[:3], [0, 0, 0.5, 0.5]], r"shares\[3\] .*0 before stage 3"),
        ([MIX[0], [0, 0, 0.5, 0.5], *MIX[2:]], r"shares\[1\] .*above 0 at stage 1"),
        ([[0.9, 0.2, 0, 0], *MIX[1:]], r"shares\[0\] .*at most 1"),
    ],
)
def test_a_table_that_is_none_is_refused_by_its_row(shares: object, message: str) -> None:
    with pytest.raises(InputError, match=message):
        replace(SHARES, shares=shares)


def test_a_class_without_an_image_at_its_first_stage_is_named() -> None:
    rare = [MIX[0], [0, 0.01, 0.5, 0.49], *MIX[2:]]
    with pytest.raises(InputError, match=r"shares\[1\] .*stage 1 gets none of the 42 .*class 5"):
        compose(TRAIN, TEST, replace(SHARES, shares=rare), 0)


# ------------------------------------------------------------------ Si-Blurry


def test_disjoint_classes_come_at_one_stage_and_blurry_ones_are_scattered() -> None:
    train, test = np.repeat(np.arange(44), 100), np.repeat(np.arange(44), 2)
    protocol = BlurryProtocol(num_base=4, num_stages=5, disjoint_ratio=0.6, blurry_ratio=0.3)
    by_seed = []
    for seed in range(20):
        composition = compose(train, test, protocol, seed)
        counts = np.zeros((5, 44), dtype=int)
        for plan in composition.stages[1:]:
            counts[plan.index - 1, composition.class_order[: plan.novel_rows.stop]] = (
                plan.class_counts
            )
        base, novel = counts[:, :4], counts[:, 4:]
        assert (base.sum(0) == 20).all()
        disjoint = (novel == 100).any(0)
        assert disjoint.sum() == 24
        homes = novel[:, ~disjoint].max(0)
        assert (homes >= 70).all() and (novel[:, ~disjoint].sum(0) == 100).all()
        at_home = np.argmax(novel, axis=0)
        assert (np.bincount(at_home[disjoint], minlength=5) >= 1).all()
        by_seed.append([len(plan.novel_rows) for plan in composition.stages])
    assert len({tuple(sizes) for sizes in by_seed}) > 15  # stages are stochastic


def test_too_few_disjoint_classes_are_refused() -> None:
    with pytest.raises(InputError, match=r"disjoint_ratio is 0\.2, which makes 1 of 6 .*3 stages"):
        compose(TRAIN, TEST, replace(BLURRY, disjoint_ratio=0.2), 0)


@pytest.mark.parametrize(
    ("protocol", "field", "value"),
    [
        (BLURRY, "disjoint_ratio", 0),
        (BLURRY, "blurry_ratio", 1.1),
        (BLURRY, "labeled_fraction", 0),
        (NUMBERS, "shown_fraction", -0.1),
        (NUMBERS, "shown_fraction", True),
        (NUMBERS, "imbalance_labeled", 0.5),
        (NUMBERS, "imbalance_unlabeled", float("inf")),
        (NUMBERS, "imbalance_unlabeled", float("nan")),
        (NUMBERS, "imbalance_unlabeled", "10"),
    ],
)
def test_a_bad_value_is_refused_by_name(protocol: Protocol, field: str, value: object) -> None:
    with pytest.raises(InputError, match=rf"^protocol\.{field} is .*; wanted .*: .+\.{field}="):
        replace(protocol, **{field: value})


# ------------------------------------------------------------------ draws


def test_random_cuts_sum_up_and_are_uniform() -> None:
    totals = np.array([0, 1, 6, 10**6])
    parts = cut_at_random(totals, 4, seed=0, stream=1)
    assert (parts >= 0).all() and parts.sum(1).tolist() == totals.tolist()
    assert cut_at_random(totals, 1, 0, 1)[:, 0].tolist() == totals.tolist()
    halves = cut_at_random(np.full(30_000, 3), 2, 0, 1)[:, 0]
    np.testing.assert_allclose(np.bincount(halves) / 30_000, np.full(4, 0.25), atol=0.01)


def test_parts_of_a_division_share_no_member() -> None:
    counts = np.array([5, 0, 8])
    parts = [np.array([2, 0, 3]), np.array([3, 0, 0]), np.array([0, 0, 4])]
    first, second, third = divided(counts, parts, seed=0)
    assert len(set(first) | set(second) | set(third)) == 12
    assert (np.sort(first) < 5).sum() == 2 and (second < 5).all() and (third >= 5).all()


def test_leaving_hopeless_words_out_changes_no_draw(monkeypatch: pytest.MonkeyPatch) -> None:
    generator = np.random.default_rng(0)
    counts = generator.integers(0, 400, 300)
    taken = (counts * generator.random(300) ** 3).astype(int)
    few = draw_without_replacement(counts, taken, 1, 2)
    for margin in (-1.0, 1e9):  # bounds that fall short, and none
        monkeypatch.setattr("scenarios.draws._MARGIN", margin)
        np.testing.assert_array_equal(draw_without_replacement(counts, taken, 1, 2), few)
