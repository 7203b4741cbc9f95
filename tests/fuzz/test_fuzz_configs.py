"""Whatever is typed: a config that is whole, or a refusal in one sentence."""

from __future__ import annotations

import copy
from functools import cache
from typing import Any

import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from omegaconf import OmegaConf

from cgcd.cli.arguments import check_arguments
from cgcd.cli.configs import compose_run
from cgcd.cli.parts import instantiated
from cgcd.cli.settings import check_settings
from cgcd.vocabulary import InputError

KEYS = (
    "seed device strategy scenario model tracking num_novel schema_version hydra.job.chdir "
    "strategy.base.epochs strategy.base.weights.contrastive strategy.warm_up model.backbone "
    "scenario.protocol protocol@scenario.protocol scenario.protocol.num_base experiment"
).split()
VALUES = (
    "0 -1 1.5 1e400 nan null true happy digits none [] {} [1,2] {a:1} '' ??? ${seed} ${nope} "
    "${oc.env:HOME} ${strategy} 1,2 range(3) {_target_:os.system} a=b \\ ü"
).split()
ODD: list[Any] = [None, True, -1, 0, 1.5, float("nan"), float("inf"), 10**30, "x", "", [], {}, [1]]


@st.composite
def override(draw: st.DrawFn) -> str:
    if draw(st.integers(0, 5)) == 0:
        return draw(st.text(max_size=12).filter(lambda text: not text.startswith("-")))
    front = draw(st.sampled_from(["", "", "", "+", "++", "~"]))
    key = draw(st.sampled_from(KEYS))
    return f"{front}{key}={draw(st.sampled_from(VALUES))}"


@settings(max_examples=30)
@given(st.lists(override(), min_size=1, max_size=2))
def test_overrides(overrides: list[str]) -> None:
    try:
        content = check_settings(*compose_run(overrides))
    except InputError as error:
        text = str(error)
        assert len(text) > 15 and "Traceback" not in text
        return
    assert {"seed", "strategy", "scenario", "model"} <= content.keys()


@cache
def default_strategy() -> dict[str, Any]:
    plain: Any = OmegaConf.to_container(compose_run([])[0].strategy, resolve=True)
    return plain


@given(st.data())
def test_a_value_of_any_kind_in_any_place(data: st.DataObject) -> None:
    plain = copy.deepcopy(default_strategy())
    part = plain
    while True:
        key = data.draw(st.sampled_from(sorted(part)))
        if not isinstance(part[key], dict) or data.draw(st.booleans()):
            break
        part = part[key]
    part[key] = data.draw(st.sampled_from(ODD))
    try:
        check_arguments(plain, "strategy")
        for name in ("base", "continual", "warm_up"):
            if isinstance(plain[name], dict):
                instantiated(plain[name], f"strategy.{name}")
    except InputError as error:
        assert "strategy" in str(error)


@given(st.floats(1e-6, 1e6), st.integers(1, 10**6), st.floats(0, 1))
def test_what_is_sound_is_taken(lr: float, size: int, floor: float) -> None:
    plain = copy.deepcopy(default_strategy()["base"])
    plain["optimizer"]["lr"], plain["batch_size"], plain["floor"] = lr, size, floor
    recipe = instantiated(plain, "strategy.base")
    assert (recipe.batch_size, recipe.floor) == (size, floor)
    assert recipe.optimizer([torch.nn.Parameter(torch.zeros(1))]).defaults["lr"] == lr
