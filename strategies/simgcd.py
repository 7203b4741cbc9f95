"""SimGCD: one cosine head for labeled and novel classes, taught by its own sharper predictions."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor

from cgcd.engine import (
    Batch,
    DiscoveryStrategy,
    ParametricBase,
    Recipe,
    grow_by_clusters,
    half_labeled,
)
from cgcd.engine.ranges import check_above_zero
from cgcd.losses import (
    info_nce,
    mean_entropy,
    old_logit_distillation,
    self_distillation,
)
from cgcd.models import GCDModel
from cgcd.stages import Stage
from cgcd.vocabulary import InputError

BASE = Recipe(
    epochs=200,
    batch_size=128,
    optimizer=partial(torch.optim.SGD, lr=0.1, momentum=0.9, weight_decay=5e-5),
    weights={
        "self_distillation": 0.65,
        "mean_entropy": 1.3,
        "cross_entropy": 0.35,
        "contrastive": 0.65,
        "supervised_contrastive": 0.35,
    },
)
CONTINUAL = Recipe(
    epochs=30,
    batch_size=128,
    optimizer=partial(torch.optim.SGD, lr=0.01, momentum=0.9, weight_decay=5e-5),
    weights={"self_distillation": 1.0, "mean_entropy": 2.0, "contrastive": 1.0},
)


class SimGCD(ParametricBase, DiscoveryStrategy):
    """Parametric classification: self-distillation between views, kept from collapse by entropy.

    In one mixed stage, as published, the head has a row for every class from the start, half of
    each batch is labeled, and labeled images are classified and contrasted by their labels beside.
    In a stream it is the sequential baseline of the papers on continual discovery: the same
    objective on the labeled base stage, then the head grows and learns from the terms without
    labels. Nothing is kept of earlier stages unless `old_logit_distillation` is on.

    Args:
        model: shared model.
        base: recipe of stage 0, mixed or labeled; the weights name the loss terms. The mean
            entropy's is 0.65 times the paper's, which was chosen by data set.
        continual: recipe of every later stage.
        num_novel: "given" (the stage tells) or a number per stage.
        teacher_temperature: of the continual stages.
        new_rows: first directions of a later stage's rows: "kmeans", the clusters that the known
            classes explain least, or "random".
        kmeans_starts, kmeans_seed: of these clusters.
        old_logit_distillation: hold the predictions among old classes; the continual recipe then
            needs a weight of this name.
        old_logit_temperature: of that term.
        **engine: arguments of `ParametricBase` and `DiscoveryStrategy`: warm_up, seed, device,
            plugins, evaluator, ...

    Source: Wen et al., SimGCD, ICCV 2023, arXiv 2211.11727, with the numbers of the authors' code:
    the contrastive temperatures are the other way round in the paper, and the teacher's ramp is
    linear, not a cosine. The baseline "SimGCD", with distillation "SimGCD+", in the tables of Ma et
    al., Happy, arXiv 2410.06535, has no published settings: rows, weights, rate and epochs of the
    continual stages are ours, after Happy's.
    """

    settings: ClassVar[frozenset[str]] = frozenset({"single_stage", "continual"})
    kept_terms: ClassVar[tuple[str, ...]] = ("old_logit_distillation",)

    def __init__(
        self,
        *,
        model: GCDModel,
        base: Recipe = BASE,
        continual: Recipe = CONTINUAL,
        num_novel: str | int = "given",
        teacher_temperature: float = 0.05,
        new_rows: str = "kmeans",
        kmeans_starts: int = 10,
        kmeans_seed: int = 0,
        old_logit_distillation: bool = False,
        old_logit_temperature: float = 0.2,
        **engine: Any,
    ) -> None:
        check_above_zero(
            teacher_temperature=teacher_temperature,
            old_logit_temperature=old_logit_temperature,
            kmeans_starts=kmeans_starts,
        )
        if new_rows not in ("kmeans", "random"):
            raise InputError(f"new_rows is {new_rows!r}; wanted 'kmeans' or 'random'")
        if old_logit_distillation != ("old_logit_distillation" in continual.weights):
            raise InputError(
                f"old_logit_distillation is {old_logit_distillation}, and the continual weights "
                f"name {sorted(continual.weights)}; wanted both or neither: "
                "strategy.old_logit_distillation=true "
                "+strategy.continual.weights.old_logit_distillation=1.0"
            )
        super().__init__(model=model, base=base, continual=continual, num_novel=num_novel, **engine)
        self.teacher_temperature = teacher_temperature
        self.new_rows = new_rows
        self.kmeans_starts = kmeans_starts
        self.kmeans_seed = kmeans_seed
        self.old_logit_distillation = old_logit_distillation
        self.old_logit_temperature = old_logit_temperature

    def sampler(self, labels: np.ndarray, generator: np.random.Generator) -> np.ndarray:
        return half_labeled(labels, generator)

    def begin_stage(self, stage: Stage) -> None:
        head, draws = self.model.head, self.generator("head")
        if self.stage_index == 0:
            head.grow(self.first_classes(stage), generator=draws)
            return
        self.teacher = self.model.snapshot()
        if self.new_rows == "kmeans":
            grow_by_clusters(self, stage, seed=self.kmeans_seed, num_starts=self.kmeans_starts)
        else:
            head.grow(self.num_known + self.novel_classes(stage), generator=draws)

    def losses(self, batch: Batch) -> Mapping[str, Tensor]:
        if self.stage_index == 0:
            return self.base_losses(batch)
        out, student = batch.out, self.student_temperature
        return {
            "self_distillation": self_distillation(out.logits, self.teacher_temperature, student),
            "mean_entropy": mean_entropy(out.logits, student),
            "contrastive": info_nce(out.projections),
            **self._kept(batch),
        }

    def supervised_losses(self, batch: Batch) -> Mapping[str, Tensor]:
        return {**self.base_losses(batch), **self._kept(batch)}

    def _kept(self, batch: Batch) -> dict[str, Tensor]:
        """What holds the old classes, if anything does."""
        if not self.old_logit_distillation:
            return {}
        previous = batch.frozen(self.teacher.logits)
        return {
            "old_logit_distillation": old_logit_distillation(
                batch.out.logits, previous, self.old_logit_temperature
            )
        }

    def predict(self, trunk: Tensor) -> Tensor:
        return self.model.head(self.model.backbone.tail(trunk)) / self.student_temperature
