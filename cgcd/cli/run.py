"""`cgcd run`: compose, build, hand over to the stage loop."""

from __future__ import annotations

import json
import os
import platform
import subprocess
import sys
from collections.abc import Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

from cgcd.cli.messages import log_lines
from cgcd.vocabulary import InputError

_RECORDED = ("torch", "torchvision", "avalanche-lib", "timm", "numpy", "scikit-learn", "hydra-core")


def run(arguments: Sequence[str]) -> int:
    """Run one config, or a sweep with `-m`; everything after `cgcd run` as Hydra takes it."""
    if os.getcwd() not in sys.path:
        sys.path.append(os.getcwd())  # a class of the user's own, named by `_target_`
    try:
        with log_lines():
            if any(argument.startswith("-") for argument in arguments):
                from cgcd.cli.front import through_hydra

                return through_hydra(arguments, execute)
            from cgcd.cli.configs import compose_run

            return execute(*compose_run(arguments))
    except InputError as error:
        if os.environ.get("HYDRA_FULL_ERROR") == "1":
            raise
        print(f"cgcd: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("cgcd: stopped; the same command goes on after the last stage", file=sys.stderr)
        return 130


def execute(config: Any, chosen: Mapping[str, str]) -> int:
    """Build the parts of one run from its composed config and run it.

    Raises:
        InputError: if something given cannot be used; what is wrong in the config is said before
            anything is written.
    """
    from cgcd.cli.folders import PICTURE, RESULTS, run_folder, stored_results, take_folder
    from cgcd.cli.settings import check_settings

    content = check_settings(config, chosen)
    folder = run_folder(content, chosen)
    title = f"{chosen['scenario']}, {chosen['strategy']}, seed {config.seed}: {folder}"
    stored = None if config.overwrite else stored_results(folder)
    if stored is not None:  # needs neither torch nor Avalanche
        print(title)
        print(_table(stored))
        print(_summary(stored))
        print("finished before; overwrite=true runs it anew")
        return 0
    from cgcd.cli.parts import Parts
    from cgcd.engine.cache import write_text
    from cgcd.tracking.curves import draw_curves

    parts = Parts.build(config, folder)
    take_folder(folder, _yaml(config), config.overwrite)
    print(title)
    result = parts.run(folder, {**_facts(config), "model": parts.describe()}).to_json()
    write_text(folder / RESULTS, json.dumps(result, indent=1))  # also where no stage was left to do
    draw_curves(result, folder / PICTURE)
    print(_summary(result))
    print(f"results:     {folder}")
    if parts.tensorboard is not None:
        print(f"TensorBoard: tensorboard --logdir {config.runs_root}")
    return 0


def _table(results: Mapping[str, Any]) -> str:
    from cgcd.tracking import stream_table, table

    if results.get("setting") != "online":
        return table.table(results["stages"])
    rows = map(stream_table.stream_row, results["windows"])
    return "\n".join([stream_table.HEADER, *rows])


def _summary(results: Mapping[str, Any]) -> str:
    from cgcd.tracking import stream_table, table

    online = results.get("setting") == "online"
    return stream_table.stream_summary(results) if online else table.summary(results)


def _yaml(config: Any) -> str:
    from omegaconf import OmegaConf

    return OmegaConf.to_yaml(config, resolve=True)


def _facts(config: Any) -> dict[str, Any]:
    """Versions, commit and machine kind for `results.json`."""
    return {
        "versions": {"python": platform.python_version(), **{p: version(p) for p in _RECORDED}},
        "commit": _commit(),
        "machine": f"{platform.machine()}, {os.cpu_count()} cores",
        "config_schema_version": config.schema_version,
    }


def _commit() -> str | None:
    """Short hash of our checkout, None where cgcd was installed without one."""
    root = Path(__file__).resolve().parents[2]
    if not (root / ".git").exists():
        return None
    try:
        found = subprocess.run(
            ["git", "-C", str(root), "rev-parse", "--short", "HEAD"],
            capture_output=True,
            text=True,
            check=False,
        )
    except OSError:  # no git on this machine
        return None
    return found.stdout.strip() if found.returncode == 0 else None
