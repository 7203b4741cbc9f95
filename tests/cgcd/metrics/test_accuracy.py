import itertools

import numpy as np
import pytest
import torch

from cgcd.metrics import (
    greedy_accuracy,
    held_accuracy,
    joint_accuracy,
    matched_accuracy,
    num_found,
    per_class_accuracy,
    pruned_accuracy,
)

RNG = np.random.default_rng(0)


def ids(text):
    return np.array([int(c) for c in text])


def noisy(num_samples, num_classes, num_rows, seed):
    rng = np.random.default_rng(seed)
    targets = rng.integers(0, num_classes, num_samples)
    wrong = rng.integers(0, num_rows, num_samples)
    return np.where(rng.random(num_samples) < 0.6, targets % num_rows, wrong), targets


def test_hand_worked_stage():
    p, y = ids("0002111133302233"), ids("0000111122223333")
    hard = joint_accuracy(p, y, num_base=2, num_known=3)
    assert hard["all"] == 0.75
    assert (hard["base"], hard["rest"]) == (0.875, 0.625)
    assert hard["known"] == pytest.approx(10 / 12) and hard["novel"] == 0.5
    assert hard["earlier"] == 0.75
    assert all(type(value) is float for value in hard.values())
    assert joint_accuracy(torch.tensor(p), torch.tensor(y), 2, 3, num_classes=4) == hard


def test_hand_worked_stream():
    # every sample in one row: joint credits one class, greedy both
    y, p = ids("0011"), ids("7777")
    joint = matched_accuracy(p, y, {"known": y == 0, "novel": y == 1})
    assert joint["all"] == 0.5 and sorted([joint["known"], joint["novel"]]) == [0.0, 1.0]
    assert greedy_accuracy(p, y, y == 0) == {"all": 1.0, "known": 1.0, "novel": 1.0}
    # the small novel row is worth a match, but is pruned
    y, p = ids("00000011"), ids("11122233")
    joint = joint_accuracy(p, y, num_base=1, num_known=1)
    assert (joint["all"], joint["known"], joint["novel"]) == (0.625, 0.5, 1.0)
    assert pruned_accuracy(p, y, y == 0) == {"all": 0.375, "known": 0.5, "novel": 0.0}
    y, p = ids("00011222"), ids("55666778")
    expected = pytest.approx({"all": 0.75, "known": 0.8, "novel": 2 / 3})
    assert greedy_accuracy(p, y, y < 2) == expected
    assert matched_accuracy(p, y, {"known": y < 2, "novel": y == 2}) == expected


@pytest.mark.parametrize(("num_classes", "num_rows"), [(4, 4), (3, 6), (6, 3), (1, 5), (5, 1)])
def test_against_every_possible_matching(num_classes, num_rows):
    p, y = noisy(40, num_classes, num_rows, seed=num_rows)
    # -1 pads the classes a row may stand for, so that rows may stay without one
    options = [*range(num_classes), *[-1] * num_rows]
    best = max(
        (np.array(choice)[p] == y).mean()
        for choice in set(itertools.permutations(options, num_rows))
    )
    assert joint_accuracy(p, y, 1, 1)["all"] == pytest.approx(best)


@pytest.mark.parametrize("num_rows", [5, 9, 40])
def test_properties(num_rows):
    p, y = noisy(500, 9, num_rows, seed=1)
    scores = joint_accuracy(p, y, num_base=4, num_known=7)
    share = {
        "known": (y < 7).mean(),
        "novel": (y >= 7).mean(),
        "base": (y < 4).mean(),
        "rest": (y >= 4).mean(),
        "earlier": ((y >= 4) & (y < 7)).mean(),
    }
    for parts in (("known", "novel"), ("base", "rest"), ("base", "earlier", "novel")):
        assert scores["all"] == pytest.approx(sum(scores[k] * share[k] for k in parts))
    masks = {"known": y < 7, "novel": y >= 7, "base": y < 4, "rest": y >= 4}
    masks["earlier"] = masks["known"] & ~masks["base"]
    for balanced in (False, True):
        assert matched_accuracy(p, y, masks, balanced) == joint_accuracy(
            p, y, 4, 7, balanced=balanced
        )
    renamed = RNG.permutation(10**9 - np.arange(num_rows))[p]
    assert joint_accuracy(renamed, y, 4, 7) == scores
    assert greedy_accuracy(renamed, y, y < 7) == greedy_accuracy(p, y, y < 7)
    greedy, pruned = greedy_accuracy(p, y, y < 7), pruned_accuracy(p, y, y < 7)
    for key in ("all", "known", "novel"):
        assert pytest.approx(greedy[key]) == max(greedy[key], scores[key])
    assert pruned["all"] <= scores["all"]
    assert greedy["all"] == pytest.approx(
        share["known"] * greedy["known"] + share["novel"] * greedy["novel"]
    )


def test_renaming_rows_changes_nothing_under_ties():
    p, y = RNG.integers(0, 6, 24), RNG.integers(0, 6, 24)
    expected = joint_accuracy(p, y, 2, 4)
    for _ in range(50):
        assert joint_accuracy(RNG.permutation(6)[p], y, 2, 4) == expected


