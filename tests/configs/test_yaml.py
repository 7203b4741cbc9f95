"""Every YAML composes, lists every argument, and says the same as the signatures."""

from __future__ import annotations

import dataclasses
import inspect
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from hydra.utils import get_class, get_method, instantiate
from omegaconf import DictConfig, OmegaConf

import scenarios
from cgcd.cli.configs import choices, compose_run, config_dir
from cgcd.cli.settings import check_settings
from strategies import (
    GCD,
    NMC,
    PHE,
    SMILE,
    VBCGCD,
    Analytic,
    Gaussian,
    Happy,
    ProtoGCD,
    PrototypeMemory,
    SimGCD,
)

LIVE = {"model", "evaluator", "inputs", "example", "folder", "plugins"}  # objects, not YAML values
FOLDER = config_dir()
EXPERIMENTS = choices("experiment")
HAPPY = [name for name in EXPERIMENTS if name.startswith("happy_")]
ONLINE = [name for name in EXPERIMENTS if name.startswith(("phe_", "smile_"))]
FROZEN = [
    name for name in EXPERIMENTS if name.startswith(("nmc_", "gaussian_", "analytic_", "vb_cgcd_"))
]
MEMORIES = [name for name in EXPERIMENTS if name.startswith("prototype_memory_")]
SINGLE_STAGE = [name for name in EXPERIMENTS if name not in HAPPY + ONLINE + FROZEN + MEMORIES]
PUBLISHED = ["cifar100", "imagenet100", "tiny_imagenet", "cub", "cars", "aircraft"]


def composed(*overrides: str) -> DictConfig:
    """The config, with a value for whatever has to be given."""
    config, chosen = compose_run(["data_root=somewhere", *overrides])
    for key in OmegaConf.missing_keys(config):
        OmegaConf.update(config, key, "given.npz")
    check_settings(config, chosen)
    OmegaConf.resolve(config)
    return config


def overrides_of(path: Path) -> list[str]:
    group = path.parent.name
    key = "protocol@scenario.protocol" if group == "protocol" else group
    return [f"{key}={path.stem}"]


FILES = [
    path for path in sorted(FOLDER.glob("*/*.yaml")) if path.parent.name not in ("recipe", "tune")
]


def targets(node: Any) -> Iterator[dict[str, Any]]:
    """Every part of a config that names a class or function."""
    if isinstance(node, dict):
        if "_target_" in node:
            yield node
        for value in node.values():
            yield from targets(value)
    elif isinstance(node, list):
        for value in node:
            yield from targets(value)


def defaults(made: Any) -> dict[str, Any]:
    """Defaults by argument; `**more` stands for the arguments of the class above."""
    found: dict[str, Any] = {}
    for owner in inspect.getmro(made) if inspect.isclass(made) else [made]:
        parameters = inspect.signature(owner).parameters
        passed_on = any(p.kind is p.VAR_KEYWORD for p in parameters.values())
        for name, parameter in parameters.items():
            if parameter.kind is not parameter.VAR_KEYWORD:
                found.setdefault(name, parameter.default)
        if not passed_on:
            break
    return found


def located(path: str) -> Any:
    try:
        return get_class(path)
    except ValueError:  # a function
        return get_method(path)


@pytest.mark.parametrize("path", FILES, ids=lambda path: f"{path.parent.name}-{path.stem}")
def test_every_file_composes_and_lists_every_argument(path: Path) -> None:
    assert path.read_text(encoding="utf-8").startswith("# ")
    for part in targets(OmegaConf.to_container(composed(*overrides_of(path)))):
        if part["_target_"].startswith("torch."):
            continue
        listed = part.keys() - {"_target_", "_partial_"}
        wanted = set(defaults(located(part["_target_"])))
        assert listed - LIVE == wanted - LIVE, part["_target_"]


def plain(value: Any) -> Any:
    """Comparable content of dataclasses and partials."""
    if isinstance(value, partial):
        return value.func, value.args, value.keywords
    if dataclasses.is_dataclass(value):
        fields = {f.name: plain(getattr(value, f.name)) for f in dataclasses.fields(value)}
        return type(value), fields
    if isinstance(value, list | tuple):
        return [plain(v) for v in value]
    return value


def assert_equal_defaults(part: DictConfig, made: Any, other: set[str]) -> None:
    """YAML and signature give the same values, apart from `other` and what has no default."""
    for name, default in defaults(made).items():
        if name in LIVE | other or default is inspect.Parameter.empty:
            continue
        value = part[name]
        if OmegaConf.is_config(value):
            value = instantiate(value, _convert_="all")
        assert plain(value) == plain(default), name


@pytest.mark.parametrize(
    "made",
    [Analytic, GCD, Gaussian, Happy, NMC, PHE, ProtoGCD, PrototypeMemory, SMILE, SimGCD, VBCGCD],
)
def test_a_strategy_has_the_defaults_of_its_file(made: Any) -> None:
    files = {ProtoGCD: "proto_gcd", PrototypeMemory: "prototype_memory", VBCGCD: "vb_cgcd"}
    name = files.get(made, made.__name__.lower())
    part = composed("recipe=none", f"strategy={name}").strategy
    assert_equal_defaults(part, made, {"device"})  # auto on the command line


def test_scenarios_have_the_defaults_of_their_files() -> None:
    for name in choices("scenario"):
        part = composed(f"scenario={name}").scenario
        made = located(part["_target_"])
        assert getattr(scenarios, made.__name__) is made
        assert_equal_defaults(part, made, {"data_root"})


