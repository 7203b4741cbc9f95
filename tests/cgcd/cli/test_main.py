"""The front door: what needs no config answers at once and loads nothing heavy."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

import cgcd
from cgcd.cli import help_topics
from cgcd.cli.main import main


@pytest.mark.parametrize("arguments", [[], ["-h"], ["--help"], ["help"]])
def test_help_names_the_commands(arguments: list[str], capsys: pytest.CaptureFixture) -> None:
    assert main(arguments) == 0
    out, err = capsys.readouterr()
    assert "cgcd run" in out and "experiment=NAME" in out and not err


def test_version(capsys: pytest.CaptureFixture) -> None:
    assert main(["--version"]) == 0
    assert capsys.readouterr().out == f"cgcd {cgcd.__version__}\n"


@pytest.mark.parametrize("arguments", [["frobnicate"], ["help", "frobnicate"]])
def test_unknown_words_are_refused(arguments: list[str], capsys: pytest.CaptureFixture) -> None:
    assert main(arguments) == 2
    out, err = capsys.readouterr()
    assert not out and err.startswith("cgcd: ") and "'frobnicate'" in err and err.count("\n") == 1


@pytest.mark.parametrize("name", help_topics.TOPICS)
def test_every_topic_has_a_text_that_fits_a_terminal(
    name: str, capsys: pytest.CaptureFixture
) -> None:
    assert main(["help", name]) == 0
    text = capsys.readouterr().out
    assert len(text.splitlines()) > 10 and text.endswith("\n") and text.isascii()
    assert max(map(len, text.splitlines())) <= 100


def test_no_text_without_a_topic() -> None:
    folder = Path(help_topics.__file__).parent / "topics"
    assert {path.name for path in folder.iterdir()} == {f"{t}.txt" for t in help_topics.TOPICS}


def test_help_loads_nothing_heavy() -> None:
    code = (
        "import sys; from cgcd.cli.main import main; main(['--help']); main(['help', 'metrics']); "
        "print({'torch', 'avalanche', 'numpy', 'hydra', 'rich'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.endswith("set()\n") and not done.stderr
