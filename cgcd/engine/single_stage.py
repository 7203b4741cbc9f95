"""One stage of labeled and unlabeled samples: train once, measure the unlabeled and the test part.

Every number of a part is named by it: `unlabeled/accuracy/all`, `test/floor/kmeans_all`; what does
not depend on a part is `stage/...`.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from cgcd.engine.analysis import timed_analysis
from cgcd.engine.cache import write_text
from cgcd.engine.checkpoint import save_stage
from cgcd.engine.costs import describe_run, log_costs
from cgcd.engine.evaluation import DiscoveryMetrics, stage_metrics
from cgcd.engine.predictions import predictions_csv
from cgcd.engine.processes import is_first
from cgcd.engine.results import RESULTS, SingleStageResult
from cgcd.engine.resume import identity, resume
from cgcd.engine.stage_keeper import spent_before
from cgcd.engine.strategy import DiscoveryStrategy
from cgcd.engine.tables import metrics_csv
from cgcd.stages import SingleStageScenario
from cgcd.vocabulary import UNLABELED


def run_single_stage(
    strategy: DiscoveryStrategy,
    scenario: SingleStageScenario,
    folder: Path | None,
    facts: Mapping[str, Any],
    on_stage: Callable[[Mapping[str, float]], None] | None,
) -> SingleStageResult:
    """Train on the one stage, then measure its unlabeled samples and the test part.

    With a folder it leaves a checkpoint, `predictions/unlabeled.csv`, `predictions/test.csv`,
    `metrics.csv` and `results.json`, and the same call gives a finished run's row without training;
    a broken one goes on from its last checkpoint.

    Args:
        strategy: fresh; a stored state is put into it.
        scenario: the stage and its parts.
        folder: of this run; None stores nothing.
        facts: plain data to keep in `results.json`.
        on_stage: called with the row.
    """
    rows = [] if folder is None else resume(strategy, scenario, folder / "checkpoints")
    folder = folder if is_first() else None
    predictions: dict[str, str] = {}
    describe_run(strategy, {**facts, **_facts(scenario)})
    if not rows:
        started = time.perf_counter()
        stage = scenario.train_stream[0]
        strategy.train(stage.train())
        trained = time.perf_counter()
        row: dict[str, float] = {"stage": 0}
        analysis = 0.0
        for part, stream in scenario.parts.items():
            strategy.eval(stream)
            for metric in stage_metrics(strategy):
                row |= {_named(part, key): value for key, value in metric.row.items()}
                if isinstance(metric, DiscoveryMetrics):
                    predictions[part] = predictions_csv(metric, scenario, strategy.num_base)
            spent = timed_analysis(strategy, scenario, folder, part, row)
            analysis += spent.get("seconds_analysis", 0.0)
            if spent:
                row["seconds_analysis"] = round(analysis, 3)
        row["seconds"] = round(time.perf_counter() - started + spent_before(strategy), 3)
        rows = [row]
        evaluated = time.perf_counter() - trained - analysis
        seconds = {"train": trained - started, "evaluate": evaluated, "analysis": analysis}
        log_costs(strategy, stage, seconds, row.get("unlabeled/accuracy/all"))
    result = SingleStageResult(rows, {**facts, **_facts(scenario), **strategy.report})
    if folder is not None:
        for part, text in predictions.items():
            write_text(folder / "predictions" / f"{part}.csv", text)
        write_text(folder / "metrics.csv", metrics_csv(result.rows))
        if predictions:  # this call has trained
            extra = {"identity": identity(strategy, scenario), "rows": list(result.rows)}
            save_stage(strategy, folder / "checkpoints", extra)
        write_text(folder / RESULTS, json.dumps(result.to_json(), indent=1))
    if on_stage is not None:
        on_stage(rows[0])
    return result


def _named(part: str, key: str) -> str:
    return key if key.startswith("stage/") else f"{part}/{key}"


def _facts(scenario: SingleStageScenario) -> dict[str, Any]:
    """For the report; the true number of novel classes only where there is a truth."""
    truth = scenario.unlabeled_stream[0].labels
    known = not (truth == UNLABELED).any()
    return {
        "setting": scenario.setting,
        "parts": {part: len(stream[0].dataset) for part, stream in scenario.parts.items()},
        "true_novel": len(set(truth[truth >= scenario.num_base].tolist())) if known else None,
    }