def test_balanced_weighs_classes_alike():
    y, p = ids("0000000011"), ids("0000000001")
    assert joint_accuracy(p, y, 1, 1)["all"] == 0.9
    assert joint_accuracy(p, y, 1, 1, balanced=True)["all"] == 0.75


def test_empty_groups_have_no_key():
    assert set(joint_accuracy([0, 1], [0, 1], 2, 2)) == {"all", "known", "base"}
    assert set(joint_accuracy([0, 1], [3, 4], 2, 2)) == {"all", "novel", "rest"}
    assert set(held_accuracy([0, 1], [3, 4], 2, 2)) == {"all", "novel", "rest"}
    assert set(held_accuracy([5, 6], [0, 1], 4, 4)) == {"all", "known", "base"}
    assert greedy_accuracy([0, 1], [0, 1], np.array([True, True])) == {"all": 1.0, "known": 1.0}


def test_held_rows_keep_their_identity():
    # both base classes swapped: a free matching does not see it
    y, p = ids("00112233"), ids("11003322")
    assert joint_accuracy(p, y, 2, 3)["all"] == 1.0
    assert held_accuracy(p, y, 2, 3) == {
        "all": 0.5,
        "known": pytest.approx(1 / 3),
        "novel": 1.0,
        "base": 0.0,
        "rest": 1.0,
        "earlier": 1.0,
    }
    # a base class that moved to a new row, and a novel one in a base row, both count as lost
    assert held_accuracy(ids("221100"), ids("001122"), 2, 2)["all"] == pytest.approx(1 / 3)
    for seed in range(10):
        p, y = noisy(200, 7, 7, seed)
        assert held_accuracy(p, y, 3, 5)["all"] <= joint_accuracy(p, y, 3, 5)["all"]
        renamed = np.where(p < 3, p, 10 * (20 - p))
        assert held_accuracy(renamed, y, 3, 5) == held_accuracy(p, y, 3, 5)
        free = joint_accuracy(p, y, 0, 5)
        assert held_accuracy(p, y, 0, 5) == free


def test_per_class_and_found():
    p, y = ids("0002111133302233"), ids("0000111122223333")
    np.testing.assert_array_equal(per_class_accuracy(p, y, 6), [0.75, 1, 0.75, 0.5, np.nan, np.nan])
    assert num_found(p, 9) == 4
    assert num_found([3, 3, 3], 4) == 1
    with pytest.raises(ValueError, match="ids below 3"):
        num_found([3], 3)


def test_refuses():
    with pytest.raises(ValueError, match="N >= 1"):
        joint_accuracy([], [], 1, 1)
    with pytest.raises(ValueError, match="1 of 2 are negative"):
        joint_accuracy([0, 1], [0, -1], 1, 1)
    with pytest.raises(ValueError, match="num_base 3, num_known 2"):
        joint_accuracy([0], [0], 3, 2)
    with pytest.raises(ValueError, match="ids below 2"):
        joint_accuracy([0], [2], 1, 1, num_classes=2)
    with pytest.raises(ValueError, match=r"known: int64 of shape \(2,\)"):
        greedy_accuracy([0, 1], [0, 1], np.array([0, 1]))
    with pytest.raises(ValueError, match="3 predictions for 2 targets"):
        greedy_accuracy([0, 1, 1], [0, 1], np.array([True, False]))


@pytest.mark.parity
def test_released_cluster_accuracies(parity):
    exact = {"rel": 0, "abs": 1e-12}
    for case in parity("cluster_acc"):
        y, p, known = case["y_true"], case["y_pred"], case["mask_old"]
        name = str(case["desc"])
        groups = {"known": known, "novel": ~known}
        greedy = greedy_accuracy(p, y, known)
        joint = matched_accuracy(p, y, groups)
        balanced = matched_accuracy(p, y, groups, balanced=True)
        assert list(greedy.values()) == pytest.approx(case["v1"].tolist(), **exact), name
        assert joint["all"] == pytest.approx(case["v2"][0].item(), **exact), name
        assert joint["all"] == pytest.approx(case["acc"].item(), **exact), name
        low, high = case["v2_old_range"]
        if low == high:
            assert list(joint.values()) == pytest.approx(case["v2"].tolist(), **exact), name
            offline = matched_accuracy(p, y, {"known": known})
            assert list(offline.values()) == pytest.approx(case["v2_offline"].tolist(), **exact)
        else:
            assert low - 1e-12 <= joint["known"] <= high + 1e-12, name
        if name.startswith(("random predictions", "deliberate tie")):
            continue  # several optimal matchings: the class averages depend on the one taken
        assert list(balanced.values()) == pytest.approx(case["v2_balanced"].tolist(), **exact), name


@pytest.mark.parity
def test_happy_online_evaluation(parity):
    for case in parity("happy_online_eval"):
        p, y = case["logits"].argmax(1), case["labels"]
        scores = joint_accuracy(p, y, int(case["num_labeled"]), int(case["num_seen"]))
        hard = [scores["all"], scores["base"], scores["rest"]]
        soft = [scores["all"], scores["known"], scores["novel"]]
        assert hard == pytest.approx(case["hard"].tolist(), rel=0, abs=1e-12)
        assert soft == pytest.approx(case["soft"].tolist(), rel=0, abs=1e-12)
