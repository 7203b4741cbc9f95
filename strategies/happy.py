"""Happy: debiased continual category discovery with soft entropy, prototypes and distillation."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from cgcd.engine import Batch, DiscoveryStrategy, ParametricBase, Recipe, grow_by_clusters
from cgcd.engine.parametric import BASE
from cgcd.engine.ranges import check_above_zero
from cgcd.losses import (
    cosine_cross_entropy,
    feature_distillation,
    group_entropy,
    info_nce,
    self_distillation,
)
from cgcd.memory import PrototypeMemory
from cgcd.models import GCDModel, MemoryBranch
from cgcd.stages import Stage
from cgcd.vocabulary import InputError

__all__ = ["BASE", "CONTINUAL", "Happy"]

CONTINUAL = Recipe(
    epochs=30,
    batch_size=128,
    optimizer=partial(torch.optim.SGD, lr=0.01, momentum=0.9, weight_decay=5e-5),
    weights={
        "self_distillation": 1.0,
        "between_groups": 1.0,
        "within_known": 1.0,
        "within_novel": 1.0,
        "contrastive": 1.0,
        "prototype_replay": 1.0,
        "feature_distillation": 1.0,
    },
)


class Happy(ParametricBase, DiscoveryStrategy):
    """Rehearsal-free: keeps one mean feature a class, one radius, and the previous tail as teacher.

    The base stage is SimGCD's objective on labeled samples. Every later stage grows the head by
    the k-means centers that the known classes explain least, then learns without labels from its
    own sharpened predictions, pulled to give known and novel classes equal mass, while prototypes
    drawn by hardness keep the known rows of the head and feature distillation keeps the backbone.

    Args:
        model: shared model; its projection head is drawn anew at every stage.
        base, continual: recipes; the weights name the loss terms.
        num_novel: "given" (the stage tells, as in nearly all published results) or a number per
            stage.
        teacher_temperature: of the continual stages.
        hardness_temperature: of the choice of prototypes; smaller draws hard classes more often.
        radius_scale: noise around a prototype, in units of the remembered radius.
        kmeans_starts: k-means runs for the new rows, the best is kept; the authors' code leaves it
            to scikit-learn, whose default fell from 10 to 1.
        kmeans_seed: of these runs; the authors' code has 0 whatever the seed of the run.
        deduplicate: skip centers that point where an already chosen one points.
        memory_branch: "analytic" answers from a ridge head on the features of the base stage, which
            takes in what this method predicts as new, see `cgcd.models.MemoryBranch`; training is
            the same. None answers from the head.
        memory_features: random features of that ridge head.
        **engine: arguments of `ParametricBase` and `DiscoveryStrategy`: warm_up, seed, device,
            plugins, evaluator, ...

    Source: Ma et al., Happy, NeurIPS 2024, arXiv 2410.06535. Where the authors' code differs from
    the paper the code's value is the default: the base stage adds self-distillation and mean
    entropy and weighs cross-entropy by 0.35; feature distillation is a squared distance, twice the
    paper's 1 - cos; the hardness temperature is 0.1 (the appendix says 1); the radius is a standard
    deviation; the projection head has 256 outputs and is re-initialized at each stage. Unlike the
    code, the last weights of a stage go on, never the epoch with the best test accuracy.
    """

    kept_terms: ClassVar[tuple[str, ...]] = ("prototype_replay", "feature_distillation")

    def __init__(
        self,
        *,
        model: GCDModel,
        base: Recipe = BASE,
        continual: Recipe = CONTINUAL,
        num_novel: str | int = "given",
        teacher_temperature: float = 0.05,
        hardness_temperature: float = 0.1,
        radius_scale: float = 1.0,
        kmeans_starts: int = 10,
        kmeans_seed: int = 0,
        deduplicate: bool = False,
        memory_branch: str | None = None,
        memory_features: int = 3000,
        **engine: Any,
    ) -> None:
        if memory_branch not in (None, "analytic"):
            raise InputError(f"memory_branch is {memory_branch!r}; wanted 'analytic' or none")
        check_above_zero(
            teacher_temperature=teacher_temperature,
            hardness_temperature=hardness_temperature,
            kmeans_starts=kmeans_starts,
        )
        if radius_scale < 0:
            raise InputError(f"radius_scale is {radius_scale}; wanted 0 or more")
        super().__init__(model=model, base=base, continual=continual, num_novel=num_novel, **engine)
        self.teacher_temperature = teacher_temperature
        self.hardness_temperature = hardness_temperature
        self.radius_scale = radius_scale
        self.kmeans_starts = kmeans_starts
        self.kmeans_seed = kmeans_seed
        self.deduplicate = deduplicate
        self.memory = PrototypeMemory(model.dim).to(self.device)
        self.memory_branch, self.memory_features = memory_branch, memory_features
        self.branch: MemoryBranch | None = None
        if memory_branch is not None:
            self.branch = MemoryBranch(
                model.backbone.tail, model.dim, num_features=memory_features, seed=self.seed
            ).to(self.device)

    def begin_stage(self, stage: Stage) -> None:
        model = self.model
        if self.stage_index == 0:
            model.head.grow(self.num_labeled_classes(stage), generator=self.generator("head"))
            return
        self.teacher = model.snapshot()
        grow_by_clusters(
            self,
            stage,
            seed=self.kmeans_seed,
            num_starts=self.kmeans_starts,
            deduplicate=self.deduplicate,
        )
        model.projection.reset(self.generator("projection"))
        self.draws = self.generator("prototypes")

    def losses(self, batch: Batch) -> Mapping[str, Tensor]:
        return self.base_losses(batch) if self.stage_index == 0 else self._novel_losses(batch)

    def _novel_losses(self, batch: Batch) -> Mapping[str, Tensor]:
        out, student = batch.out, self.student_temperature
        return {
            "self_distillation": self_distillation(out.logits, self.teacher_temperature, student),
            **group_entropy(out.logits, self.num_known, student)._asdict(),  # three terms
            "contrastive": info_nce(out.projections),
            **self._kept(batch),
        }

    def _kept(self, batch: Batch) -> dict[str, Tensor]:
        """What holds the known classes: replayed prototypes and the previous stage's features."""
        out = batch.out
        replayed = self.memory.sample(
            out.logits.shape[:2].numel(), self.draws, self.hardness_temperature, self.radius_scale
        )
        return {
            "prototype_replay": cosine_cross_entropy(
                self.model.head(replayed.features), replayed.classes, self.student_temperature
            ),
            "feature_distillation": feature_distillation(
                out.features, batch.frozen(self.teacher.features)
            ),
        }

    def supervised_losses(self, batch: Batch) -> Mapping[str, Tensor]:
        return {**self.base_losses(batch), **self._kept(batch)}

    def end_stage(self, stage: Stage) -> None:
        seen = self.stage_outputs(stage)
        is_labeled = self.stage_index == 0 or self.supervised
        labels = seen.labels if is_labeled else seen.logits.argmax(-1)
        if self.stage_index == 0:
            self.memory.remember_labeled(seen.features, labels)
        else:
            self.memory.remember_predicted(
                seen.features,
                labels,
                self.model.num_classes,
                self.model.head.directions.detach(),
            )
        if self.branch is not None:
            if self.stage_index == 0:
                self.branch.freeze(self.model.backbone.tail)
            features = [self.branch.tail(trunk) for trunk, _ in self.trunk_outputs(stage.dataset)]
            self.branch.learn(torch.cat(features), labels, self.model.num_classes)

    def predict(self, trunk: Tensor) -> Tensor:
        # inside a stage the branch does not know its classes yet
        if self.branch is not None and self.branch.num_classes == self.model.num_classes:
            return (self.branch(trunk) / self.student_temperature).float()
        return self.model.head(self.model.backbone.tail(trunk)) / self.student_temperature

    def state_modules(self) -> dict[str, nn.Module]:
        modules = {**super().state_modules(), "memory": self.memory}
        return modules if self.branch is None else {**modules, "branch": self.branch}

    def plain_settings(self) -> dict[str, Any]:
        settings = super().plain_settings()
        if self.memory_branch is None:  # a run of before there was one goes on
            del settings["memory_branch"], settings["memory_features"]
        return settings
