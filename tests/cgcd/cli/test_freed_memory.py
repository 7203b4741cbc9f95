"""Freed memory stays in the process: the same pieces again cost no new pages."""

from __future__ import annotations

import platform
import subprocess
import sys

import pytest

from cgcd.cli import main
from cgcd.cli.freed_memory import keep_freed_memory

PAGES = """
import ctypes, resource, sys
from cgcd.cli.freed_memory import keep_freed_memory
told = keep_freed_memory() if sys.argv[1] == "kept" else False
c = ctypes.CDLL(None)
c.malloc.restype = ctypes.c_void_p
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(20):
    places = [c.malloc(ctypes.c_size_t(2**20)) for _ in range(8)]
    for place in places:
        ctypes.memset(place, 1, 2**20)
    for place in reversed(places):
        c.free(ctypes.c_void_p(place))
print(told, resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="only glibc is told")
def test_pages_are_fetched_once() -> None:
    def pages(mode: str) -> tuple[str, int]:
        done = subprocess.run(
            [sys.executable, "-c", PAGES, mode], capture_output=True, text=True, check=True
        )
        told, faults = done.stdout.split()
        return told, int(faults)

    told, kept = pages("kept")
    _, plain = pages("plain")
    assert told == "True" and plain > 5 * kept


def test_what_the_environment_says_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MALLOC_TRIM_THRESHOLD_", "1000000")
    assert not keep_freed_memory()


def test_every_command_asks_for_it(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[bool] = []
    monkeypatch.setattr(main, "keep_freed_memory", lambda: asked.append(True))
    assert main.main(["data", "list"]) == 0 and asked
