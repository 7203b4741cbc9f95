"""The config that a run folder holds, as plain data that may be built."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException
from yaml import YAMLError

from cgcd.cli.trust import resolved
from cgcd.vocabulary import InputError

_ANEW = "run it anew with overwrite=true"
_PARTS = ("model", "scenario", "strategy")


def stored_config(folder: Path, trust_code: bool) -> dict[str, Any]:
    """`config.yaml` of a run folder, checked as `trust.check_targets` says.

    Raises:
        InputError: if it cannot be read, names a foreign class or lacks a part of a run.
    """
    path = folder / "config.yaml"
    try:
        loaded = OmegaConf.load(path)
    except (OSError, OmegaConfBaseException, YAMLError, ValueError, RecursionError) as error:
        reason = " ".join(str(error).split())[:200]
        raise InputError(f"{path} cannot be read ({reason}); {_ANEW}") from error
    plain = resolved(loaded, trust_code)
    if not isinstance(plain, dict) or not all(isinstance(plain.get(p), dict) for p in _PARTS):
        raise InputError(f"{path} lacks {', '.join(_PARTS)} or one of them; {_ANEW}")
    return plain
