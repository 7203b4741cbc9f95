"""How a command ends where nobody reads what it prints."""

from __future__ import annotations

import subprocess
import sys

import pytest

from cgcd.cli.messages import exit_code

LOUD = """
from cgcd.cli.messages import exit_code
def command():
    for _ in range(10**6):
        print("row")
    return 0
raise SystemExit(exit_code(command, "no more"))
"""


def test_a_reader_that_goes_away_ends_a_command_without_a_word() -> None:
    process = subprocess.Popen(
        [sys.executable, "-c", LOUD], stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    assert process.stdout is not None and process.stdout.readline() == b"row\n"
    process.stdout.close()
    assert process.wait(60) == 141
    assert process.stderr is not None and process.stderr.read() == b""
    process.stderr.close()


def test_another_broken_pipe_is_said(capsys: pytest.CaptureFixture) -> None:
    def command() -> int:
        raise BrokenPipeError("between processes")

    assert exit_code(command, "no more") == 1
    assert "BrokenPipeError: between processes" in capsys.readouterr().err
