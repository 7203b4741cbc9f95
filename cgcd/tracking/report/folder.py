"""A run as it lies in its folder."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from cgcd.tracking.report.answers import Answers, read_answers
from cgcd.tracking.report.findings import CrossTable

STAGED, SINGLE_STAGE, ONLINE = "continual", "single_stage", "online"
PARTS = {"unlabeled": "unlabeled training samples", "test": "test samples"}


@dataclass(frozen=True, eq=False)
class StoredRun:
    """A finished run.

    Attributes:
        folder: of the run.
        results: content of its `results.json`.
        config: content of its `config.yaml`; empty where the run was not made by the command.
        no_result: dotted keys of the config, or fronts of them, that change no result.
    """

    folder: Path
    results: Mapping[str, Any]
    config: Mapping[str, Any] = field(default_factory=dict)
    no_result: frozenset[str] = frozenset()

    @property
    def setting(self) -> str:
        """`STAGED`, `SINGLE_STAGE` or `ONLINE`."""
        return str(self.results.get("setting", STAGED))

    @property
    def seed(self) -> int:
        return int(self.results["seed"])

    @property
    def name(self) -> str:
        """Strategy, scenario and seed."""
        known = self.results
        return f"{known['strategy']} on {known['scenario']}, seed {known['seed']}"

    @property
    def rows(self) -> list[Mapping[str, float]]:
        """A row a stage; of a stream one a window."""
        return list(self.results["windows" if self.setting == ONLINE else "stages"])

    @property
    def has_truth(self) -> bool:
        """Whether there is a headline, which needs the classes of all samples."""
        return self.results["headline"]["value"] is not None

    @cached_property
    def answers(self) -> dict[str, Answers]:
        """Answers of every evaluation, in order, by the name of its file.

        A staged run has `stage_0`, `stage_1`, ..., another `unlabeled` and `test`, or `stream`.
        """
        names = {
            STAGED: [f"stage_{row['stage']}" for row in self.results["stages"]],
            SINGLE_STAGE: list(PARTS),
            ONLINE: ["stream"],
        }[self.setting]
        files = {name: self.folder / "predictions" / f"{name}.csv" for name in names}
        return {name: read_answers(path) for name, path in files.items() if path.is_file()}

    @cached_property
    def class_names(self) -> list[str]:
        """True classes that a test sample shows, those of earlier evaluations first."""
        order: dict[str, None] = {}
        for answers in self.answers.values():
            order |= dict.fromkeys(answers.classes)
        return list(order)

    @cached_property
    def tables(self) -> dict[str, CrossTable]:
        """Classes against categories, of every evaluation that shows all classes."""
        return {
            name: CrossTable.of(answers, [c for c in self.class_names if c in set(answers.classes)])
            for name, answers in self.answers.items()
            if answers.is_complete
        }
