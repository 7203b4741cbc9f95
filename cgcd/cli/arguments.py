"""Values of a config against the types that a constructor's signature states, before it is called.

A value of a wrong kind would else fail somewhere inside, in words about operators. What has no type
that can be told from plain data is let through, for the constructor to look at.
"""

from __future__ import annotations

import collections.abc
import importlib
import inspect
import math
import os
import types
import typing
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, Union

from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from cgcd.cli.configs import value_text
from cgcd.vocabulary import InputError

_TARGET = "_target_"
_WORDS = {
    int: "a whole number",
    float: "a number",
    bool: "true or false",
    str: "a text",
    Path: "a path",
    os.PathLike: "a path",
    type(None): "null",
}
_LISTS = (list, tuple, collections.abc.Sequence, collections.abc.Iterable)
_MAPPINGS = (dict, collections.abc.Mapping)
_MOST = 2**63


def check_arguments(config: Mapping[str, Any] | DictConfig, key: str) -> None:
    """Refuse a value that a constructor named in `config` cannot take.

    Args:
        config: of one object, with its `_target_`.
        key: under which it lies.

    Raises:
        InputError: naming the key of the value, the value and what is wanted.
    """
    plain = config
    if OmegaConf.is_config(config):
        try:
            plain = OmegaConf.to_container(config, resolve=True)  # type: ignore[assignment]
        except OmegaConfBaseException as error:
            reason = str(error).splitlines()[0]
            raise InputError(f"{key} does not resolve: {reason}") from error
    _check(plain, key)


def _check(value: Any, key: str) -> None:
    if isinstance(value, list):
        for place, inner in enumerate(value):
            _check(inner, f"{key}[{place}]")
    if not isinstance(value, dict):
        return
    made = _found(value[_TARGET]) if isinstance(value.get(_TARGET), str) else None
    hints, defaults = ({}, {}) if made is None else _signature(made)
    for name, inner in value.items():
        own = f"{key}.{name}"
        if name in hints:
            _check_one(inner, hints[name], own, defaults.get(name))
        if made is not None and (name == "seed" or str(name).endswith("_seed")):
            _check_seed(inner, own)
        _check(inner, own)


def _check_one(value: Any, hint: Any, key: str, default: Any) -> None:
    if _fits(value, hint):
        return
    inner = _parts_hint(hint)
    if inner is not None and isinstance(value, dict):
        for name, part in value.items():
            _check_one(part, inner, f"{key}.{name}", None)
    if inner is not None and isinstance(value, list):
        for place, part in enumerate(value):
            _check_one(part, inner, f"{key}[{place}]", None)
    mend = ""
    if isinstance(default, int | float | str) and _fits(default, hint):
        mend = f": set {key}={value_text(default)}"
    wanted = _wanted(hint)
    if isinstance(value, float) and not math.isfinite(value):
        wanted = wanted.replace("a number", "a finite number")
    raise InputError(f"{key}={_text(value)} cannot be used; wanted {wanted}{mend}")


def _check_seed(value: Any, key: str) -> None:
    if isinstance(value, int) and not 0 <= value < _MOST:
        raise InputError(f"{key}={value} cannot be used; wanted a whole number >= 0: set {key}=0")


def _found(target: str) -> Any:
    """The class or function of that name; None where there is none, which building it will say."""
    module, _, attribute = target.rpartition(".")
    try:
        found = getattr(importlib.import_module(module), attribute, None)
    except (ImportError, ValueError):
        return None
    return found if inspect.isclass(found) or inspect.isfunction(found) else None


