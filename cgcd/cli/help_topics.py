"""`cgcd help TOPIC`: short texts, read from the package."""

from __future__ import annotations

from importlib.resources import files

TOPICS = (
    "avalanche",
    "cite",
    "configs",
    "data",
    "embeddings",
    "features",
    "folders",
    "metrics",
    "precision",
    "processes",
    "profile",
    "protocols",
    "report",
    "results",
    "resume",
    "scenarios",
    "strategies",
    "streams",
    "tensorboard",
    "tune",
    "weights",
)


def topic(name: str) -> str:
    """Text of a topic."""
    return (files("cgcd.cli") / "topics" / f"{name}.txt").read_text(encoding="utf-8")
