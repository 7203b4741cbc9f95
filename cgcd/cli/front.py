"""Hydra's own front end: `--help`, `--cfg job`, `-m`, launchers."""

from __future__ import annotations

import os
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import hydra
from hydra.core.hydra_config import HydraConfig
from hydra.errors import HydraException
from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException

from cgcd.cli.configs import compose_run, config_dir, first_lines, without_sweeps
from cgcd.cli.settings import check_settings
from cgcd.vocabulary import InputError

_FOREIGN_CONFIGS = ("-cd", "--config-dir", "-cp", "--config-path", "-cn", "--config-name")


def through_hydra(
    arguments: Sequence[str], execute: Callable[[Any, dict[str, str]], int], name: str = "run"
) -> int:
    """Let Hydra read flags and sweeps; every job of a sweep runs, also after one that failed.

    Args:
        arguments: everything after `cgcd run`.
        execute: runs one composed config.
        name: of the command and of the file that it composes.

    Returns:
        0, or 2 if a job could not be run, which was said where it happened.

    Raises:
        InputError: if the arguments do not compose.
    """
    flags = [argument for argument in arguments if argument.startswith("-")]
    is_sweep = bool({"-m", "--multirun"} & set(flags))
    if is_sweep and {"-c", "--cfg", "-i", "--info"} & {flag.split("=")[0] for flag in flags}:
        raise InputError("-m runs and --cfg or --info prints; give one of the two")
    if not any(flag.split("=")[0] in _FOREIGN_CONFIGS for flag in flags):
        overrides = [a for a in arguments if a[:1] in ("+", "~") or ("=" in a and a[0] != "-")]
        for single in without_sweeps(overrides):
            check_settings(*compose_run(single, name), name)

    failed = []

    def job(config: Any) -> None:
        state = HydraConfig.get()
        OmegaConf.set_struct(config, False)
        try:
            execute(config, dict(state.runtime.choices))
        except InputError as error:
            swept = [o for o in state.overrides.task if o not in arguments]
            print(f"cgcd: {' '.join(swept)}{': ' if swept else ''}{error}", file=sys.stderr)
            failed.append(swept)
            if state.runtime.choices["hydra/launcher"] != "basic":
                raise  # from another process nothing else comes back

    main = hydra.main(version_base="1.3", config_path=str(config_dir()), config_name=name)(job)
    with tempfile.TemporaryDirectory() as scratch:
        more = []
        if is_sweep and "hydra.sweep.dir" not in "".join(arguments):
            more.append(f"hydra.sweep.dir={scratch}")  # Hydra writes its multirun.yaml there
        with _command_line([f"cgcd {name}", *arguments, *more]):
            try:
                main()
            except InputError:
                return 2
            except SystemExit as stop:  # after --help, or flags that do not exist
                return int(stop.code or 0)
            except (HydraException, OmegaConfBaseException) as error:
                raise InputError(f"the config does not compose: {first_lines(error)}") from error
    return 2 if failed else 0


@contextmanager
def _command_line(arguments: Sequence[str]) -> Iterator[None]:
    """Inside, Hydra finds this command and hands its errors on instead of printing them."""
    before, full = sys.argv, os.environ.get("HYDRA_FULL_ERROR")
    sys.argv, os.environ["HYDRA_FULL_ERROR"] = list(arguments), "1"
    try:
        yield
    finally:
        sys.argv = before
        if full is None:
            del os.environ["HYDRA_FULL_ERROR"]
        else:
            os.environ["HYDRA_FULL_ERROR"] = full
