"""Stage metrics as Avalanche metric plugins; the mathematics is in `cgcd.metrics`.

The x axis is the stage. Names are `<family>_<name>/eval_phase/<stream>_stream`, which stock plugins
such as EarlyStopping find; evaluations inside training carry the prefix `periodic_`.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from avalanche.evaluation import PluginMetric
from avalanche.evaluation.metric_results import MetricValue
from avalanche.training.plugins import EvaluationPlugin

from cgcd.engine.loss_terms import LossTerms
from cgcd.metrics import (
    discovery,
    discovery_gm,
    forgetting,
    forgetting_gm,
    num_found,
    pass_metrics,
)
from cgcd.vocabulary import UNLABELED


class StageMetric(PluginMetric):
    """A whole-pass metric with one row of numbers a stage.

    Attributes:
        row: numbers of the last evaluation by `<family>/<name>`.
        history: row of each stage's first evaluation; what spans stages is computed from it.
    """

    def __init__(self) -> None:
        super().__init__()
        self.row: dict[str, float] = {}
        self.history: dict[int, dict[str, float]] = {}

    def reset(self) -> None:
        self.row = {}

    def result(self) -> dict[str, float]:
        return self.row

    def emit(self, strategy: Any, row: dict[str, float]) -> list[MetricValue]:
        """Keep the row and turn it into metric values."""
        self.row = row
        inside_training = strategy._eval_streams is not None
        if not inside_training:
            self.history.setdefault(strategy.stage_index, row)
        prefix = "periodic_" if inside_training else ""
        x = strategy.clock.train_iterations if inside_training else strategy.stage_index
        stream = strategy.experience.origin_stream.name
        return [
            MetricValue(
                self,
                f"{prefix}{key.replace('/', '_', 1)}/eval_phase/{stream}_stream",
                float(value),
                x,
            )
            for key, value in row.items()
        ]

    def state_dict(self) -> dict[str, Any]:
        return {"history": {str(stage): row for stage, row in self.history.items()}}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.history = {int(stage): row for stage, row in state["history"].items()}

    def __str__(self) -> str:
        return type(self).__name__


class DiscoveryMetrics(StageMetric):
    """Accuracies in every dialect, agreement, forgetting and discovery over one evaluation pass.

    Reads the labels that the evaluated stream shows. Where some are hidden the row holds only the
    counts and `held/base`, which needs no matching: of the shown samples of base classes, the share
    that got the row of their class.

    Attributes:
        predictions, confidences, targets, sample_ids: of the last pass, (N,).
    """

    def before_eval(self, strategy: Any) -> None:
        self.reset()
        self._parts: list[tuple[Any, ...]] = []
        self._true_known = 0

    def before_eval_exp(self, strategy: Any) -> None:
        self._true_known = max(self._true_known, classes_before(strategy))
        ids = getattr(strategy.experience.dataset, "sample_id", None)
        count = len(strategy.experience.dataset)
        self._ids = np.arange(count) if ids is None else np.asarray(list(ids))
        self._read = 0

    def after_eval_iteration(self, strategy: Any) -> None:
        confidence, row = strategy.mb_output.float().softmax(-1).max(-1)
        count = len(row)
        ids = self._ids[self._read : self._read + count]  # evaluation loaders keep the order
        self._read += count
        self._parts.append((row, confidence, strategy.mb_y, ids))

    def after_eval(self, strategy: Any) -> list[MetricValue] | None:
        if not self._parts:
            return None
        *answers, ids = zip(*self._parts, strict=True)
        self._parts = []
        found = [torch.cat(column).cpu().numpy() for column in answers]  # once
        self.predictions, self.confidences, self.targets = found
        self.sample_ids = np.concatenate(ids)
        return self.emit(strategy, self._compute(strategy))

    def _compute(self, strategy: Any) -> dict[str, float]:
        base, known = strategy.num_base, strategy.num_known or strategy.num_base
        total = strategy.model.num_classes
        estimated = strategy.num_novel == "estimate"
        counts: dict[str, float] = {
            "stage/num_classes": total,
            "stage/num_known": known,
            f"stage/num_novel_{'estimated' if estimated else 'given'}": total - known,
        }
        found, origin = num_found(self.predictions, total), strategy.experience.origin_stream
        if getattr(getattr(origin, "benchmark", None), "setting", None) != "single_stage":
            row = {**counts, "stage/found": found}
        else:  # two parts of one stage: what both share is told once
            row = {**(counts if origin.name == "unlabeled" else {}), "count/found": found}
        if (self.targets == UNLABELED).any():
            shown = (self.targets != UNLABELED) & (self.targets < base)
            if shown.any():
                row["held/base"] = float((self.predictions[shown] == self.targets[shown]).mean())
            return row
        truth, guess = self.targets, self.predictions
        known = max(base, self._true_known)
        if estimated and counts.keys() <= row.keys():
            novel = len(np.unique(truth[truth >= known]))
            row["stage/num_novel_true"] = novel
            if novel:
                row["stage/count_error"] = abs(total - strategy.num_known - novel) / novel
        row |= pass_metrics(guess, truth, base, known)
        return row | self._across_stages(strategy.stage_index, row)

    def _across_stages(self, stage: int, row: dict[str, float]) -> dict[str, float]:
        rows = [*(self.history[s] for s in sorted(self.history) if s < stage), row]
        if stage == 0 or len(rows) != stage + 1:
            return {}

        def column(name: str) -> list[float]:
            return [r[name] for r in rows if name in r]

        base, known = column("accuracy/base"), column("accuracy/known")
        novel = column("accuracy/novel")
        across = {}
        if len(base) == len(rows):
            across["forgetting/m_f"] = forgetting(base)
            across["forgetting/m_f_gm"] = forgetting_gm([base[0], *known[1:]])
        if len(novel) == stage:
            across["forgetting/m_d"] = discovery(novel)
            across["forgetting/m_d_gm"] = discovery_gm(novel)
        return across


def discovery_evaluator(
    *more: Any, loggers: Sequence[Any] = (), loss_terms: bool = True
) -> EvaluationPlugin:
    """An Avalanche evaluation plugin with all discovery metrics.

    Args:
        more: further Avalanche metrics.
        loggers: Avalanche loggers.
        loss_terms: emit every loss term at every step.
    """
    metrics = [DiscoveryMetrics(), *more]
    if loss_terms:
        metrics.append(LossTerms())
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="No loggers specified")
        return EvaluationPlugin(*metrics, loggers=list(loggers), collect_all=False)


def classes_before(strategy: Any) -> int:
    """True classes met before the current stage, as far as the experience under evaluation tells.

    Where the number of novel classes was estimated or given wrongly, rows of the head are not
    classes, and only the evaluated stream can tell which classes are known: those of the test
    stages before the last one trained on.
    """
    rows = strategy.num_known or strategy.num_base
    if strategy.num_novel == "given" or strategy.stage_index == 0:
        return rows
    experience = strategy.experience
    if experience.current_experience >= strategy.stage_index:
        return 0
    return 1 + max(experience.dataset.targets, default=-1)


def stage_metrics(strategy: Any) -> list[StageMetric]:
    """The stage metrics of a strategy's evaluator, in order."""
    return [metric for metric in strategy.evaluator.metrics if isinstance(metric, StageMetric)]
