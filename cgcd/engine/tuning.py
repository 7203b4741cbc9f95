"""Compares settings on scenarios with hidden classes, one stored trial at a time."""

from __future__ import annotations

import hashlib
import json
import logging
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from filelock import FileLock, Timeout

from cgcd.engine.cache import write_text
from cgcd.engine.loop import run_stages
from cgcd.engine.results import RunResult
from cgcd.engine.strategy import DiscoveryStrategy
from cgcd.stages import DiscoveryScenario
from cgcd.tracking.cells import csv_text
from cgcd.vocabulary import SCHEMA_VERSION, InputError

log = logging.getLogger(__name__)

TUNING = "tune.json"
TABLE = "table.csv"

Values = Mapping[str, Any]
"""Values by key, what a candidate changes; the empty one is the untuned default."""

_FLOORS = {
    "continual": {
        "k-means": "floor/kmeans_all",
        "nearest mean": "floor/nearest_mean_all",
        "closed-set bound": "bound/closed_set_all",
    },
    "single_stage": {
        "k-means": "unlabeled/floor/kmeans_all",
        "nearest mean": "unlabeled/floor/nearest_mean_all",
        "closed-set bound": "unlabeled/bound/closed_set_all",
    },
    "online": {
        "untrained leader": "floor/leader_strict_all",
        "closed-set bound": "bound/closed_set_strict_all",
    },
}


@dataclass(frozen=True)
class Trial:
    """One candidate on one fold.

    Attributes:
        values: what the candidate changes.
        fold: which classes were hidden.
        score: what is compared, higher is better; by default a fraction in [0, 1].
        floors: what a run shows for scale by name, in the same unit as its headline.
        definition: of the headline, in words.
        hidden_classes: names of the hidden classes.
        seconds: of the whole trial.
    """

    values: Values
    fold: int
    score: float
    floors: Mapping[str, float]
    definition: str
    hidden_classes: Sequence[str]
    seconds: float


@dataclass(frozen=True)
class TuningResult:
    """All trials of a comparison, candidate by candidate, fold by fold.

    Attributes:
        trials: of each candidate one a fold, the default first.
        facts: plain data for `tune.json`.
    """

    trials: Sequence[Trial]
    facts: Mapping[str, Any] = field(default_factory=dict)

    @property
    def table(self) -> list[dict[str, Any]]:
        """Candidates by falling mean, among equals in their order, then the default's floors.

        Each with `kind` (default, candidate or floor), `name`, `values`, `mean` and `std` over the
        folds (n - 1; None for one fold), `folds` and `seconds` of all folds.
        """
        groups: dict[str, list[Trial]] = {}
        for trial in self.trials:
            groups.setdefault(_text(trial.values), []).append(trial)
        rows = []
        for trials in groups.values():
            values = dict(trials[0].values)
            name = " ".join(f"{k}={_plain(v)}" for k, v in values.items()) or "default"
            row = _row("candidate" if values else "default", name, [t.score for t in trials])
            seconds = round(sum(t.seconds for t in trials), 3)
            rows.append({**row, "values": values, "seconds": seconds})
        rows.sort(key=lambda row: -row["mean"])
        default = [trial for trial in self.trials if not trial.values]
        for name in default[0].floors if default else ():
            row = _row("floor", name, [trial.floors[name] for trial in default])
            rows.append({**row, "values": {}, "seconds": None})
        return rows

    @property
    def best(self) -> dict[str, Any]:
        """Values of the highest mean; none if that is the default's."""
        return self.table[0]["values"]

    def to_json(self) -> dict[str, Any]:
        """Plain data of `tune.json`."""
        hidden = {trial.fold: list(trial.hidden_classes) for trial in self.trials}
        return {
            "schema_version": SCHEMA_VERSION,
            "finished": True,
            "score": self.trials[0].definition,
            **self.facts,
            "hidden_classes": [hidden[fold] for fold in sorted(hidden)],
            "best": self.best,
            "table": self.table,
        }

    def to_csv(self) -> str:
        """Text of `table.csv`: kind, name, mean, std, seconds, a column a fold."""
        rows = self.table
        folds = [f"fold_{fold}" for fold in range(len(rows[0]["folds"]))]
        lines: list[Sequence[Any]] = [["kind", "name", "mean", "std", "seconds", *folds]]
        for row in rows:
            cells = [row[key] for key in ("kind", "name", "mean", "std", "seconds")]
            lines.append(["" if cell is None else cell for cell in (*cells, *row["folds"])])
        return csv_text(lines)


