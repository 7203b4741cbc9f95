"""Config files: where they lie, how they compose, and what to say of a key that does not exist."""

from __future__ import annotations

import copy
import difflib
import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NoReturn

from hydra import compose, initialize_config_dir
from hydra.core.global_hydra import GlobalHydra
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override, ValueType
from hydra.errors import HydraException
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from cgcd.vocabulary import InputError

_NO_TEXTS = {"true", "false", "null", "nan", "inf"}  # words that mean something else unquoted

_SWEEPS = {
    "run": "add -m: cgcd run -m ...",
    "tune": "give the values to try as tune.grid.KEY=[1,2]",
    "features": "give one value",
}


def config_dir() -> Path:
    """The folder of the YAML files: inside the installed package, or beside it in a checkout."""
    package = Path(__file__).resolve().parent.parent
    for folder in (package / "configs", package.parent / "configs"):
        if (folder / "run.yaml").is_file():
            return folder
    raise FileNotFoundError(f"no configs beside {package}; install cgcd again")


def choices(group: str) -> list[str]:
    """Names of a config group's files."""
    return sorted(path.stem for path in (config_dir() / group).glob("*.yaml"))


def compose_run(overrides: Sequence[str], name: str = "run") -> tuple[DictConfig, dict[str, str]]:
    """The composed config and the chosen file of every group.

    Args:
        overrides: Hydra overrides as typed, without sweeps.
        name: of the command and of the file that it composes.

    Raises:
        InputError: naming the wrong key or choice and the nearest valid one.
    """
    parsed = _parse(overrides)
    if not any(override.key_or_group == "hydra.searchpath" for override in parsed):
        _check_choices(parsed)
    for override in parsed:
        if override.is_sweep_override():
            raise InputError(f"{override.input_line} is a sweep; {_SWEEPS[name]}")
    try:
        config = _compose(overrides, name)
    except (HydraException, OmegaConfBaseException) as error:
        _explain(parsed, error, name)
    chosen = dict(config.hydra.runtime.choices)
    OmegaConf.set_struct(config, False)
    del config["hydra"]
    return config, chosen


def without_sweeps(overrides: Sequence[str]) -> list[list[str]]:
    """A sweep's overrides as lists without sweeps in which every value occurs at least once.

    >>> without_sweeps(["seed=0,1", "device=cpu", "model=a,b"])  # doctest: +NORMALIZE_WHITESPACE
    [['seed=0', 'device=cpu', 'model=a'], ['seed=1', 'device=cpu', 'model=a'],
     ['seed=0', 'device=cpu', 'model=b']]
    """
    values: list[list[str]] = []
    for parsed in _parse(overrides):
        if not parsed.is_sweep_override():
            values.append([str(parsed.input_line)])
        elif parsed.value_type != ValueType.GLOB_CHOICE_SWEEP:  # a glob matches what there is
            key = parsed.get_key_element()
            values.append([f"{key}={value}" for value in parsed.sweep_string_iterator()])
    first = [options[0] for options in values]
    others = [
        [*first[:place], option, *first[place + 1 :]]
        for place, options in enumerate(values)
        for option in options[1:]
    ]
    return [first, *others]


def first_lines(error: Exception) -> str:
    """The two lines in which Hydra says what is wrong, on one line."""
    lines = [" ".join(line.split()).rstrip(".") for line in str(error).splitlines()]
    return "; ".join([line for line in lines if line and not line.endswith(":")][:2])


def with_values(config: DictConfig, values: Mapping[str, Any]) -> DictConfig:
    """A copy of a config with other values at some dotted keys.

    Raises:
        InputError: naming a key that is not there, and the nearest that is.
    """
    changed = copy.deepcopy(config)
    plain = OmegaConf.to_container(config, resolve=False)
    keys = set(_dotted(plain))
    for key, value in values.items():
        if key not in keys:
            raise InputError(
                f"there is no key {key!r} to set{_nearest(key, sorted(keys))}; "
                "cgcd run --cfg job prints all of them"
            )
        parent, _, last = key.rpartition(".")
        OmegaConf.select(changed, parent)[last] = value
    return changed


def value_text(value: Any) -> str:
    """A value as an override on the command line has it.

    >>> value_text([0.001, True, None, "a b"])
    "[0.001,true,null,'a b']"
    """
    if isinstance(value, str):
        quoted = value.replace("\\", "\\\\").replace("'", "\\'")
        plain = re.fullmatch(r"[A-Za-z_][\w./-]*", value) and value.lower() not in _NO_TEXTS
        return value if plain else f"'{quoted}'"
    if isinstance(value, Mapping):
        return "{" + ",".join(f"{key}:{value_text(v)}" for key, v in value.items()) + "}"
    if isinstance(value, Sequence):
        return "[" + ",".join(map(value_text, value)) + "]"
    if value is None or isinstance(value, bool):
        return {True: "true", False: "false", None: "null"}[value]
    return repr(value)


def _compose(overrides: Sequence[str], name: str) -> DictConfig:
    GlobalHydra.instance().clear()
    with initialize_config_dir(str(config_dir()), version_base="1.3"):
        return compose(name, overrides=list(overrides), return_hydra_config=True)


def _parse(overrides: Sequence[str]) -> list[Override]:
    parser, parsed = OverridesParser.create(), []
    for override in overrides:
        try:
            parsed.append(parser.parse_override(override))
        except HydraException as error:
            reason = str(error).splitlines()[0]
            raise InputError(f"{override} cannot be read ({reason}); wanted key=value") from error
    return parsed


def _check_choices(overrides: Sequence[Override]) -> None:
    for parsed in overrides:
        group = parsed.key_or_group
        is_plain = not parsed.is_delete() and not parsed.is_sweep_override()
        if not (config_dir() / group).is_dir() or not is_plain:
            continue
        value, known = parsed.value(), choices(group)
        for name in map(str, value if isinstance(value, list) else [value]):
            if name not in known:
                raise InputError(
                    f"{parsed.input_line} is none of the choices{_nearest(name, known)}; "
                    f"{group} is one of {', '.join(known)}"
                )


def _explain(overrides: Sequence[Override], error: Exception, name: str) -> NoReturn:
    """Turn Hydra's complaint into one sentence."""
    groups = [p for p in overrides if (config_dir() / p.key_or_group).is_dir()]
    keys = _keys([str(p.input_line) for p in groups], name)
    for override in overrides:
        key = override.key_or_group
        is_group = (config_dir() / key).is_dir()
        is_new = override.is_add() or override.is_force_add()
        if not is_group and not is_new and key not in keys:
            raise InputError(
                f"{override.input_line}: there is no key {key!r}{_nearest(key, keys)}; "
                f"cgcd {name} --cfg job prints all of them"
            ) from error
    raise InputError(f"the config does not compose: {first_lines(error)}") from error


def _keys(groups: Sequence[str], name: str) -> list[str]:
    """All keys under the chosen groups, or under the default ones where those do not compose."""
    try:
        config = _compose(groups, name)
    except HydraException:
        config = _compose([], name)
    return list(_dotted(OmegaConf.to_container(config, resolve=False)))


def _dotted(tree: object, prefix: str = "") -> Iterable[str]:
    if isinstance(tree, dict):
        for key, value in tree.items():
            yield f"{prefix}{key}"
            yield from _dotted(value, f"{prefix}{key}.")


def _nearest(word: str, words: Sequence[str]) -> str:
    close = difflib.get_close_matches(word, words, n=1, cutoff=0.5)
    return f" (did you mean {close[0]!r}?)" if close else ""