@pytest.mark.parametrize("name", EXPERIMENTS)
def test_an_experiment_says_what_it_is(name: str) -> None:
    text = (FOLDER / "experiment" / f"{name}.yaml").read_text(encoding="utf-8")
    header = text.partition("defaults:")[0]
    assert text.startswith("# @package _global_\n# ")
    for word in ("# Source: ", "# Expected", "# Hardware: ", f"cgcd run experiment={name}"):
        assert word in header, word
    assert "REDUCED" in header or "_reduced" not in name


@pytest.mark.parametrize("name", ONLINE)
def test_an_online_experiment_keeps_the_published_numbers(name: str) -> None:
    config, chosen = compose_run([f"experiment={name}"])
    assert chosen["recipe"] == "none" and config.strategy.warm_up is None
    published = composed("recipe=none", f"strategy={chosen['strategy']}").strategy
    base = config.strategy.base
    assert base.optimizer == published.base.optimizer and base.weights == published.base.weights
    assert base.schedule == published.base.schedule
    if "reference" not in name:
        assert (base.epochs, base.batch_size) == (published.base.epochs, 128)
        assert config.model.backbone == "vit_base_patch16_224.dino" and config.model.pretrained
        assert config.strategy.code_length == 12
        fixed = {"uniform": True, "per_class": False}[config.scenario.protocol.labeled_draw]
        assert fixed and config.scenario.protocol.split_seed == 0


@pytest.mark.parametrize("name", FROZEN)
def test_a_closed_form_experiment_is_on_happys_stages(name: str) -> None:
    config, happy = composed(f"experiment={name}"), composed("experiment=happy_cifar100")
    assert config.scenario == happy.scenario and config.model == happy.model
    assert config.strategy.base == happy.strategy.base and config.strategy.warm_up is None


@pytest.mark.parametrize("name", MEMORIES)
def test_a_prototype_memory_is_on_the_stream_of_phe(name: str) -> None:
    data = name.removeprefix("prototype_memory_")
    config, phe = composed(f"experiment={name}"), composed(f"experiment=phe_{data}")
    assert config.scenario == phe.scenario and config.model == phe.model
    assert config.strategy.warm_up is None and not config.strategy.tune_base


@pytest.mark.parametrize("name", SINGLE_STAGE)
def test_a_single_stage_experiment_keeps_the_published_numbers(name: str) -> None:
    config, chosen = compose_run([f"experiment={name}"])
    assert chosen["recipe"] == "none" and config.strategy.warm_up is None
    published = composed("recipe=none", f"strategy={chosen['strategy']}").strategy
    base = config.strategy.base
    assert base.optimizer == published.base.optimizer and base.schedule == "cosine"
    by_data_set = {  # 0.65 times the factors of simgcd.md 3.3 and protogcd.md 3.1
        **{f"simgcd_{data}": {"mean_entropy": 0.65} for data in ("cifar10", "imagenet100")},
        **{f"simgcd_{data}": {"mean_entropy": 0.65} for data in ("cars", "aircraft")},
        "simgcd_herbarium19": {"mean_entropy": 0.65},
        "simgcd_cifar100": {"mean_entropy": 2.6},
        "proto_gcd_cub": {"separation": 0.0325},
    }
    assert base.weights == {**published.base.weights, **by_data_set.get(name, {})}
    if "reference" in name:
        assert (base.epochs, base.batch_size) == (30, 64)
        return
    assert (base.epochs, base.batch_size) == (200, 128)
    assert config.model.backbone == "vit_base_patch16_224.dino" and config.model.pretrained
    data = name.removeprefix("simgcd_").removeprefix("proto_gcd_")
    assert config.scenario.protocol == OmegaConf.load(FOLDER / "protocol" / f"gcd_{data}.yaml")
    assert config.scenario.get("name", data) == data
    assert config.num_novel == "given"


@pytest.mark.parametrize("name", HAPPY)
def test_no_small_recipe_leaks_into_an_experiment(name: str) -> None:
    config, chosen = compose_run([f"experiment={name}"])
    assert chosen["recipe"] == "none"
    assert config.strategy.warm_up is None
    published = composed("recipe=none").strategy
    for stage, lr in (("base", 0.1), ("continual", 0.01)):
        recipe = config.strategy[stage]
        assert recipe.optimizer.lr == lr or "reduced" in name
        assert recipe.optimizer.weight_decay == 5e-5 and recipe.schedule == "cosine"
        for term, weight in recipe.weights.items():
            doubled = 2 if (name, stage, term) == ("happy_cub", "base", "mean_entropy") else 1
            assert weight == doubled * published[stage].weights[term]


@pytest.mark.parametrize("name", PUBLISHED)
def test_published_experiments_are_the_published_ones(name: str) -> None:
    config = composed(f"experiment=happy_{name}")
    assert config.model.backbone == "vit_base_patch16_224.dino" and config.model.pretrained
    protocol = OmegaConf.load(FOLDER / "protocol" / f"happy_{name}.yaml")
    assert config.scenario.protocol == protocol
    assert config.strategy.base.epochs == 100
    assert config.strategy.continual.epochs == (20 if name == "cub" else 30)
    assert config.strategy.base.batch_size == config.strategy.continual.batch_size == 128
    assert config.scenario.get("name", name) == name
    assert config.num_novel == "given"


def test_the_command_line_wins_over_an_experiment() -> None:
    config = composed("experiment=happy_cifar100", "strategy.base.epochs=1")
    assert config.strategy.base.epochs == 1