def tune(
    build: Callable[[Values, int], tuple[DiscoveryStrategy, DiscoveryScenario]],
    candidates: Sequence[Values],
    num_folds: int,
    folder: str | Path | None = None,
    *,
    identity: Callable[[Values], Any] = dict,
    score: Callable[[RunResult], float | None] | None = None,
    facts: Mapping[str, Any] | None = None,
    command: Callable[[Values], str] | None = None,
    on_trial: Callable[[Trial, int, int], None] | None = None,
) -> TuningResult:
    """Run the untuned default and every candidate on every fold and compare their scores.

    With a folder each trial is stored when it is done, in `trials/`; the same call goes on after
    the trials that are there. At the end it leaves `table.csv` and `tune.json`.

    Args:
        build: fresh strategy and inner scenario (see `hidden_class_scenario`) of a candidate's
            values and a fold; called only for what is not stored.
        candidates: values to try; one whose `identity` occurred before is left out.
        num_folds: >= 1.
        folder: None stores nothing.
        identity: plain data of all that changes a candidate's result beside the fold. By default
            the values alone, so that a folder belongs to one scenario and one strategy.
        score: of a result, higher is better; by default its headline.
        facts: plain data to keep in `tune.json`; `score` says in words what a score of your own is.
        command: of the best values, to keep there too.
        on_trial: called with each trial, stored ones too, its number from 1 on, and how many there
            are.

    Raises:
        InputError: if the folder is in use.
    """
    todo: dict[str, Values] = {}
    for values in ({}, *candidates):
        todo.setdefault(_text(identity(values)), values)
    plan = [(key, values, fold) for key, values in todo.items() for fold in range(num_folds)]

    def trials() -> list[Trial]:
        done: list[Trial] = []
        for key, values, fold in plan:
            path = None if folder is None else _path(Path(folder), key, fold)
            trial = None if path is None else _stored(path, values)
            if trial is None:
                trial = _trial(build, values, fold, score)
                if path is not None:
                    content = {"schema_version": SCHEMA_VERSION, **asdict(trial)}
                    write_text(path, json.dumps(content, indent=1, default=repr))
            done.append(trial)
            if on_trial is not None:
                on_trial(trial, len(done), len(plan))
        return done

    def compared() -> TuningResult:
        result = TuningResult(trials(), facts or {})
        if command is None:
            return result
        return replace(result, facts={**result.facts, "command": command(result.best)})

    if folder is None:
        return compared()
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    try:
        with FileLock(folder / ".lock").acquire(timeout=0):
            result = compared()
            write_text(folder / TABLE, result.to_csv())
            write_text(folder / TUNING, json.dumps(result.to_json(), indent=1, default=repr))
    except Timeout as error:
        raise InputError(
            f"{folder} is in use by another run; wait for it or give another runs_root"
        ) from error
    return result


def _trial(
    build: Callable[[Values, int], tuple[DiscoveryStrategy, DiscoveryScenario]],
    values: Values,
    fold: int,
    score: Callable[[RunResult], float | None] | None,
) -> Trial:
    started = time.perf_counter()
    strategy, scenario = build(values, fold)
    result = run_stages(strategy, scenario)
    value = result.headline if score is None else score(result)
    if value is None or not np.isfinite(value):
        raise ValueError(f"the score of fold {fold} is {value}; wanted a number from every run")
    return Trial(
        dict(values),
        fold,
        float(value),
        _floors(result, scenario.setting),
        result.definition,
        scenario.description.get("hidden_classes", []),
        round(time.perf_counter() - started, 3),
    )


def _floors(result: RunResult, setting: str) -> dict[str, float]:
    """What the rows hold for scale, as the headline reads them."""
    if setting == "online":
        found = {name: result.rows[-1].get(key) for name, key in _FLOORS[setting].items()}
    else:
        found = {name: result.mean(key) for name, key in _FLOORS[setting].items()}
    return {name: float(value) for name, value in found.items() if value is not None}


def _stored(path: Path, values: Values) -> Trial | None:
    if not path.is_file():
        return None
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        del content["schema_version"]
        return Trial(**{**content, "values": dict(values), "score": float(content["score"])})
    except (ValueError, KeyError, TypeError, OSError) as error:
        log.warning("%s is damaged (%s); its trial is run again", path, error)
        return None


def _path(folder: Path, key: str, fold: int) -> Path:
    digest = hashlib.sha256(f"{key} {fold}".encode()).hexdigest()[:16]
    return folder / "trials" / f"{digest}.json"


def _row(kind: str, name: str, scores: Sequence[float]) -> dict[str, Any]:
    return {
        "kind": kind,
        "name": name,
        "mean": float(np.mean(scores)),
        "std": float(np.std(scores, ddof=1)) if len(scores) > 1 else None,
        "folds": list(scores),
    }


def _text(plain: Any) -> str:
    return json.dumps(plain, sort_keys=True, default=repr)


def _plain(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, default=repr)
