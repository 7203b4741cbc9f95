"""Curves of novelty scores against released values, loops over pairs and thresholds."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest
import torch
from sklearn.metrics import average_precision_score, roc_auc_score

from cgcd.metrics import novelty_metrics

COLUMNS = ("auroc", "aupr_known", "aupr", "fpr_at_95_known", "fpr_at_95")


def drawn(seed, known=40, novel=23, levels=None):
    generator = np.random.default_rng(seed)
    is_novel = generator.permutation(np.arange(known + novel) < novel)
    scores = generator.standard_normal(known + novel) + is_novel
    if levels:  # many ties
        scores = np.round(scores * levels) / levels
    return scores, is_novel


def looped_fpr(scores, positive):
    """Best threshold by exact fractions: closest recall, then smaller, then the lowest."""
    total, best = positive.sum(), None
    for threshold in [np.inf, *sorted(set(scores), reverse=True)]:
        chosen = scores >= threshold
        hits = int((chosen & positive).sum())
        key = abs(Fraction(hits, int(total)) - Fraction(19, 20)), hits
        rate = (chosen & ~positive).sum() / (~positive).sum()
        if best is None or key < best[0] or key == best[0]:
            best = key, rate
        if hits == total:
            break
    return best[1]


@pytest.mark.parity
def test_the_released_numbers(parity):
    for case in parity("protogcd_ood"):
        for known, novel, wanted in zip(
            case["scores_in"], case["scores_out"], case["metrics"], strict=True
        ):
            scores = np.concatenate([known, novel])
            numbers = novelty_metrics(scores, np.arange(len(scores)) >= len(known))
            np.testing.assert_allclose([numbers[c] for c in COLUMNS], wanted, rtol=0, atol=1e-9)


@pytest.mark.parametrize("levels", [None, 2, 5])
@pytest.mark.parametrize("seed", range(4))
def test_against_loops_and_scikit_learn(seed, levels):
    scores, is_novel = drawn(seed, levels=levels)
    numbers = novelty_metrics(torch.tensor(scores), torch.tensor(is_novel))
    pairs = [(a > b) + 0.5 * (a == b) for a in scores[is_novel] for b in scores[~is_novel]]
    assert numbers["auroc"] == pytest.approx(np.mean(pairs))
    assert numbers["auroc"] == pytest.approx(roc_auc_score(is_novel, scores))
    assert numbers["aupr"] == pytest.approx(average_precision_score(is_novel, scores))
    assert numbers["aupr_known"] == pytest.approx(average_precision_score(~is_novel, -scores))
    assert numbers["fpr_at_95"] == pytest.approx(looped_fpr(scores, is_novel))
    assert numbers["fpr_at_95_known"] == pytest.approx(looped_fpr(-scores, ~is_novel))
    assert all(isinstance(value, float) for value in numbers.values())


def test_both_directions_mirror_each_other():
    scores, is_novel = drawn(7)
    one, other = novelty_metrics(scores, is_novel), novelty_metrics(-scores, ~is_novel)
    assert one["auroc"] == pytest.approx(other["auroc"])
    assert one["aupr"] == other["aupr_known"] and one["fpr_at_95"] == other["fpr_at_95_known"]


def test_any_rising_map_changes_nothing():
    scores, is_novel = drawn(8, levels=3)
    assert novelty_metrics(np.exp(scores), is_novel) == novelty_metrics(scores, is_novel)


@pytest.mark.parametrize("count", [1, 2, 10, 20, 50])
def test_separated_scores(count):
    scores = np.arange(2.0 * count)
    numbers = novelty_metrics(scores, scores >= count)
    areas = [numbers[name] for name in ("auroc", "aupr", "aupr_known")]
    assert areas == pytest.approx([1, 1, 1])
    assert numbers["fpr_at_95"] == numbers["fpr_at_95_known"] == 0


def test_equal_distributions():
    scores = np.tile(np.arange(30.0), 2)
    numbers = novelty_metrics(scores, np.arange(60) < 30)
    assert numbers["auroc"] == pytest.approx(0.5)
    constant = novelty_metrics(np.zeros(4), np.array([True, False, False, False]))
    assert constant == {
        "auroc": 0.5,
        "aupr": 0.25,
        "aupr_known": 0.75,
        "fpr_at_95": 1.0,
        "fpr_at_95_known": 1.0,
    }


@pytest.mark.parametrize(
    ("scores", "is_novel", "message"),
    [
        ([1.0, 2.0], [True, True], "2 of 2 samples are novel"),
        ([1.0, 2.0], [False, False], "0 of 2 samples are novel"),
        ([1.0, np.nan], [True, False], "not finite"),
        ([1.0, 2.0], [True], r"wanted \(N,\) numbers and \(N,\) bool"),
        ([1.0, 2.0], [1, 0], r"wanted \(N,\) numbers and \(N,\) bool"),
    ],
)
def test_bad_input_is_named(scores, is_novel, message):
    with pytest.raises(ValueError, match=message):
        novelty_metrics(np.array(scores), np.array(is_novel))
