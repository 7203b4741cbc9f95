"""The stage loop: train, evaluate, store, and go on where a broken run stopped."""

from __future__ import annotations

import csv
import hashlib
import io
import json
import logging
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from filelock import FileLock, Timeout

from cgcd.engine.cache import write_text
from cgcd.engine.checkpoint import (
    Checkpoint,
    check_plugins,
    discard_after,
    latest,
    restore,
    save_stage,
)
from cgcd.engine.evaluation import DiscoveryMetrics, stage_metrics
from cgcd.engine.strategy import DiscoveryStrategy
from cgcd.stages import DiscoveryScenario
from cgcd.vocabulary import SCHEMA_VERSION, InputError

log = logging.getLogger(__name__)

HEADLINE = "mean All over the continual stages, last weights of each stage"
RESULTS = "results.json"


@dataclass(frozen=True)
class RunResult:
    """What a run measured.

    Attributes:
        rows: one dictionary a stage, `<family>/<name>` to number, with `stage` and `seconds`.
        facts: of the run: names, hashes, how the number of novel classes was known.
    """

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
            "headline": {"definition": HEADLINE, "value": self.headline},
            "finished": len(self.rows) == self.facts.get("num_stages"),
            **self.facts,
            "stages": list(self.rows),
        }


def run_stages(
    strategy: DiscoveryStrategy,
    scenario: DiscoveryScenario,
    folder: str | Path | None = None,
    *,
    facts: Mapping[str, Any] | None = None,
    on_stage: Callable[[Mapping[str, float]], None] | None = None,
) -> RunResult:
    """Train a strategy stage by stage and evaluate it on all classes so far after each.

    With a folder every stage leaves a checkpoint, `metrics.csv`, `results.json` and the
    predictions, and the same call goes on after the last whole stage. The weights that go on are
    the last ones.

    Args:
        strategy: fresh; a stored state is put into it.
        scenario: train and test stream.
        folder: of this run; None stores nothing.
        facts: plain data to keep in `results.json`.
        on_stage: called with each finished stage's row, stored ones first.

    Raises:
        InputError: if the folder is in use, or holds a run with another stream, strategy or seed.
    """
    known = {
        "scenario": scenario.name,
        "strategy": type(strategy).__name__,
        "seed": strategy.seed,
        "stream_hash": scenario.stream_hash,
        "num_stages": len(scenario.train_stream),
        "num_novel": _num_novel(strategy, scenario),
        "composition": scenario.description.get("stages"),
        **(facts or {}),
    }
    _check_counts(strategy, scenario)
    if folder is None:
        return _run(strategy, scenario, None, known, on_stage)
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    lock = FileLock(folder / ".lock")
    try:
        with lock.acquire(timeout=0):
            return _run(strategy, scenario, folder, known, on_stage)
    except Timeout as error:
        raise InputError(
            f"{folder} is in use by another run; wait for it or give another runs_root"
        ) from error


def _run(
    strategy: DiscoveryStrategy,
    scenario: DiscoveryScenario,
    folder: Path | None,
    facts: dict[str, Any],
    on_stage: Callable[[Mapping[str, float]], None] | None,
) -> RunResult:
    rows = [] if folder is None else _resume(strategy, scenario, folder / "checkpoints")
    for row in rows:
        if on_stage is not None:
            on_stage(row)
    for stage in scenario.train_stream[len(rows) :]:
        started = time.perf_counter()
        strategy.train(stage)
        strategy.eval(scenario.test_stream[: len(rows) + 1])
        row: dict[str, float] = {"stage": len(rows)}
        for metric in stage_metrics(strategy):
            row |= metric.row
        row["seconds"] = round(time.perf_counter() - started, 3)
        rows.append(row)
        result = RunResult(rows, {**facts, **strategy.report})
        if folder is not None:
            _store(strategy, scenario, folder, result)
        if on_stage is not None:
            on_stage(row)
    result = RunResult(rows, {**facts, **strategy.report})
    if folder is not None:  # again, in case the last run stopped between checkpoint and results
        write_text(folder / RESULTS, json.dumps(result.to_json(), indent=1))
    return result


