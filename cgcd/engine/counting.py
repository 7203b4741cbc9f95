"""How many classes of a stage are new, where nobody tells: estimated from the model's features.

Images of earlier stages are not kept, so the known classes are stood in for by draws around what a
`ReferenceMemory` keeps; a mixed stage shows labeled samples, which are taken as they are.
"""

from __future__ import annotations

import logging
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from cgcd.discovery import ESTIMATORS, choose_estimator, estimate_novel
from cgcd.discovery.count import HIDDEN_CLASSES
from cgcd.discovery.count_problem import CountEstimate, CountProblem
from cgcd.memory import ReferenceMemory
from cgcd.vocabulary import UNLABELED, InputError

log = logging.getLogger(__name__)

PER_CLASS = 50
"""Features drawn for each known class."""


class NovelCounter(nn.Module):
    """Counts the novel classes of each stage and remembers the classes it was told or found.

    Args:
        dim: feature width D.
        estimator: one of `cgcd.discovery.ESTIMATORS`. "hidden_classes" chooses one of the others on
            the labeled samples, once, and keeps to it.
        max_novel: most novel classes of a stage to consider; None: twice the known ones, at least
            10.
        seed: of all random choices, >= 0.

    Raises:
        InputError: for an unknown estimator or a `max_novel` below 1.
    """

    choice: Tensor

    def __init__(self, dim: int, estimator: str, max_novel: int | None, seed: int) -> None:
        super().__init__()
        if estimator not in ESTIMATORS:
            raise InputError(
                f"estimator is {estimator!r}; wanted one of {', '.join(ESTIMATORS)}: set "
                f"strategy.estimator={ESTIMATORS[0]}"
            )
        if max_novel is not None and max_novel < 1:
            raise InputError(
                f"max_novel is {max_novel}; wanted 1 or more, or null: set strategy.max_novel=null"
            )
        self.estimator, self.max_novel, self.seed = estimator, max_novel, seed
        self.reference = ReferenceMemory(dim)
        self.register_buffer("choice", torch.tensor(-1))  # place in ESTIMATORS, once chosen

    @torch.no_grad()
    def remember_labeled(self, features: Tensor, labels: Tensor) -> dict[str, Any]:
        """Take the known classes from labeled features (N, D); `UNLABELED` ones are left out.

        Returns:
            For the report: how the estimator was chosen; empty where it was given.
        """
        shown = labels.to(features.device) != UNLABELED
        features, labels = features[shown], labels.to(features.device)[shown]
        self.reference.remember(features, labels)
        if self.estimator != HIDDEN_CLASSES:
            return {}
        chosen = choose_estimator(features, labels, seed=self.seed)
        self.choice = torch.tensor(ESTIMATORS.index(chosen.name))
        log.info("the estimator that counts hidden known classes best is %s", chosen.name)
        return {
            "estimator": chosen.name,
            "hidden": chosen.num_hidden.tolist(),
            "errors": {name: errors.tolist() for name, errors in chosen.errors.items()},
        }

    @torch.no_grad()
    def remember_predicted(self, features: Tensor, predictions: Tensor, directions: Tensor) -> None:
        """Append the classes of the head that are not known yet.

        Args:
            features: of the stage, (N, D).
            predictions: rows of the head, (N,).
            directions: of the head, (K, D); they stand for classes that nothing is predicted as.
        """
        rows = F.normalize(features, dim=1)
        means = F.normalize(directions.to(rows), dim=1).clone()
        for c in range(len(self.reference), len(means)):
            members = rows[predictions == c]
            if len(members):
                means[c] = members.mean(0)
        fresh = means[len(self.reference) :]
        counts = predictions.bincount(minlength=len(means))[len(self.reference) :]
        self.reference.append(fresh, counts)

    @torch.no_grad()
    def count(
        self,
        features: Tensor,
        known: tuple[Tensor, Tensor] | None,
        generator: torch.Generator,
    ) -> CountEstimate:
        """The number of novel classes among unlabeled features; 0 is possible.

        Args:
            features: (N, D).
            known: labeled features and their labels where they are at hand; None draws them.
            generator: of these draws.

        Raises:
            InputError: if no class is known yet, or too few features are there.
        """
        if known is None:
            if not len(self.reference):
                raise InputError(
                    "num_novel is 'estimate' and no class is known yet; train on stage 0 first, or "
                    "set num_novel=given"
                )
            known = tuple(self.reference.sample(PER_CLASS, generator))  # type: ignore[assignment]
        references, labels = known
        most = self.max_novel or max(10, 2 * (int(labels.max()) + 1))
        if len(features) < 2:
            raise InputError(
                f"{len(features)} unlabeled samples; wanted at least 2 to count their classes: put "
                "them into the stage before or after this one"
            )
        problem = CountProblem(
            features, references, labels, min(most, len(features) - 1), self.seed
        )
        name = ESTIMATORS[int(self.choice)] if self.choice >= 0 else self.estimator
        return estimate_novel(problem, name)


def estimated(strategy: Any, stage: Any) -> int:
    """The number of novel classes of the stage that a strategy begins: counted once, and reported.

    The report gets an entry of `counts` with the evidence, loggers its curves over the numbers that
    were tried, as `count/stage_<t>/<curve>`.
    """
    counts = strategy.report.setdefault("counts", [])
    if not counts or counts[-1]["stage"] != strategy.stage_index:
        seen, known = strategy.stage_outputs(stage), None
        features = seen.features
        if strategy.stage_index == 0:  # mixed: the labeled samples are at hand
            shown = seen.labels != UNLABELED
            known = features[shown], seen.labels[shown]
            features = features[~shown]
            _remember_labeled(strategy, seen)
        estimate = strategy.counter.count(features, known, strategy.generator("count"))
        counts.append(_plain(strategy.stage_index, estimate))
        _log_evidence(strategy, counts[-1])
        log.info(
            "stage %d: %d novel classes estimated by %s%s",
            *(strategy.stage_index, estimate.num_novel, estimate.estimator),
            "" if estimate.num_novel else "; 1 is taken, the least there is",
        )
    return int(counts[-1]["estimated"])


@torch.no_grad()
def remember_classes(strategy: Any, stage: Any) -> None:
    """Take in what later estimates need to know of a stage's classes."""
    seen = strategy.stage_outputs(stage)
    if strategy.stage_index == 0:
        _remember_labeled(strategy, seen)
    else:
        rows = seen.labels if strategy.supervised else seen.logits.argmax(-1)
        strategy.counter.remember_predicted(
            seen.features, rows, strategy.model.head.directions.detach()
        )


def _remember_labeled(strategy: Any, seen: Any) -> None:
    chosen = strategy.counter.remember_labeled(seen.features, seen.labels)
    if chosen:
        strategy.report["estimator_choice"] = chosen


def _log_evidence(strategy: Any, count: dict[str, Any]) -> None:
    for logger in strategy.evaluator.loggers:
        for name, scores in count["scores"].items():
            for candidate, score in zip(count["candidates"], scores, strict=True):
                tag = f"count/stage_{count['stage']}/{name}"
                logger.log_single_metric(tag, float(score), candidate)


def _plain(stage: int, estimate: CountEstimate) -> dict[str, Any]:
    """A count as plain data for the report."""
    return {
        "stage": stage,
        "estimated": max(1, estimate.num_novel),
        "counted": estimate.num_novel,
        "estimator": estimate.estimator,
        "seconds": round(estimate.seconds, 3),
        "candidates": estimate.candidates.tolist(),
        "scores": {name: values.tolist() for name, values in estimate.scores.items()},
    }
