"""Threads that wait for each other without keeping a core busy."""

from __future__ import annotations

import os
import sys

_POLICY = "OMP_WAIT_POLICY"


def wait_quietly() -> bool:
    """Tell OpenMP, before torch loads it, that threads sleep while they wait.

    By default they spin. Where other programs want the cores too, the spinning thread holds the one
    that its partner needs, and two threads are slower than one. What OMP_WAIT_POLICY or
    GOMP_SPINCOUNT in the environment say is left as it is.

    Returns:
        Whether it was told.
    """
    if "torch" in sys.modules or _POLICY in os.environ or "GOMP_SPINCOUNT" in os.environ:
        return False
    os.environ[_POLICY] = "passive"
    return True
