"""GCD: contrastive features, then k-means in which labeled samples keep their class."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any, ClassVar

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from cgcd.discovery import pinned_kmeans, semi_supervised_kmeans
from cgcd.engine import Batch, DiscoveryStrategy, Recipe, half_labeled
from cgcd.engine.ranges import check_above_zero
from cgcd.losses import info_nce, supervised_contrastive
from cgcd.models import GCDModel
from cgcd.stages import Stage

BASE = Recipe(
    epochs=200,
    batch_size=128,
    optimizer=partial(torch.optim.SGD, lr=0.1, momentum=0.9, weight_decay=5e-5),
    weights={"contrastive": 0.65, "supervised_contrastive": 0.35},
)
CONTINUAL = Recipe(
    epochs=30,
    batch_size=128,
    optimizer=partial(torch.optim.SGD, lr=0.01, momentum=0.9, weight_decay=5e-5),
    weights={"contrastive": 1.0},
)


class GCD(DiscoveryStrategy):
    """No classifier is trained: features first, then clusters, and an image is of the nearest one.

    In one mixed stage, as published: every image is contrasted with all others, labeled ones by
    their labels too; then k-means over the normalized features of the stage, in which labeled
    samples stay in the cluster of their class.

    The continual form is ours. The centroids of the base stage are the class means. A later stage
    trains on without labels; then k-means looks for novel centroids beside the known ones, which
    stay where they are, for no image of theirs is kept: they grow stale as the features move.

    The centroids are the rows of the shared head. Until the end of a stage its new rows are random,
    so an evaluation inside the stage says nothing about novel classes.

    Args:
        model: shared model; the head is no part of the losses.
        base: recipe of stage 0, mixed or labeled; the weights name the loss terms.
        continual: recipe of every later stage.
        num_novel: "given" (the stage tells) or a number per stage.
        contrastive_temperature: of the contrast without labels.
        supervised_temperature: of the contrast by labels.
        kmeans_starts: k-means runs of which the best is kept.
        kmeans_iterations: steps of a run at most.
        kmeans_seed: of these runs.
        score_temperature: of the softmax over squared distances to the centroids; twice that of
            cosines, for unit vectors lie 2 - 2 cos apart.
        **engine: arguments of `DiscoveryStrategy`: warm_up, seed, device, plugins, evaluator, ...

    Source: Vaze et al., Generalized Category Discovery, CVPR 2022, arXiv 2201.02609, with the
    numbers of the authors' commands. Their code trains a projection of 65536 outputs, decays biases
    too and clusters the features of the epoch with the best accuracy on known test classes; here
    the model's projection, no decay of biases, and the last epoch. The score is ours.
    """

    settings: ClassVar[frozenset[str]] = frozenset({"single_stage", "continual"})

    def __init__(
        self,
        *,
        model: GCDModel,
        base: Recipe = BASE,
        continual: Recipe = CONTINUAL,
        num_novel: str | int = "given",
        contrastive_temperature: float = 1.0,
        supervised_temperature: float = 0.07,
        kmeans_starts: int = 100,
        kmeans_iterations: int = 200,
        kmeans_seed: int = 0,
        score_temperature: float = 0.2,
        **engine: Any,
    ) -> None:
        check_above_zero(
            contrastive_temperature=contrastive_temperature,
            supervised_temperature=supervised_temperature,
            kmeans_starts=kmeans_starts,
            kmeans_iterations=kmeans_iterations,
            score_temperature=score_temperature,
        )
        super().__init__(model=model, base=base, continual=continual, num_novel=num_novel, **engine)
        self.contrastive_temperature = contrastive_temperature
        self.supervised_temperature = supervised_temperature
        self.kmeans_starts = kmeans_starts
        self.kmeans_iterations = kmeans_iterations
        self.kmeans_seed = kmeans_seed
        self.score_temperature = score_temperature

    def sampler(self, labels: np.ndarray, generator: np.random.Generator) -> np.ndarray:
        return half_labeled(labels, generator)

    def begin_stage(self, stage: Stage) -> None:
        if self.stage_index == 0:
            num_classes = self.first_classes(stage)
        else:
            num_classes = self.num_known + self.novel_classes(stage)
        self.model.head.grow(num_classes, generator=self.generator("head"))

    def losses(self, batch: Batch) -> Mapping[str, Tensor]:
        if self.stage_index == 0:
            return self.supervised_losses(batch)
        return {"contrastive": info_nce(batch.out.projections, self.contrastive_temperature)}

    def supervised_losses(self, batch: Batch) -> Mapping[str, Tensor]:
        projections = batch.out.projections
        return {
            "contrastive": info_nce(projections, self.contrastive_temperature),
            "supervised_contrastive": supervised_contrastive(
                projections,
                batch.labels,
                self.supervised_temperature,
                base_temperature=self.supervised_temperature,
            ),
        }

    @torch.no_grad()
    def end_stage(self, stage: Stage) -> None:
        seen, centroids = self.stage_outputs(stage), self.model.head.directions
        features = F.normalize(seen.features, dim=-1)
        runs = (self.kmeans_seed, self.kmeans_starts, self.kmeans_iterations)
        if self.stage_index == 0:
            found = semi_supervised_kmeans(features, seen.labels, len(centroids), *runs)
            centroids.copy_(found.centroids)
        elif self.supervised:
            for row in range(self.num_known, len(centroids)):
                centroids[row] = features[seen.labels == row].mean(0)
        else:
            known, novel = centroids[: self.num_known], len(centroids) - self.num_known
            centroids[self.num_known :] = pinned_kmeans(features, known, novel, *runs)

    def predict(self, trunk: Tensor) -> Tensor:
        features = F.normalize(self.model.backbone.tail(trunk), dim=-1)
        # without matrix products, whose rounding depends on the company of an image
        distances = torch.cdist(
            features, self.model.head.directions, compute_mode="donot_use_mm_for_euclid_dist"
        )
        return -distances.square() / self.score_temperature
