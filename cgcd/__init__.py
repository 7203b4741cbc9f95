"""Continual category discovery: shared model, memory, losses, metrics and engine."""

from __future__ import annotations

import warnings
from importlib import import_module

__version__ = "0.1.0"

# Avalanche 0.6.0 imports every QP solver it might need and warns that there is none.
warnings.filterwarnings("ignore", message="no QP solver found", category=UserWarning)

_LAZY = {
    "GCDModel": "cgcd.models",
    "GCDOutput": "cgcd.vocabulary",
    "InputError": "cgcd.vocabulary",
    "PrototypeMemory": "cgcd.memory",
    "UNLABELED": "cgcd.vocabulary",
    "open_run": "cgcd.live",
    "run_stages": "cgcd.engine",
}

__all__ = ["__version__", *sorted(_LAZY)]


def __getattr__(name: str) -> object:
    if name in _LAZY:
        return getattr(import_module(_LAZY[name]), name)
    raise AttributeError(f"module 'cgcd' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)
