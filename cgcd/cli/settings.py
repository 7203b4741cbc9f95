"""The top-level values of a run, checked before anything is built."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from typing import Any

from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from cgcd.cli.configs import config_dir
from cgcd.vocabulary import SCHEMA_VERSION, InputError


def _whole(value: Any, low: int) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and low <= value < 2**63


def _number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value < 2**63


_CORES = os.cpu_count() or 1
_MOST_WORKERS = max(32, 4 * _CORES)  # each is a process of its own; more only wait for each other
_MOST_THREADS = max(64, 4 * _CORES)

_WANTED: dict[str, tuple[Callable[[Any], bool], str]] = {
    "seed": (lambda v: _whole(v, 0), "a whole number >= 0"),
    "torch_threads": (
        lambda v: v == "auto" or (_whole(v, 1) and v <= _MOST_THREADS),
        f"auto or a whole number from 1 to {_MOST_THREADS}",
    ),
    "num_workers": (
        lambda v: _whole(v, 0) and v <= _MOST_WORKERS,
        f"a whole number from 0 to {_MOST_WORKERS} on a machine of {_CORES} cores",
    ),
    "input_cache_gb": (lambda v: _number(v), "a number >= 0"),
    "device": (lambda v: isinstance(v, str), "auto, cpu, cuda, cuda:1, ..."),
    "precision": (lambda v: v in ("fp32", "bf16", "fp16"), "fp32, bf16 or fp16"),
    "compile": (lambda v: isinstance(v, bool), "true or false"),
    "deterministic": (lambda v: isinstance(v, bool), "true or false"),
    "analysis": (lambda v: isinstance(v, bool), "true or false"),
    "profile": (lambda v: isinstance(v, bool), "true or false"),
    "trunk_cache_gb": (_number, "a number >= 0"),
    "checkpoint_minutes": (
        lambda v: v is None or (_number(v) and v > 0),
        "minutes above 0, or null",
    ),
    "checkpoint_steps": (lambda v: v is None or _whole(v, 1), "a whole number >= 1, or null"),
    "baselines": (lambda v: isinstance(v, bool), "true or false"),
    "overwrite": (lambda v: isinstance(v, bool), "true or false"),
    "runs_root": (lambda v: isinstance(v, str) and bool(v), "a folder"),
    "data_root": (lambda v: v is None or isinstance(v, str), "a path, or null"),
    "out": (lambda v: v is None or isinstance(v, str), "FILE.npz or FILE.safetensors"),
    "data": (lambda v: isinstance(v, str), "files, or the name of a data set"),
    "labels": (lambda v: v in ("auto", "folders", "none"), "auto, folders or none"),
    "dtype": (lambda v: v in ("float16", "float32"), "float16 or float32"),
    "max_skipped": (lambda v: _number(v) and v <= 1, "a share from 0 to 1"),
    "batch_size": (lambda v: v == "auto" or _whole(v, 1), "auto or a whole number >= 1"),
    "read_threads": (lambda v: v == "auto" or _whole(v, 1), "auto or a whole number >= 1"),
    "cache_limit_gb": (lambda v: _number(v), "a number >= 0"),
}


def check_settings(
    config: DictConfig, chosen: Mapping[str, str], name: str = "run"
) -> dict[str, Any]:
    """The config as plain data with everything resolved.

    Args:
        config: composed, without Hydra's own part.
        chosen: file of every group.
        name: of the command and of the file that it composes.

    Raises:
        InputError: for a newer schema, a key nobody reads, a value still to be given or of the
            wrong kind.
    """
    version = config.get("schema_version")
    if not _whole(version, 1):
        raise InputError(
            f"schema_version={version} cannot be used; wanted a whole number >= 1: leave it out"
        )
    if version > SCHEMA_VERSION:
        raise InputError(
            f"the config has schema_version={version} and this cgcd reads up to "
            f"{SCHEMA_VERSION}; use a newer cgcd"
        )
    own = _own_keys(name)
    readable = own | chosen.keys()
    for key in config:
        if key not in readable:
            raise InputError(
                f"nothing reads the key {key!r}; leave it out, or see cgcd {name} --cfg job"
            )
    try:
        content: Any = OmegaConf.to_container(config, resolve=True)
        missing = sorted(OmegaConf.missing_keys(config))
    except OmegaConfBaseException as error:
        raise InputError(f"the config does not resolve: {str(error).splitlines()[0]}") from error
    if missing:
        raise InputError(
            f"{' and '.join(missing)} must be given: {' '.join(f'{key}=...' for key in missing)}"
        )
    for key, (fits, wanted) in _WANTED.items():
        if key in own and not fits(content[key]):
            raise InputError(f"{key}={content[key]} cannot be used; wanted {wanted}")
    return content


def _own_keys(name: str) -> set[str]:
    """Top-level keys of a command's file and of those that it is made of."""
    file = OmegaConf.load(config_dir() / f"{name}.yaml")
    above = [part for part in file.defaults if isinstance(part, str) and part != "_self_"]
    return set(file).union(*map(_own_keys, above))
