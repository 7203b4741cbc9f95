"""Every Python block of the README runs; the set-up commands are where `.ci/run` looks for them."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

README = (Path(__file__).resolve().parent.parent / "README.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"```python\n(.*?)```", README, flags=re.DOTALL)


@pytest.mark.parametrize("block", BLOCKS, ids=lambda block: block.splitlines()[-1][:40])
def test_python_blocks_run(block: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("CGCD_CACHE", str(tmp_path / "cache"))
    exec(compile(block, "README.md", "exec"), {"__name__": "readme"})


def test_two_setup_commands() -> None:
    commands = re.findall(r"^    (python3 -m venv \.venv && .*)$", README, flags=re.MULTILINE)
    assert commands == [
        "python3 -m venv .venv && .venv/bin/pip install -e . && .venv/bin/cgcd run",
        "python3 -m venv .venv && .venv/bin/pip install -e '.[test]' && .venv/bin/pytest",
    ]


def test_length() -> None:
    assert len(README.splitlines()) <= 400


def test_nothing_is_left_open() -> None:
    assert not re.findall(r"@[A-Z]+@", README)
    root = Path(__file__).resolve().parent.parent
    for target in re.findall(r"!\[[^\]]*\]\(([^)]+)\)", README):
        assert (root / target).is_file(), target
