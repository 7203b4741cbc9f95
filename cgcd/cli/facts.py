"""What the command line records of the place where it ran: versions, commit, machine kind."""

from __future__ import annotations

import os
import platform
import subprocess
from importlib.metadata import version
from pathlib import Path
from typing import Any

_RECORDED = ("torch", "torchvision", "avalanche-lib", "timm", "numpy", "scikit-learn", "hydra-core")


def place_facts(config: Any) -> dict[str, Any]:
    """Plain data to store beside results."""
    return {
        "versions": {"python": platform.python_version(), **{p: version(p) for p in _RECORDED}},
        "commit": commit(),
        "machine": f"{platform.machine()}, {os.cpu_count()} cores{_company()}",
        "config_schema_version": config.schema_version,
    }


def _company() -> str:
    """How many processes do the run, where it is more than one: that changes the last bits."""
    from cgcd.engine.processes import num_processes

    return f", {num_processes()} processes" if num_processes() > 1 else ""


def commit() -> str | None:
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
