"""Settings to try: a grid of values by dotted key, whole or drawn from."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from cgcd.engine.seeding import numpy_generator
from cgcd.vocabulary import InputError

_MOST = 10_000


def flat_grid(tree: Mapping[str, Any], front: str = "") -> dict[str, list[Any]]:
    """Values by dotted key, from a tree of mappings whose leaves are lists.

    Args:
        tree: dotted keys are taken too.
        front: of every key.

    >>> flat_grid({"strategy": {"lr": [1, 2]}, "model.size": [3]})
    {'strategy.lr': [1, 2], 'model.size': [3]}

    Raises:
        InputError: if a leaf is no list, or an empty one.
    """
    flat: dict[str, list[Any]] = {}
    for name, value in tree.items():
        key = f"{front}{name}"
        if isinstance(value, Mapping):
            flat |= flat_grid(value, f"{key}.")
        elif isinstance(value, Sequence) and not isinstance(value, str) and len(value):
            flat[key] = list(value)
        else:
            raise InputError(
                f"tune.grid has {value!r} for {key}; wanted a list of values: set "
                f"tune.grid.{key}=[first,second]"
            )
    return flat


def grid_candidates(
    grid: Mapping[str, Sequence[Any]], num_random: int | None = None, seed: int = 0
) -> list[dict[str, Any]]:
    """Every combination of the values, the last key changing fastest, or a draw from them.

    Args:
        grid: values by key; each not empty.
        num_random: combinations to draw, no two alike, in the order of the grid; None, or more than
            there are: all.
        seed: of the draw.

    Raises:
        InputError: if `num_random` is no number from 1 on, or there are too many combinations.

    >>> grid_candidates({"a": [1, 2], "b": [3, 4]})
    [{'a': 1, 'b': 3}, {'a': 1, 'b': 4}, {'a': 2, 'b': 3}, {'a': 2, 'b': 4}]
    """
    if num_random is not None and (
        not isinstance(num_random, int) or isinstance(num_random, bool) or num_random < 1
    ):
        raise InputError(
            f"num_random is {num_random}; wanted a whole number from 1 on, or null for the whole "
            "grid: set tune.num_random=10"
        )
    sizes = [len(values) for values in grid.values()]
    total = math.prod(sizes) if sizes else 0
    if min(total, num_random or total) > _MOST or total >= 2**63:
        raise InputError(
            f"the grid has {total} combinations; wanted at most {_MOST} to try: set "
            "tune.num_random=20 or give fewer values"
        )
    picked = np.arange(total) if num_random is None or num_random >= total else None
    if picked is None:
        generator = numpy_generator(seed, "candidates")
        picked = np.sort(generator.choice(total, size=num_random, replace=False))
    return [
        {
            key: values[int(at)]
            for (key, values), at in zip(grid.items(), np.unravel_index(i, sizes), strict=True)
        }
        for i in picked
    ]
