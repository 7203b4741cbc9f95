"""Threads that wait for each other without keeping a core busy."""

from __future__ import annotations

import os
import sys

QUIET = {"OMP_WAIT_POLICY": "passive", "GOMP_SPINCOUNT": "20000"}
"""OpenMP's threads sleep while they wait; those of GNU's spin for some microseconds first."""


def wait_quietly() -> bool:
    """Tell OpenMP, before torch loads it, that threads which wait for long sleep.

    By default they spin for milliseconds. Where other programs want the cores too, the spinning
    thread holds the one that its partner needs, and two threads are slower than one. Never to spin
    is as bad on an idle machine, for to wake up a thread takes longer than most waits last. Where
    the environment says anything of it, it is left as it is.

    Returns:
        Whether it was told.
    """
    if "torch" in sys.modules or not QUIET.keys().isdisjoint(os.environ):
        return False
    os.environ.update(QUIET)
    return True
