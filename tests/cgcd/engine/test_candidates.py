"""Grids of settings: every combination, or a draw from them."""

from __future__ import annotations

from itertools import product

import pytest

from cgcd.engine.candidates import flat_grid, grid_candidates
from cgcd.vocabulary import InputError

GRID = {"a": [1, 2, 3], "b": [None, [4]], "c": ["x", "y"]}


def test_the_whole_grid_is_the_product():
    wanted = [dict(zip("abc", values, strict=True)) for values in product(*GRID.values())]
    assert grid_candidates(GRID) == wanted == grid_candidates(GRID, 99)
    assert grid_candidates({}) == []


def test_a_draw_is_a_part_of_it_and_hangs_on_the_seed():
    drawn = [grid_candidates(GRID, 5, seed) for seed in range(20)]
    everything = grid_candidates(GRID)
    for part in drawn:
        places = [everything.index(one) for one in part]
        assert len(places) == 5 and places == sorted(set(places))
    assert len({str(part) for part in drawn}) > 10
    assert grid_candidates(GRID, 5, 3) == drawn[3]


def test_a_large_grid_is_drawn_from_and_not_built():
    large = {str(k): list(range(50)) for k in range(10)}
    assert len(grid_candidates(large, 4)) == 4
    with pytest.raises(InputError, match=r"tune\.num_random"):
        grid_candidates(large)


def test_trees_and_dotted_keys_are_one():
    tree = {"s": {"base": {"lr": [0.1]}, "w": [[1], {"a": 2}]}, "m.size": (3,)}
    assert flat_grid(tree) == {"s.base.lr": [0.1], "s.w": [[1], {"a": 2}], "m.size": [3]}


@pytest.mark.parametrize("leaf", [3, "abc", None, []])
def test_a_leaf_is_a_list(leaf):
    with pytest.raises(InputError, match=r"for s\.lr; wanted a list"):
        flat_grid({"s": {"lr": leaf}})


@pytest.mark.parametrize("number", [0, -1, 1.5, True, "x"])
def test_a_wrong_number_is_named(number):
    with pytest.raises(InputError, match="num_random is"):
        grid_candidates(GRID, number)
