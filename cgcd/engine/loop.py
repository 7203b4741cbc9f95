"""The stage loop: train, evaluate, store, and go on where a broken run stopped."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping
from contextlib import nullcontext
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from cgcd.engine.analysis import timed_analysis
from cgcd.engine.cache import write_text
from cgcd.engine.checkpoint import save_stage
from cgcd.engine.costs import describe_run, log_costs, log_number
from cgcd.engine.evaluation import DiscoveryMetrics, stage_metrics
from cgcd.engine.predictions import predictions_csv
from cgcd.engine.processes import is_first
from cgcd.engine.results import RESULTS, RunResult
from cgcd.engine.resume import identity, resume
from cgcd.engine.single_stage import run_single_stage
from cgcd.engine.stage_keeper import MINUTES, StageKeeper, spent_before
from cgcd.engine.strategy import DiscoveryStrategy
from cgcd.engine.stream import run_stream
from cgcd.engine.tables import metrics_csv, skipped_csv
from cgcd.stages import DiscoveryScenario
from cgcd.vocabulary import InputError

_SCENARIOS = {
    "continual": "scenario=digits",
    "single_stage": "scenario=digits_gcd",
    "online": "scenario=digits_online",
}
_STRATEGIES = {
    "continual": "strategy=happy",
    "single_stage": "strategy=simgcd",
    "online": "strategy=phe, strategy=smile or strategy=prototype_memory",
}


def run_stages(
    strategy: DiscoveryStrategy,
    scenario: DiscoveryScenario,
    folder: str | Path | None = None,
    *,
    facts: Mapping[str, Any] | None = None,
    on_stage: Callable[[Mapping[str, float]], None] | None = None,
    checkpoint_minutes: float | None = MINUTES,
    checkpoint_steps: int | None = None,
) -> RunResult:
    """Train a strategy stage by stage and evaluate it on all classes so far after each.

    With a folder every stage leaves a checkpoint, `metrics.csv`, `results.json` and the
    predictions, a stage under way a checkpoint every few minutes, and the same call goes on from
    the last one. Of several processes, see `cgcd.engine.processes`, all read the folder and the
    first writes. The weights that go on are the last ones. An on-line scenario is trained on once,
    then answered, see `run_stream`; one of a single stage is measured in two parts, see
    `run_single_stage`.

    Args:
        strategy: fresh; a stored state is put into it.
        scenario: train and test stream.
        folder: of this run; None stores nothing.
        facts: plain data to keep in `results.json`.
        on_stage: called with each finished stage's row, stored ones first; on a stream with each
            window's.
        checkpoint_minutes: between two checkpoints of the stage under way; None for none by time.
        checkpoint_steps: optimizer steps between two; None for none by number.

    Raises:
        InputError: if the folder is in use, or holds a run with another stream, strategy or seed;
            if the strategy is not made for the scenario's setting.
    """
    base_test = scenario.description.get("base_test")
    known = {
        "scenario": scenario.name,
        "strategy": type(strategy).__name__,
        "seed": strategy.seed,
        "stream_hash": scenario.stream_hash,
        "num_stages": len(scenario.train_stream),
        "num_novel": _num_novel(strategy, scenario),
        "composition": scenario.description.get("stages"),
        **({"base_test": base_test} if base_test else {}),
        **(facts or {}),
    }
    check_setting(strategy, scenario)
    _check_counts(strategy, scenario)
    _run: Any = _RUNS[scenario.setting]
    if folder is None:
        return _run(strategy, scenario, None, known, on_stage)
    folder = Path(folder)
    keeper = StageKeeper(folder / "checkpoints", checkpoint_minutes, checkpoint_steps)
    folder.mkdir(parents=True, exist_ok=True)
    lock = FileLock(folder / ".lock")
    try:
        with lock.acquire(timeout=0) if is_first() else nullcontext():
            if scenario.description.get("skipped") and is_first():
                write_text(folder / "skipped.csv", skipped_csv(scenario.description["skipped"]))
            strategy.keeper = keeper
            return _run(strategy, scenario, folder, known, on_stage)
    except Timeout as error:
        raise InputError(
            f"{folder} is in use by another run; wait for it or give another runs_root"
        ) from error
    finally:
        strategy.keeper = None


def check_setting(strategy: DiscoveryStrategy, scenario: DiscoveryScenario) -> None:
    """Refuse a strategy that is not made for the scenario's setting.

    Raises:
        InputError: naming both.
    """
    if scenario.setting not in strategy.settings:
        others = ", ".join(_SCENARIOS[setting] for setting in sorted(strategy.settings))
        raise InputError(
            f"{type(strategy).__name__} is for the setting {', '.join(sorted(strategy.settings))} "
            f"and {scenario.name} is {scenario.setting}; take {_STRATEGIES[scenario.setting]}, or "
            f"{others}"
        )


def _run_stages(
    strategy: DiscoveryStrategy,
    scenario: DiscoveryScenario,
    folder: Path | None,
    facts: dict[str, Any],
    on_stage: Callable[[Mapping[str, float]], None] | None,
) -> RunResult:
    rows = [] if folder is None else resume(strategy, scenario, folder / "checkpoints")
    folder = folder if is_first() else None
    for stored in rows:
        if on_stage is not None:
            on_stage(stored)
    describe_run(strategy, facts)
    is_watched = strategy.eval_every >= 0 and "valid" in scenario.streams
    watched = [scenario.valid_stream] if is_watched else None
    for stage in scenario.train_stream[len(rows) :]:
        started = time.perf_counter()
        strategy.train(stage, watched)
        trained = time.perf_counter()
        strategy.eval(scenario.test_stream[: len(rows) + 1])
        evaluated = time.perf_counter()
        row: dict[str, float] = {"stage": len(rows)}
        for metric in stage_metrics(strategy):
            row |= metric.row
        row |= timed_analysis(strategy, scenario, folder, row=row)
        row["seconds"] = round(time.perf_counter() - started + spent_before(strategy), 3)
        rows.append(row)
        result = RunResult(rows, {**facts, **strategy.report})
        seconds = {
            "train": trained - started,
            "evaluate": evaluated - trained,
            "analysis": row.get("seconds_analysis", 0.0),
        }
        log_costs(strategy, stage, seconds, result.headline)  # once stored, no stage is shown again
        storing = time.perf_counter()
        if folder is not None:
            _store(strategy, scenario, folder, result)
            log_number(strategy, "seconds/checkpoint", time.perf_counter() - storing)
        if on_stage is not None:
            on_stage(row)
    result = RunResult(rows, {**facts, **strategy.report})
    if folder is not None:  # again, in case the last run stopped between checkpoint and results
        write_text(folder / RESULTS, json.dumps(result.to_json(), indent=1))
    return result


def _store(
    strategy: DiscoveryStrategy, scenario: DiscoveryScenario, folder: Path, result: RunResult
) -> None:
    """Everything of a stage; `results.json` last, for it may say that the run is finished."""
    write_text(folder / "metrics.csv", metrics_csv(result.rows))
    for metric in stage_metrics(strategy):
        if isinstance(metric, DiscoveryMetrics):
            path = folder / "predictions" / f"stage_{strategy.stage_index}.csv"
            write_text(path, predictions_csv(metric, scenario, strategy.num_base))
    extra = {"identity": identity(strategy, scenario), "rows": list(result.rows)}
    save_stage(strategy, folder / "checkpoints", extra)
    write_text(folder / RESULTS, json.dumps(result.to_json(), indent=1))


def _check_counts(strategy: DiscoveryStrategy, scenario: DiscoveryScenario) -> None:
    if scenario.setting == "online":  # nobody is told, nobody asks
        return
    first = 0 if scenario.setting == "single_stage" else 1
    silent = [stage.index for stage in scenario.train_stream[first:] if stage.num_novel is None]
    if strategy.num_novel == "given" and silent:
        raise InputError(
            f"num_novel is 'given' but stage {silent[0]} does not tell how many classes are new; "
            "set num_novel=estimate or num_novel=<number>"
        )


def _num_novel(strategy: DiscoveryStrategy, scenario: DiscoveryScenario) -> str:
    if strategy.num_novel == "estimate":
        return f"estimated ({strategy.estimator})"
    if isinstance(strategy.num_novel, int):
        each = "" if scenario.setting == "single_stage" else " a stage"
        return f"given ({strategy.num_novel}{each})"
    return scenario.num_novel


_RUNS: dict[str, Any] = {
    "continual": _run_stages,
    "single_stage": run_single_stage,
    "online": run_stream,
}
