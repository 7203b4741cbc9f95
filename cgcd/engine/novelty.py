"""How well a model tells samples of its classes from samples of no class at all, stage by stage.

The head grows to cover what was novel, so after a stage every class so far counts as known; what is
still novel are samples that belong to none: a held-out set of outliers.
"""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

import torch
from avalanche.evaluation.metric_results import MetricValue
from torch import Tensor

from cgcd.discovery import GaussianClasses, logit_scores
from cgcd.engine.evaluation import StageMetric
from cgcd.metrics import novelty_metrics
from cgcd.vocabulary import UNLABELED, InputError


class NoveltyMetrics(StageMetric):
    """`novelty/<score>_<metric>` of every novelty score: samples of an evaluation against outliers.

    All samples of the evaluated stages count as known, whatever their labels, and all outliers as
    novel. The precision areas depend on how many there are of each; `novelty/num_outliers` says
    how many outliers there were.

    The scores of logits look at what the strategy predicts. Those of features measure the distance
    to the Gaussians of the labeled base classes, estimated once, after stage 0, in the features of
    then: samples of classes found later are far from them too, and so is whatever the features
    have moved since. At stage 0 they mean what their sources mean.

    Args:
        outliers: samples of no class of the stream under the evaluation transform: a `Stage`, or
            anything whose `dataset` is an Avalanche data set. Labels are not read.
        temperature: of the softmax, > 0; predictions are read as cosines over it.
        energy_temperature: of the energy score of these cosines, > 0.

    Attributes:
        classes: the Gaussians; None before the end of stage 0.

    Raises:
        InputError: if there is no outlier or a temperature is not above 0.

    Source: the outlier protocol of ProtoGCD, TPAMI 2025, with all outliers at once instead of ten
    draws of one for five test samples; give as many as wanted.
    """

    def __init__(
        self, outliers: Any, temperature: float = 0.1, energy_temperature: float = 1.0
    ) -> None:
        super().__init__()
        if not len(outliers.dataset):
            raise InputError("there is no outlier; wanted at least one sample")
        if not (temperature > 0 and energy_temperature > 0):
            raise InputError(
                f"temperature is {temperature} and energy_temperature {energy_temperature}; wanted "
                "both above 0"
            )
        self.outliers = outliers
        self.temperature, self.energy_temperature = temperature, energy_temperature
        self.classes: GaussianClasses | None = None
        self._parts: list[dict[str, Tensor]] = []

    @torch.no_grad()
    def after_training_exp(self, strategy: Any) -> None:
        if strategy.stage_index > 0:
            return
        outputs = strategy.stage_outputs(strategy.experience)
        shown = outputs.labels != UNLABELED
        self.classes = GaussianClasses.fit(outputs.features[shown], outputs.labels[shown])

    def before_eval(self, strategy: Any) -> None:
        self.reset()
        self._parts = []

    @torch.no_grad()
    def after_eval_iteration(self, strategy: Any) -> None:
        inside_training = strategy._eval_streams is not None
        if not inside_training:
            self._parts.append(self._scores(strategy, strategy.mb_trunk, strategy.mb_output))

    @torch.no_grad()
    def after_eval(self, strategy: Any) -> list[MetricValue] | None:
        if not self._parts:
            return None
        known = _joined(self._parts)
        novel = _joined(
            [
                self._scores(strategy, trunk, strategy.predict(trunk))
                for trunk, _ in strategy.trunk_outputs(self.outliers.dataset)
            ]
        )
        row: dict[str, float] = {"novelty/num_outliers": len(self.outliers.dataset)}
        for name, scores in known.items():
            both = torch.cat([scores, novel[name]])
            numbers = novelty_metrics(both, (torch.arange(len(both)) >= len(scores)).numpy())
            row |= {f"novelty/{name}_{metric}": value for metric, value in numbers.items()}
        return self.emit(strategy, row)

    def _scores(self, strategy: Any, trunk: Tensor, predicted: Tensor) -> dict[str, Tensor]:
        """Every score of trunk outputs (B, ...) and predictions (B, K), (B,) each."""
        scores: dict[str, Tensor] = {}
        if predicted.shape[1] > 1:  # one class is always certain
            cosines = predicted.double().cpu() * self.temperature
            scores = logit_scores(cosines, self.temperature, self.energy_temperature)
        if self.classes is not None:
            scores |= self.classes.scores(strategy.model.backbone.tail(trunk))
        return scores

    # ------------------------------------------------------------ resume

    def tensors(self) -> dict[str, Tensor]:
        """The Gaussians, which stage 0 leaves and no later stage changes."""
        return {} if self.classes is None else asdict(self.classes)

    def restore(self, tensors: dict[str, Tensor]) -> None:
        """Put back what `tensors` gave."""
        self.classes = GaussianClasses(**tensors)


def _joined(parts: list[dict[str, Tensor]]) -> dict[str, Tensor]:
    return {name: torch.cat([part[name] for part in parts]) for name in parts[0]}
