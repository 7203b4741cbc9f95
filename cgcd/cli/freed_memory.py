"""Keeps freed memory in the process, for a training step asks for the same again at once."""

from __future__ import annotations

import ctypes
import os
import platform

_TRIM_THRESHOLD, _MMAP_MAX, _ARENA_MAX = -1, -4, -8  # of glibc's mallopt
_KEPT = 2 * 10**9


def keep_freed_memory() -> bool:
    """Tell glibc to keep up to 2 GB of freed memory, on one heap, and to map no piece by itself.

    By default it gives the end of its heap back whenever a step's activations are freed and fetches
    it again page by page in the next step; and what threads free stays with each of them. What
    MALLOC_TRIM_THRESHOLD_ or MALLOC_MMAP_THRESHOLD_ in the environment say is left as it is, and so
    are other C libraries.

    Returns:
        Whether it was told.
    """
    if platform.libc_ver()[0] != "glibc" or any(
        name in os.environ for name in ("MALLOC_TRIM_THRESHOLD_", "MALLOC_MMAP_THRESHOLD_")
    ):
        return False
    mallopt = ctypes.CDLL(None).mallopt
    told = ((_MMAP_MAX, 0), (_TRIM_THRESHOLD, _KEPT), (_ARENA_MAX, 1))
    return all([mallopt(*what) for what in told])
