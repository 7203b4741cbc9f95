"""Numbers of classes and categories against loops and scikit-learn."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.decomposition import PCA
from sklearn.metrics.pairwise import cosine_similarity

from cgcd.discovery.matching import contingency, match
from cgcd.metrics.accuracy import joint_accuracy
from cgcd.metrics.categories import galleries, hashes, majority, nearest_rows, principal_components
from cgcd.metrics.classwise import (
    cosine_rows,
    group_shares,
    hungarian_order,
    matched_class_accuracy,
    mean_by_group,
    own_row_accuracy,
)

GENERATOR = np.random.default_rng(0)


@pytest.mark.parametrize(("rows", "classes"), [(6, 6), (9, 5), (4, 7)])
def test_matched_pairs_lie_on_the_diagonal(rows, classes):
    guess, truth = GENERATOR.integers(0, rows, 200), GENERATOR.integers(0, classes, 200)
    counts = contingency(guess, truth, rows, classes)
    matching = match(counts)
    order, columns = hungarian_order(counts, matching)
    assert sorted(order) == list(range(rows)) and sorted(columns) == list(range(classes))
    diagonal = counts[order][:, columns].diagonal()
    assert diagonal.sum() == matching.hits(counts).sum()
    matched = [k for k in order if matching.class_of_row[k] >= 0]
    assert list(order[: len(matched)]) == matched
    assert [matching.class_of_row[k] for k in matched] == list(columns[: len(matched)])
    accuracy = matched_class_accuracy(counts, matching)
    totals = np.bincount(truth, minlength=classes)
    assert np.nansum(accuracy * totals) / 200 == pytest.approx(
        joint_accuracy(guess, truth, 1, 2)["all"]
    )


def test_small_numbers_by_hand():
    guess, truth = np.array([0, 0, 1, 3, 2, 1]), np.array([0, 1, 1, -1, 2, -1])
    assert own_row_accuracy(guess, truth, 4) == pytest.approx([1, 0.5, 1, np.nan], nan_ok=True)
    assert group_shares(np.array([0, 2, 2, 2])) == pytest.approx([0.25, 0, 0.75])
    values, counts = np.array([1.0, 0.0, np.nan, 0.5]), np.array([1, 3, 0, 2])
    means = mean_by_group(values, counts, np.array([0, 0, 1, 2]), 3)
    assert means == pytest.approx([0.25, np.nan, 0.5], nan_ok=True)
    table = np.array([[3, 1], [0, 0], [2, 2]])
    best, share = majority(table)
    assert best.tolist() == [0, -1, 0]
    assert share == pytest.approx([0.75, np.nan, 0.5], nan_ok=True)


def test_nearest_and_drift_against_scikit_learn():
    means = GENERATOR.standard_normal((7, 5))
    means[3] = 0
    cosines = cosine_similarity(means)
    np.fill_diagonal(cosines, -2)
    cosines[:, 3] = -2
    rows, values = nearest_rows(means)
    for k in range(7):
        if k == 3:
            assert rows[k] == -1 and np.isnan(values[k])
        else:
            assert rows[k] == cosines[k].argmax() and values[k] == pytest.approx(cosines[k].max())
    others = GENERATOR.standard_normal((7, 5))
    wanted = cosine_similarity(means, others).diagonal().copy()
    wanted[3] = np.nan
    assert cosine_rows(means, others) == pytest.approx(wanted, nan_ok=True)
    assert nearest_rows(np.ones((1, 3)))[0].tolist() == [-1]


def test_components_explain_what_scikit_learns_explain():
    features = (GENERATOR.standard_normal((300, 60)) / np.arange(1, 61)).astype(np.float32)
    points, share = principal_components(features, 8)
    exact = PCA(8, svd_solver="full").fit(features)
    assert share == pytest.approx(exact.explained_variance_ratio_.sum(), rel=1e-3)
    assert points.var(0, ddof=1)[:4] == pytest.approx(exact.explained_variance_[:4], rel=1e-3)
    assert np.array_equal(points, principal_components(features, 8)[0])
    few, whole = principal_components(features[:, :5], 8)
    assert np.array_equal(few, features[:, :5]) and whole == 1


def test_hashes_order_ids_alone():
    ids = np.arange(10_000)
    mixed = hashes(ids)
    assert len(np.unique(mixed)) == len(ids)
    assert np.array_equal(hashes(ids[::-1]), mixed[::-1])
    assert np.mean(mixed / 2.0**64) == pytest.approx(0.5, abs=0.02)


def test_galleries_against_a_loop():
    categories = GENERATOR.integers(0, 5, 100)
    categories[categories == 3] = 2  # an empty one
    keys = {"near": GENERATOR.random(100), "far": GENERATOR.random(100)}
    keys["near"][::7] = np.inf
    found = galleries(categories, keys, {"near": 4, "far": 3}, 5)
    for k in range(5):
        members = np.flatnonzero(categories == k)
        near = sorted((keys["near"][i], i) for i in members if keys["near"][i] < np.inf)[:4]
        near = [i for _, i in near]
        far = [i for _, i in sorted((keys["far"][i], i) for i in members) if i not in near][:3]
        assert found[k] == {"near": near, "far": far}
