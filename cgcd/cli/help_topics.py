"""`cgcd help TOPIC`: short texts, read from the package."""

from __future__ import annotations

from importlib.resources import files

TOPICS = ("configs", "metrics", "results", "resume", "scenarios", "strategies", "streams", "tune")


def topic(name: str) -> str:
    """Text of a topic."""
    return (files("cgcd.cli") / "topics" / f"{name}.txt").read_text(encoding="utf-8")