def _resume(
    strategy: DiscoveryStrategy, scenario: DiscoveryScenario, checkpoints: Path
) -> list[Mapping[str, float]]:
    """Rows of the stages that need not be trained again; the strategy is put behind them."""
    found = latest(checkpoints) if checkpoints.is_dir() else None
    if found is not None:
        _check_identity(found, strategy, scenario, checkpoints.parent)
    stateless = check_plugins(strategy)
    if stateless:
        log.warning(
            "%s has no state_dict, so this run starts at stage 0 whenever it is started",
            ", ".join(stateless),
        )
        found = None
    if found is not None:
        restore(strategy, found, checkpoints)
        log.info("going on after stage %d", found.stage)
    discard_after(checkpoints, -1 if found is None else found.stage)
    return [] if found is None else list(found.state["rows"])


def _check_identity(
    found: Checkpoint, strategy: DiscoveryStrategy, scenario: DiscoveryScenario, folder: Path
) -> None:
    stored, own = found.state["identity"], _identity(strategy, scenario)
    for what, value in own.items():
        if stored.get(what) != value:
            raise InputError(
                f"{folder} holds a run with another {what} ({str(stored.get(what))[:12]} instead "
                f"of {str(value)[:12]}); give another folder or set overwrite=true"
            )


def _store(
    strategy: DiscoveryStrategy, scenario: DiscoveryScenario, folder: Path, result: RunResult
) -> None:
    """Everything of a stage; `results.json` last, for it may say that the run is finished."""
    write_text(folder / "metrics.csv", _metrics_csv(result.rows))
    for metric in stage_metrics(strategy):
        if isinstance(metric, DiscoveryMetrics):
            path = folder / "predictions" / f"stage_{strategy.stage_index}.csv"
            write_text(path, _predictions_csv(strategy, scenario, metric))
    extra = {"identity": _identity(strategy, scenario), "rows": list(result.rows)}
    save_stage(strategy, folder / "checkpoints", extra)
    write_text(folder / RESULTS, json.dumps(result.to_json(), indent=1))


def _identity(strategy: DiscoveryStrategy, scenario: DiscoveryScenario) -> dict[str, Any]:
    """What two runs must share for one to go on where the other stopped."""
    return {
        "stream": scenario.stream_hash,
        "strategy": type(strategy).__name__,
        "seed": strategy.seed,
        "setting": _digest(strategy.plain_settings()),
        "model": _digest(
            [strategy.model.backbone.origin, *((n, p.shape) for n, p in _fixed_shapes(strategy))]
        ),
    }


def _fixed_shapes(strategy: DiscoveryStrategy) -> list[tuple[str, Any]]:
    """Parameters that do not grow."""
    return [(n, p) for n, p in strategy.model.named_parameters() if n != "head.directions"]


def _digest(plain: Any) -> str:
    return hashlib.sha256(repr(plain).encode()).hexdigest()


def _metrics_csv(rows: Sequence[Mapping[str, float]]) -> str:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["stage", "split", "metric", "value"])
    for row in rows:
        for key, value in row.items():
            if key != "stage":
                writer.writerow([row["stage"], "test", key, repr(value)])
    return text.getvalue()


def _predictions_csv(
    strategy: DiscoveryStrategy, scenario: DiscoveryScenario, metric: DiscoveryMetrics
) -> str:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["sample", "true_class", "category", "category_name", "is_new", "confidence"])
    names = [guarded(name) for name in scenario.class_names]
    columns = (metric.sample_ids, metric.targets, metric.predictions, metric.confidences)
    for sample, target, category, confidence in zip(*columns, strict=True):
        is_new = int(category) >= strategy.num_base
        writer.writerow(
            [
                sample,
                names[target] if target >= 0 else "",
                category,
                f"new-{category}" if is_new else names[category],
                int(is_new),
                f"{confidence:.4f}",
            ]
        )
    return text.getvalue()


def guarded(text: str) -> str:
    """A name that no spreadsheet takes for a formula."""
    return f"'{text}" if text[:1] in ("=", "+", "-", "@", "\t", "\r") else text


def _check_counts(strategy: DiscoveryStrategy, scenario: DiscoveryScenario) -> None:
    silent = [stage.index for stage in scenario.train_stream[1:] if stage.num_novel is None]
    if strategy.num_novel == "given" and silent:
        raise InputError(
            f"num_novel is 'given' but stage {silent[0]} does not tell how many classes are new; "
            "set num_novel=<number>"
        )


def _num_novel(strategy: DiscoveryStrategy, scenario: DiscoveryScenario) -> str:
    if isinstance(strategy.num_novel, int):
        return f"given ({strategy.num_novel} a stage)"
    return scenario.num_novel
