"""A command's process ends at once, but not before others had their last word."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

SCRIPT = """
import atexit, sys, threading, time
from cgcd.cli.quick_exit import QuickExit

ending = QuickExit()
ending.code = {code}
atexit.register(print, "registered")

def slowly():
    time.sleep(0.1)
    print("thread", end=" ")

class Part:
    def __del__(self):
        print("taken apart")

part = Part()
threading.Thread(target=slowly).start()
sys.stdout.write("printed ")
sys.exit({exits})
"""


@pytest.mark.parametrize(
    ("code", "exits", "wanted"),
    [
        (2, 2, "printed thread registered\n"),
        (None, 3, "printed thread registered\ntaken apart\n"),
    ],
)
def test_threads_handlers_and_output_come_first(code: int | None, exits: int, wanted: str) -> None:
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT.format(code=code, exits=exits)],
        capture_output=True,
        env={k: v for k, v in os.environ.items() if k != "PYTHONUNBUFFERED"},
        text=True,
        check=False,
    )
    assert (done.returncode, done.stdout, done.stderr) == (exits, wanted, "")


def test_an_output_that_cannot_be_written_is_told() -> None:
    process = subprocess.Popen(
        [sys.executable, "-c", SCRIPT.format(code=0, exits=0)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env={k: v for k, v in os.environ.items() if k != "PYTHONUNBUFFERED"},
        text=True,
    )
    assert process.stdout is not None and process.stderr is not None
    process.stdout.close()
    assert "what was printed cannot be written" in process.stderr.read()
    assert process.wait() == 120
