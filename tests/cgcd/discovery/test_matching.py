import itertools

import numpy as np
import pytest
import torch
from scipy.optimize import linear_sum_assignment
from scipy.sparse import csr_array

from cgcd.discovery import UNMATCHED, contingency, match, matching


def best_by_brute_force(counts):
    rows, classes = counts.shape
    if rows < classes:
        return best_by_brute_force(counts.T)
    columns = range(classes)
    return max(
        sum(counts[r, c] for r, c in zip(order, columns, strict=True))
        for order in itertools.permutations(range(rows), classes)
    )


def test_contingency_counts_every_pair():
    rng = np.random.default_rng(0)
    p, y = rng.integers(0, 7, 200), rng.integers(0, 4, 200)
    loop = np.zeros((9, 5), dtype=np.int64)
    for i, j in zip(p, y, strict=True):
        loop[i, j] += 1
    table = contingency(p, y, num_rows=9, num_classes=5)
    assert table.dtype == np.int64
    np.testing.assert_array_equal(table, loop)
    np.testing.assert_array_equal(contingency(p, y), loop[:7, :4])
    np.testing.assert_array_equal(contingency(torch.tensor(p), torch.tensor(y)), loop[:7, :4])


@pytest.mark.parametrize(
    ("p", "y", "message"),
    [
        ([0, -1, -1], [0, 0, 0], "predictions: 2 of 3 are negative"),
        ([0, 1, 1], [0, -1, 0], "targets: 1 of 3 are negative"),
        ([0, 1], [0, 1, 0], "2 predictions for 3 targets"),
        ([], [], "N >= 1"),
        ([[0]], [0], r"shape \(1, 1\)"),
        ([0.5], [0], "integers wanted"),
        ([4], [0], "ids below 4"),
    ],
)
def test_contingency_refuses(p, y, message):
    with pytest.raises(ValueError, match=message):
        contingency(np.array(p), np.array(y), num_rows=4)


@pytest.mark.parametrize("shape", [(1, 1), (1, 4), (4, 4), (6, 3), (3, 6), (7, 2)])
def test_match_is_optimal(shape):
    rng = np.random.default_rng(sum(shape))
    for _ in range(20):
        counts = rng.integers(0, 5, shape) * rng.integers(0, 2, shape)
        matching = match(counts)
        matched = matching.class_of_row[matching.class_of_row != UNMATCHED]
        assert len(set(matched)) == len(matched)
        assert matching.hits(counts).sum() == best_by_brute_force(counts)


def test_row_without_a_shared_sample_is_unmatched():
    matching = match(np.array([[3, 0, 0], [0, 0, 0], [2, 0, 0], [0, 0, 1]]))
    assert matching.class_of_row.tolist() == [0, UNMATCHED, UNMATCHED, 2]
    assert matching.classes([3, 0, 2, 9]).tolist() == [2, 0, UNMATCHED, UNMATCHED]
    assert matching.hits(np.array([[3, 0, 0], [0, 0, 0], [2, 0, 0], [0, 0, 1]])).tolist() == [
        3,
        0,
        1,
    ]


def test_ties_do_not_depend_on_the_order_of_rows():
    counts = np.array([[2, 2, 0], [2, 2, 0], [1, 1, 1], [2, 0, 2], [2, 2, 2]])
    expected = match(counts).hits(counts)
    for order in itertools.permutations(range(len(counts))):
        shuffled = counts[list(order)]
        np.testing.assert_array_equal(match(shuffled).hits(shuffled), expected)


@pytest.mark.parametrize("shape", [(1, 1), (40, 40), (90, 12), (12, 90)])
@pytest.mark.parametrize("density", [0.05, 0.5, 1.0])
def test_large_tables_are_matched_by_their_cells_as_well_as_scipy_matches_them(
    shape, density, monkeypatch
):
    monkeypatch.setattr(matching, "_DENSE_CELLS", 0)  # every table is a large one
    rng = np.random.default_rng(sum(shape))
    for most in (2, 50, 2**40):  # many ties, few, none
        counts = rng.integers(1, most, shape) * (rng.random(shape) < density)
        found = match(csr_array(counts))
        matched = found.class_of_row[found.class_of_row != UNMATCHED]
        assert len(set(matched)) == len(matched)
        hits = found.hits(counts)
        assert hits.sum() == counts[linear_sum_assignment(counts, maximize=True)].sum()
        assert (hits == found.hits(csr_array(counts))).all()
        assert (match(counts).class_of_row == found.class_of_row).all()
        order = rng.permutation(len(counts))
        np.testing.assert_array_equal(match(counts[order]).hits(counts[order]), hits)


def test_small_tables_are_matched_alike_in_either_form():
    rng = np.random.default_rng(3)
    for _ in range(20):
        counts = rng.integers(0, 3, (9, 7)) * rng.integers(0, 2, (9, 7))
        assert (match(csr_array(counts)).class_of_row == match(counts).class_of_row).all()
