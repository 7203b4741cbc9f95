"""Plain data against the types of a signature, and how a wrong one is spoken of."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import pytest
from omegaconf import OmegaConf

from cgcd.cli.arguments import _fits, _wanted, check_arguments
from cgcd.engine import Recipe
from cgcd.vocabulary import InputError

BUILT = {"_target_": "anything.At.All"}


@pytest.mark.parametrize(
    ("hint", "good", "bad"),
    [
        (int, [0, -3, BUILT], [1.5, True, "1", None, [1]]),
        (float, [0, 1.5], [True, "x", None, float("nan"), float("inf")]),
        (bool, [True], [0, "true", None]),
        (str, ["", "a"], [1, None, ["a"]]),
        (str | Path | None, ["a", None], [1, {}]),
        (str | os.PathLike[str], ["a"], [None]),
        (int | None, [3, None], ["x", 1.5]),
        (Literal["a", "b"], ["a"], ["c", None]),
        (Sequence[int], [[], [1, 2]], [1, "12", [1.5], None]),
        (tuple[float, float], [[1, 2.0]], [[1], [1, 2, 3], ["a", 1]]),
        (tuple[int, ...], [[1], []], [["a"], 1]),
        (Mapping[str, float], [{}, {"a": 1}], [[1], {"a": "x"}, None]),
        (Recipe, [BUILT], [5, "x", None, {"epochs": 1}]),
        (Recipe | None, [None, BUILT], [5]),
        (Any, [1, None, "x"], []),
        (object, [1, None, "x"], []),
    ],
    ids=str,
)
def test_what_fits(hint: Any, good: list[Any], bad: list[Any]) -> None:
    assert all(_fits(value, hint) for value in good)
    assert not any(_fits(value, hint) for value in bad)
    assert _wanted(hint)


HAPPY = {"_target_": "strategies.Happy", "base": {"_target_": "cgcd.engine.Recipe", "epochs": 3}}


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"kmeans_starts": "many"}, "part.kmeans_starts=many .* a whole number: set part.kmeans"),
        ({"num_workers": 1.5}, "part.num_workers=1.5 cannot be used"),  # an argument of its base
        ({"seed": -1}, "part.seed=-1 .* >= 0"),
        ({"base": {**HAPPY["base"], "epochs": "x"}}, "part.base.epochs=x .* a whole number$"),
        ({"base": {**HAPPY["base"], "weights": {"a": None}}}, "part.base.weights.a=null"),
        ({"plugins": [3]}, r"part.plugins\[0\]=3 .* a BasePlugin"),
        ({"warm_up": "${nope}"}, "part does not resolve"),
    ],
)
def test_the_key_and_the_value_are_named(changes: dict[str, Any], words: str) -> None:
    with pytest.raises(InputError, match=words):
        check_arguments(OmegaConf.create({**HAPPY, **changes}), "part")


def test_what_cannot_be_told_is_let_through() -> None:
    for target in ("nowhere.Nothing", "nodots", "math.sqrt", 5, None):
        check_arguments({"_target_": target, "seed": None, "x": object()}, "part")
