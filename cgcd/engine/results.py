"""What a run measured, as plain data."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar

import numpy as np

from cgcd.vocabulary import SCHEMA_VERSION

HEADLINE = "mean All over the continual stages, last weights of each stage"
SINGLE_STAGE_HEADLINE = "All on the unlabeled part of the training samples, last weights"
STREAM_HEADLINE = "strict All over the stream so far, one matching of all answers"
RESULTS = "results.json"


@dataclass(frozen=True)
class RunResult:
    """What a run measured.

    Attributes:
        rows: one dictionary a stage, `<family>/<name>` to number, with `stage` and `seconds`.
        facts: of the run: names, hashes, how the number of novel classes was known.
    """

    definition: ClassVar[str] = HEADLINE

    rows: Sequence[Mapping[str, float]]
    facts: Mapping[str, Any] = field(default_factory=dict)

    @property
    def headline(self) -> float | None:
        """Mean joint accuracy over the continual stages, in [0, 1]; None without truth."""
        scores = [row["accuracy/all"] for row in self.rows[1:] if "accuracy/all" in row]
        return float(np.mean(scores)) if scores and len(scores) == len(self.rows) - 1 else None

    def mean(self, key: str) -> float | None:
        """Mean of a column over the continual stages; None if a stage lacks it."""
        values = [row[key] for row in self.rows[1:] if key in row]
        return float(np.mean(values)) if values and len(values) == len(self.rows) - 1 else None

    def to_json(self) -> dict[str, Any]:
        """Plain data of `results.json`."""
        return {
            "schema_version": SCHEMA_VERSION,
            "headline": {"definition": self.definition, "value": self.headline},
            "finished": len(self.rows) == self.facts.get("num_stages"),
            **self.facts,
            "stages": list(self.rows),
        }


@dataclass(frozen=True)
class SingleStageResult(RunResult):
    """What one stage of labeled and unlabeled samples measured: `rows` holds its one row."""

    definition: ClassVar[str] = SINGLE_STAGE_HEADLINE

    @property
    def headline(self) -> float | None:
        """Joint accuracy on the unlabeled training samples, in [0, 1]; None without truth."""
        return self.rows[0].get("unlabeled/accuracy/all") if self.rows else None

    def mean(self, key: str) -> float | None:
        """The number itself; None if there is none."""
        return self.rows[0].get(key) if self.rows else None


@dataclass(frozen=True)
class StreamResult(RunResult):
    """What a stream measured: `rows` holds one row a window, each of the stream up to its end."""

    definition: ClassVar[str] = STREAM_HEADLINE

    @property
    def headline(self) -> float | None:
        """Strict accuracy over the whole stream, in [0, 1]; None without truth."""
        return self.rows[-1].get("strict/all") if self.rows else None

    def mean(self, key: str) -> float | None:
        """The number at the end of the stream, of which each window is a part; None if none."""
        return self.rows[-1].get(key) if self.rows else None

    def to_json(self) -> dict[str, Any]:
        """Plain data of `results.json`; the last window is the one stage after training."""
        seen = int(self.rows[-1]["stream/seen"]) if self.rows else 0
        return {
            "schema_version": SCHEMA_VERSION,
            "headline": {"definition": self.definition, "value": self.headline},
            "finished": seen == self.facts.get("stream_length"),
            **self.facts,
            "stages": list(self.rows[-1:]),
            "windows": list(self.rows),
        }
