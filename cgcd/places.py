"""Where cgcd keeps what it can make again, and how much of it."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from pathlib import Path

_input_bytes: ContextVar[int] = ContextVar("input_bytes", default=0)


def cache_folder() -> Path:
    """`$CGCD_CACHE`, or `cgcd` in the user's cache folder."""
    given = os.environ.get("CGCD_CACHE")
    if given:
        return Path(given)
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "cgcd"


@contextmanager
def input_cache(num_bytes: int) -> Iterator[None]:
    """Scenarios that are built inside keep decoded images of files there, at most so many bytes.

    Args:
        num_bytes: >= 0; 0 keeps none, which is what holds outside.
    """
    token = _input_bytes.set(num_bytes)
    try:
        yield
    finally:
        _input_bytes.reset(token)


def input_cache_bytes() -> int:
    """Most bytes of decoded images that a scenario built now may keep."""
    return _input_bytes.get()
