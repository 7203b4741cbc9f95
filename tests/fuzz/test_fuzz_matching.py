"""The matching against every permutation, and against scipy where there are too many."""

from __future__ import annotations

from itertools import permutations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays
from scipy.optimize import linear_sum_assignment

from cgcd.discovery import UNMATCHED, contingency, match

COUNTS = st.one_of(st.integers(0, 3), st.integers(0, 2**40))


def best(counts: np.ndarray) -> int:
    """Most samples that a one-to-one assignment gets right, by trying all."""
    table = counts if counts.shape[0] <= counts.shape[1] else counts.T
    rows, columns = range(len(table)), range(table.shape[1])
    return max(
        sum(int(table[r, c]) for r, c in zip(rows, chosen, strict=True))
        for chosen in permutations(columns, len(table))
    )


@given(arrays(np.int64, array_shapes(min_dims=2, max_dims=2, max_side=5), elements=COUNTS))
def test_no_assignment_is_better(counts: np.ndarray) -> None:
    found = match(counts)
    matched = found.class_of_row[found.class_of_row != UNMATCHED]
    assert len(set(matched.tolist())) == len(matched)
    assert int(found.hits(counts).sum()) == best(counts)
    assert all(counts[row, c] > 0 for row, c in enumerate(found.class_of_row) if c != UNMATCHED)


@given(
    arrays(np.int64, array_shapes(min_dims=2, max_dims=2, max_side=30), elements=COUNTS),
    st.integers(0, 99),
)
def test_scipy_finds_no_better_one_and_names_of_rows_do_not_matter(
    counts: np.ndarray, seed: int
) -> None:
    i, j = linear_sum_assignment(counts, maximize=True)
    found = match(counts).hits(counts)
    assert int(found.sum()) == int(counts[i, j].sum())
    order = np.random.default_rng(seed).permutation(len(counts))
    assert match(counts[order]).hits(counts[order]).tolist() == found.tolist()


@given(st.lists(st.tuples(st.integers(0, 9), st.integers(0, 9)), min_size=1, max_size=60))
def test_the_table_counts_pairs(pairs: list[tuple[int, int]]) -> None:
    rows, classes = map(np.array, zip(*pairs, strict=True))
    table = contingency(rows, classes)
    assert table.shape == (rows.max() + 1, classes.max() + 1) and table.sum() == len(pairs)
    assert all(table[r, c] == pairs.count((r, c)) for r, c in set(pairs))
