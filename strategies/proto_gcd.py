"""ProtoGCD: unified prototypes for known and novel classes, learned from adaptive pseudo-labels."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor, nn

from cgcd.engine import Batch, DiscoveryStrategy, Recipe, grow_by_clusters, half_labeled
from cgcd.engine.ranges import check_above_zero
from cgcd.losses import (
    adaptive_pseudo_labels,
    cosine_cross_entropy,
    feature_distillation,
    group_entropy,
    hard_ratio,
    info_nce,
    mean_entropy,
    prototype_separation,
    supervised_contrastive,
)
from cgcd.memory import PrototypeMemory
from cgcd.models import GCDModel
from cgcd.stages import Stage
from cgcd.vocabulary import InputError

BASE = Recipe(
    epochs=200,
    batch_size=128,
    optimizer=partial(torch.optim.SGD, lr=0.1, momentum=0.9, weight_decay=5e-5),
    weights={
        "pseudo_labels": 0.65,
        "mean_entropy": 1.3,
        "separation": 0.065,
        "cross_entropy": 0.35,
        "contrastive": 0.65,
        "supervised_contrastive": 0.35,
    },
)
CONTINUAL = Recipe(
    epochs=30,
    batch_size=128,
    optimizer=partial(torch.optim.SGD, lr=0.01, momentum=0.9, weight_decay=5e-5),
    weights={
        "pseudo_labels": 1.0,
        "between_groups": 1.0,
        "within_known": 1.0,
        "within_novel": 1.0,
        "separation": 0.1,
        "contrastive": 1.0,
        "prototype_replay": 1.0,
        "feature_distillation": 1.0,
    },
)


class ProtoGCD(DiscoveryStrategy):
    """One learnable prototype a class, old and novel alike, under one objective.

    In one mixed stage, as published: every image gets a pseudo-label from its other view, soft at
    first and, as training goes on, hard for a growing share of the most confident ones; the mean
    prediction is kept even and the prototypes apart; labeled images are classified and contrasted
    by their labels beside.

    The continual form is ours and unpublished. The base stage is the same objective with all
    labels. A later stage grows the head by the k-means centers that the known classes explain
    least, then learns from the terms without labels, over old and novel prototypes. In place of the
    labels stand features drawn around the remembered mean of each known class, and the even mean
    prediction becomes one that is even between known and novel classes and within each group, as in
    Happy: a stage is mostly novel, and to spread it over all classes alike would send novel images
    to known ones.

    Args:
        model: shared model; the rows of its cosine head are the prototypes.
        base: recipe of stage 0, mixed or labeled; the weights name the loss terms. The separation's
            is 0.65 times 0.1, on fine-grained data sets times 0.05.
        continual: recipe of every later stage.
        num_novel: "given" (the stage tells) or a number per stage.
        teacher_temperature: of soft pseudo-labels.
        student_temperature: of all logits.
        hard_ratio_start, hard_ratio_end: share of hard pseudo-labels before and after the ramp.
        wait_epochs: epochs of any stage before the ramp, without hard pseudo-labels.
        ramp_epochs: length of the ramp at stage 0; published is half of the run.
        continual_ramp_epochs: length of the ramp at later stages.
        separation_temperature: of the separation of prototypes.
        feature_distillation: keep the features near the previous model's at later stages; the
            continual recipe needs a weight of this name or, where it is off, none.
        hardness_temperature: of the choice of replayed classes; smaller draws hard ones more often.
        radius_scale: noise around a remembered mean, in units of the remembered radius.
        kmeans_starts, kmeans_seed: of the new rows at later stages.
        **engine: arguments of `DiscoveryStrategy`: warm_up, seed, device, plugins, evaluator, ...

    Source: Ma et al., ProtoGCD, TPAMI 2025, arXiv 2504.03755, with the numbers of the authors'
    CIFAR-100 command. Confidence is ranked by the gap of cosines; their code keeps the epoch with
    the best accuracy on the unlabeled images, here the last one counts.
    """

    settings: ClassVar[frozenset[str]] = frozenset({"single_stage", "continual"})
    kept_terms: ClassVar[tuple[str, ...]] = ("prototype_replay", "feature_distillation")

    def __init__(
        self,
        *,
        model: GCDModel,
        base: Recipe = BASE,
        continual: Recipe = CONTINUAL,
        num_novel: str | int = "given",
        teacher_temperature: float = 0.05,
        student_temperature: float = 0.1,
        hard_ratio_start: float = 0.0,
        hard_ratio_end: float = 1.0,
        wait_epochs: int = 0,
        ramp_epochs: int = 100,
        continual_ramp_epochs: int = 15,
        separation_temperature: float = 0.1,
        feature_distillation: bool = True,
        hardness_temperature: float = 0.1,
        radius_scale: float = 1.0,
        kmeans_starts: int = 10,
        kmeans_seed: int = 0,
        **engine: Any,
    ) -> None:
        check_above_zero(
            teacher_temperature=teacher_temperature,
            student_temperature=student_temperature,
            separation_temperature=separation_temperature,
            hardness_temperature=hardness_temperature,
            kmeans_starts=kmeans_starts,
        )
        if radius_scale < 0:
            raise InputError(f"radius_scale is {radius_scale}; wanted 0 or more")
        for ramp in (ramp_epochs, continual_ramp_epochs):  # says what is wrong with these
            hard_ratio(0, hard_ratio_start, hard_ratio_end, ramp, wait_epochs)
        if feature_distillation != ("feature_distillation" in continual.weights):
            raise InputError(
                f"feature_distillation is {feature_distillation}, and the continual weights name "
                f"{sorted(continual.weights)}; wanted both or neither: "
                "strategy.feature_distillation=false "
                "'~strategy.continual.weights.feature_distillation'"
            )
        super().__init__(model=model, base=base, continual=continual, num_novel=num_novel, **engine)
        self.teacher_temperature = teacher_temperature
        self.student_temperature = student_temperature
        self.hard_ratio_start, self.hard_ratio_end = hard_ratio_start, hard_ratio_end
        self.wait_epochs = wait_epochs
        self.ramp_epochs, self.continual_ramp_epochs = ramp_epochs, continual_ramp_epochs
        self.separation_temperature = separation_temperature
        self.feature_distillation = feature_distillation
        self.hardness_temperature = hardness_temperature
        self.radius_scale = radius_scale
        self.kmeans_starts, self.kmeans_seed = kmeans_starts, kmeans_seed
        self.memory = PrototypeMemory(model.dim).to(self.device)

    def sampler(self, labels: np.ndarray, generator: np.random.Generator) -> np.ndarray:
        return half_labeled(labels, generator)

    def begin_stage(self, stage: Stage) -> None:
        if self.stage_index == 0:
            draws = self.generator("head")
            self.model.head.grow(self.first_classes(stage), generator=draws)
            return
        self.teacher = self.model.snapshot()
        grow_by_clusters(self, stage, seed=self.kmeans_seed, num_starts=self.kmeans_starts)
        self.draws = self.generator("prototypes")

    def losses(self, batch: Batch) -> Mapping[str, Tensor]:
        if self.stage_index == 0:
            return self._base_losses(batch)
        groups = group_entropy(batch.out.logits, self.num_known, self.student_temperature)
        return self._shared(batch) | groups._asdict() | self._remembered(batch)  # three terms

    def supervised_losses(self, batch: Batch) -> Mapping[str, Tensor]:
        return self._base_losses(batch) | self._remembered(batch)

    def _shared(self, batch: Batch) -> dict[str, Tensor]:
        """The terms of every stage."""
        out = batch.out
        return {
            "pseudo_labels": adaptive_pseudo_labels(
                out.logits, self.hard_ratio, self.teacher_temperature, self.student_temperature
            ),
            "separation": prototype_separation(
                self.model.head.directions, self.separation_temperature
            ),
            "contrastive": info_nce(out.projections),
        }

    def _base_losses(self, batch: Batch) -> dict[str, Tensor]:
        out, student = batch.out, self.student_temperature
        return self._shared(batch) | {
            "mean_entropy": mean_entropy(out.logits, student),
            "cross_entropy": cosine_cross_entropy(out.logits, batch.labels, student),
            "supervised_contrastive": supervised_contrastive(out.projections, batch.labels),
        }

    @property
    def hard_ratio(self) -> float:
        """Share of hard pseudo-labels at this epoch of this stage."""
        ramp = self.ramp_epochs if self.stage_index == 0 else self.continual_ramp_epochs
        return hard_ratio(
            self.epoch, self.hard_ratio_start, self.hard_ratio_end, ramp, self.wait_epochs
        )

    def _remembered(self, batch: Batch) -> dict[str, Tensor]:
        """What a later stage has in place of labels: replayed means and, if on, old features."""
        out = batch.out
        replayed = self.memory.sample(
            out.logits.shape[:2].numel(), self.draws, self.hardness_temperature, self.radius_scale
        )
        terms = {
            "prototype_replay": cosine_cross_entropy(
                self.model.head(replayed.features), replayed.classes, self.student_temperature
            )
        }
        if self.feature_distillation:
            terms["feature_distillation"] = feature_distillation(
                out.features, batch.frozen(self.teacher.features)
            )
        return terms

    def end_stage(self, stage: Stage) -> None:
        seen = self.stage_outputs(stage)
        if self.stage_index == 0:
            self.memory.remember_labeled(seen.features, seen.labels)
        if len(self.memory) < self.model.num_classes:  # novel classes, of this stage
            self.memory.remember_predicted(
                seen.features,
                seen.labels if self.supervised else seen.logits.argmax(-1),
                self.model.num_classes,
                self.model.head.directions.detach(),
            )

    def predict(self, trunk: Tensor) -> Tensor:
        return self.model.head(self.model.backbone.tail(trunk)) / self.student_temperature

    def state_modules(self) -> dict[str, nn.Module]:
        return {**super().state_modules(), "memory": self.memory}
