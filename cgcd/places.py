"""Where cgcd keeps what it can make again."""

from __future__ import annotations

import os
from pathlib import Path


def cache_folder() -> Path:
    """`$CGCD_CACHE`, or `cgcd` in the user's cache folder."""
    given = os.environ.get("CGCD_CACHE")
    if given:
        return Path(given)
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "cgcd"
