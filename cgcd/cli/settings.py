"""The top-level values of a run, checked before anything is built."""

from __future__ import annotations

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


_WANTED: dict[str, tuple[Callable[[Any], bool], str]] = {
    "seed": (lambda v: _whole(v, 0), "a whole number >= 0"),
    "torch_threads": (lambda v: v == "auto" or _whole(v, 1), "auto or a whole number >= 1"),
    "num_workers": (lambda v: _whole(v, 0), "a whole number >= 0"),
    "device": (lambda v: isinstance(v, str), "auto, cpu, cuda, cuda:1, ..."),
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
    if config.schema_version > SCHEMA_VERSION:
        raise InputError(
            f"the config has schema_version={config.schema_version} and this cgcd reads up to "
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