def _signature(made: Any) -> tuple[dict[str, Any], dict[str, Any]]:
    """Types and defaults of the keyword arguments; of a class also those it hands on to its bases.

    Both empty of what has no types that can be read.
    """
    makers = [made]
    if inspect.isclass(made):
        if "__dataclass_fields__" in vars(made):
            return _hints(made), _defaults(vars(made)["__init__"])
        own = [vars(kind).get("__init__") for kind in made.__mro__]
        makers = [maker for maker in own if inspect.isfunction(maker)]
    hints: dict[str, Any] = {}
    defaults: dict[str, Any] = {}
    for maker in makers:
        hints = {**_hints(maker), **hints}
        defaults = {**_defaults(maker), **defaults}
        taken = inspect.signature(maker).parameters.values()
        if not any(parameter.kind is parameter.VAR_KEYWORD for parameter in taken):
            break
    return hints, defaults


def _hints(made: Any) -> dict[str, Any]:
    try:
        return typing.get_type_hints(made)
    except (NameError, TypeError):  # names that only a type checker imports
        return {}


def _defaults(maker: Any) -> dict[str, Any]:
    parameters = inspect.signature(maker).parameters
    return {name: p.default for name, p in parameters.items() if p.default is not p.empty}


def _fits(value: Any, hint: Any) -> bool:
    """Whether plain data can be what the hint says; a part still to be built always can."""
    if isinstance(value, dict) and _TARGET in value:
        return True
    origin, parts = typing.get_origin(hint), typing.get_args(hint)
    if _is_union(hint):
        return any(_fits(value, part) for part in parts)
    if origin is Literal:
        return value in parts
    if hint in (None, type(None)):
        return value is None
    if hint is bool:
        return isinstance(value, bool)
    if hint is int:
        return isinstance(value, int) and not isinstance(value, bool)
    if hint is float:
        is_number = isinstance(value, int | float) and not isinstance(value, bool)
        return is_number and math.isfinite(value)
    kind = origin or hint
    if kind in (str, Path, os.PathLike):
        return isinstance(value, str)
    if kind in _LISTS:
        return isinstance(value, list) and _all_fit(value, parts, kind is tuple)
    if kind in _MAPPINGS:
        inner = parts[1] if len(parts) == 2 else Any
        return isinstance(value, dict) and all(_fits(v, inner) for v in value.values())
    if not inspect.isclass(kind) or kind is object or kind is Any:
        return True
    return isinstance(value, kind)  # what is no plain data has to be built


def _parts_hint(hint: Any) -> Any:
    """What each part of a list or a mapping has to be; None where nothing says it."""
    for kind in typing.get_args(hint) if _is_union(hint) else (hint,):
        origin, parts = typing.get_origin(kind), typing.get_args(kind)
        if origin in _MAPPINGS and len(parts) == 2:
            return parts[1]
        if origin in _LISTS and parts and origin is not tuple:
            return parts[0]
    return None


def _is_union(hint: Any) -> bool:
    return typing.get_origin(hint) in (Union, types.UnionType)


def _all_fit(values: Sequence[Any], parts: tuple[Any, ...], is_tuple: bool) -> bool:
    if is_tuple and parts and parts[-1] is not Ellipsis:
        return len(values) == len(parts) and all(map(_fits, values, parts))
    return not parts or all(_fits(value, parts[0]) for value in values)


def _wanted(hint: Any) -> str:
    origin, parts = typing.get_origin(hint), typing.get_args(hint)
    if _is_union(hint):
        told = [part for part in parts if getattr(part, "__module__", None) != "torch"]
        return " or ".join(dict.fromkeys(map(_wanted, told)))
    if origin is Literal:
        return " or ".join(map(str, parts))
    kind = origin or hint
    if kind in _WORDS:
        return _WORDS[kind]
    if kind in _LISTS:
        return f"a list, each {_wanted(parts[0])}" if parts else "a list"
    if kind in _MAPPINGS:
        inner = f", each {_wanted(parts[1])}" if len(parts) == 2 else ""
        return f"values by name{inner}"
    name = getattr(kind, "__name__", str(kind))
    return f"a {name} (_target_: ...)"


def _text(value: Any) -> str:
    text = "nan" if value != value else value_text(value)
    return text if len(text) <= 80 else f"{text[:77]}..."
