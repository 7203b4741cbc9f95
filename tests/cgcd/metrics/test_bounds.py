import numpy as np
import pytest

from cgcd.metrics import closed_set_accuracy, joint_accuracy, perfect_closed_set


def test_perfect_on_equal_classes():
    y = np.repeat(np.arange(4), 10)
    p = np.where(y < 2, y, y - 2)  # each novel class falls whole into one base row
    scores = closed_set_accuracy(p, y, num_base=2, num_known=3)
    assert scores["all"] == perfect_closed_set(y, 2) == 0.5


def test_a_row_may_be_credited_with_a_larger_novel_class():
    y = np.array([0, 1, 1] + [2] * 7)
    p = np.array([0, 1, 1] + [0] * 7)
    scores = closed_set_accuracy(p, y, num_base=2, num_known=2)
    assert scores == joint_accuracy(p, y, 2, 2)
    assert scores["all"] == pytest.approx(0.9)
    assert scores["novel"] == 1.0 and scores["base"] == pytest.approx(2 / 3)
    assert perfect_closed_set(y, 2) == pytest.approx(0.3)


def test_never_matches_more_classes_than_rows():
    rng = np.random.default_rng(0)
    y, p = rng.integers(0, 10, 400), rng.integers(0, 3, 400)
    largest = np.sort(np.bincount(y))[-3:].sum()
    assert closed_set_accuracy(p, y, 3, 6)["all"] <= largest / len(y)


def test_refuses_a_row_that_is_no_base_row():
    with pytest.raises(ValueError, match="base_predictions: 2 given, ids below 2"):
        closed_set_accuracy([0, 2], [0, 1], 2, 2)
    with pytest.raises(ValueError, match="N >= 1"):
        perfect_closed_set([], 2)
