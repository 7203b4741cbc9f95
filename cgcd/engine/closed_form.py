"""Strategies whose features never change after the base stage and whose classifier is computed."""

from __future__ import annotations

import copy
from abc import abstractmethod
from collections.abc import Mapping
from typing import Any, Protocol

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from cgcd.discovery import PROPOSALS, calibrated_threshold, propose, relabel
from cgcd.discovery.relabel import MAX_ROUNDS
from cgcd.engine.batch import Batch, StageOutputs
from cgcd.engine.optimization import Recipe
from cgcd.engine.parametric import BASE, ParametricBase
from cgcd.engine.ranges import check_above_zero
from cgcd.engine.strategy import DiscoveryStrategy
from cgcd.models import GCDModel
from cgcd.stages import Stage
from cgcd.vocabulary import InputError


class Classifier(Protocol):
    """What a head on fixed features can do; features are (N, D), labels (N,), scores (N, K)."""

    num_classes: int

    def __call__(self, features: Tensor) -> Tensor: ...

    def remember(self, features: Tensor, labels: Tensor) -> None: ...

    def append(self, features: Tensor, labels: Tensor, num_classes: int) -> None: ...

    def update(self, features: Tensor, labels: Tensor, weight: float) -> None: ...


class Scorer(Classifier, Protocol):
    """A classifier that also says where to look for clusters and tries new classes out.

    Attributes:
        needs_pairs: of labeled samples, at least one class has to have two.
        centers: of its classes, where `points` lie.
    """

    needs_pairs: bool
    centers: Tensor

    def points(self, features: Tensor) -> Tensor: ...

    def provisional_scores(self, features: Tensor, labels: Tensor, num_classes: int) -> Tensor: ...


class ClosedFormStrategy(ParametricBase, DiscoveryStrategy):
    """Learns features at the base stage, if at all; every later stage is one pass and a solution.

    Base stage: the objective of Happy's and SimGCD's, or no step. Then nothing of the model moves
    any more, so what is stored of a class never goes stale: no image is kept, nothing is distilled.
    At a later stage clusters propose new classes, the known and the proposed ones together score
    every sample again, and what stays with a new class is its training set. Known classes keep
    their bits.

    The rows of the shared cosine head are the class means of the features; the method does not ask
    them.

    Args:
        model: the shared model.
        base: recipe of the base stage; the weights name the loss terms.
        continual: later stages take no step, so there is no recipe for them: None.
        num_novel: "given" (the stage tells), "estimate", or a number per stage.
        tune_base: False takes the features as they come, after the warm-up if there is one.
        proposal: where new classes come from, one of `cgcd.discovery.PROPOSALS`.
        relabel_rounds: how often all samples are scored again, 0 to 5; 0 believes the clusters.
        update_known: what a sample given back to a known class counts in it, in [0, 1]; only those
            whose margin is above the median count.
        kmeans_starts, kmeans_iterations, kmeans_seed: of the clusters.
        score_temperature: scores are divided by it; it changes confidences and no answer.
        **engine: arguments of `ParametricBase` and `DiscoveryStrategy`: warm_up, seed, device,
            plugins, evaluator, ...

    Source: Janson et al., arXiv 2210.04428, for features that stay; VB-CGCD, ICML 2025, arXiv
    2507.17382, for clusters and relabeling. The base stage: Happy, arXiv 2410.06535.
    """

    def __init__(
        self,
        *,
        model: GCDModel,
        base: Recipe = BASE,
        continual: None = None,
        num_novel: str | int = "given",
        tune_base: bool = True,
        proposal: str = "pinned",
        relabel_rounds: int = 1,
        update_known: float = 0.0,
        kmeans_starts: int = 10,
        kmeans_iterations: int = 50,
        kmeans_seed: int = 0,
        score_temperature: float = 0.1,
        **engine: Any,
    ) -> None:
        if continual is not None:
            raise InputError(
                f"{type(self).__name__} takes no step after the base stage, so a continual recipe "
                "has nothing to say; set strategy.continual=null"
            )
        if proposal not in PROPOSALS:
            raise InputError(f"proposal is {proposal!r}; wanted one of {', '.join(PROPOSALS)}")
        if not 0 <= relabel_rounds <= MAX_ROUNDS or not 0 <= update_known <= 1:
            raise InputError(
                f"relabel_rounds is {relabel_rounds} and update_known {update_known}; wanted 0 to "
                f"{MAX_ROUNDS}, and 0 to 1"
            )
        check_above_zero(
            kmeans_starts=kmeans_starts,
            kmeans_iterations=kmeans_iterations,
            score_temperature=score_temperature,
        )
        super().__init__(model=model, base=base, continual=base, num_novel=num_novel, **engine)
        self.tune_base, self.proposal = tune_base, proposal
        self.relabel_rounds, self.update_known = relabel_rounds, update_known
        self.kmeans_starts, self.kmeans_iterations = kmeans_starts, kmeans_iterations
        self.kmeans_seed = kmeans_seed
        self.score_temperature = score_temperature
        self.rejection = nn.Module()
        self.rejection.register_buffer("threshold", torch.tensor(torch.inf, dtype=torch.float64))
        self.rejection.to(self.device)

    # ---------------------------------------------------------------- what a method fills

    @property
    @abstractmethod
    def classifier(self) -> Classifier:
        """What answers."""

    @property
    def scorer(self) -> Scorer:
        """What proposes and relabels; by default the classifier."""
        return self.classifier  # type: ignore[return-value]

    # ---------------------------------------------------------------- the base stage

    def takes_steps_at(self, stage_index: int) -> bool:
        return stage_index == 0 and self.tune_base

    def begin_stage(self, stage: Stage) -> None:
        if not self.stage_index and self.scorer.needs_pairs:
            self._check_pairs(stage)
        known = self.num_known
        rows = self.novel_classes(stage) if self.stage_index else self.num_labeled_classes(stage)
        self.model.head.grow(known + rows, generator=self.generator("head"))

    def losses(self, batch: Batch) -> Mapping[str, Tensor]:
        return self.base_losses(batch)

    def supervised_losses(self, batch: Batch) -> Mapping[str, Tensor]:
        return self.losses(batch)

    # ---------------------------------------------------------------- every stage

    @torch.no_grad()
    def end_stage(self, stage: Stage) -> None:
        seen = self.stage_outputs(stage)
        features, labels = seen.features, seen.labels
        known, total = self.num_known, self.model.num_classes
        if self.stage_index == 0:
            self._calibrate(seen)
            for head in self._heads():
                head.remember(features, labels)
        else:
            weight = 1.0
            if not self.supervised:
                labels, confident = self.discovered(features)
                weight = self.update_known
            for head in self._heads():
                if weight:
                    old = labels < known if self.supervised else confident
                    head.update(features[old], labels[old], weight)
                head.append(features, labels, total)
        rows = F.normalize(features, dim=1)
        for c in range(known if self.stage_index else 0, total):
            self.model.head.directions[c] = rows[labels == c].mean(0)

    def discovered(self, features: Tensor) -> tuple[Tensor, Tensor]:
        """What the samples of an unlabeled stage are.

        Args:
            features: (N, D).

        Returns:
            labels: rows of the head, (N,), every new one at least once.
            confident: known classes' samples with a margin above their median, (N,) bool.
        """
        scorer, known, total = self.scorer, self.num_known, self.model.num_classes
        scores = scorer(features)
        first = propose(
            scorer.points(features),
            scorer.centers,
            total - known,
            self.proposal,
            rejected=-scores.amax(1) > self.rejection.threshold,
            seed=self.kmeans_seed,
            num_starts=self.kmeans_starts,
            max_iterations=self.kmeans_iterations,
        )
        again = relabel(
            first.labels,
            scores,
            lambda labels: scorer.provisional_scores(features, labels, total),
            total - known,
            self.relabel_rounds,
        )
        self.report.setdefault("relabeled", []).append(
            {
                "stage": self.stage_index,
                "proposed": int((first.labels >= known).sum()),
                "kept": int((again.labels >= known).sum()),
                "changed": again.changed,
            }
        )
        is_known = again.labels < known
        confident = is_known
        if bool(is_known.any()):
            confident = is_known & (again.margins > again.margins[is_known].median())
        return again.labels, confident

    def predict(self, trunk: Tensor) -> Tensor:
        if not self.classifier.num_classes:  # inside the base stage
            return super().predict(trunk)
        features = self.model.backbone.tail(trunk)
        scores = self.classifier(features)
        # about the best one, so that float32 can tell large ones apart
        return ((scores - scores.amax(1, keepdim=True)) / self.score_temperature).to(features)

    def state_modules(self) -> dict[str, nn.Module]:
        heads = {"classifier": self.classifier, "scorer": self.scorer}
        if self.scorer is self.classifier:
            del heads["scorer"]
        return {**super().state_modules(), **heads, "rejection": self.rejection}  # type: ignore[dict-item]

    def _check_pairs(self, stage: Stage) -> None:
        labels = np.asarray(stage.dataset.targets)
        counts = np.bincount(labels[labels >= 0])
        if counts.max(initial=0) < 2:
            raise InputError(
                f"{type(self).__name__} measures how wide classes are, and each of the "
                f"{len(counts)} known ones has one labeled sample; wanted two of at least one "
                "class: label more, or set strategy=nmc"
            )

    def _heads(self) -> list[Classifier]:
        same = self.scorer is self.classifier
        return [self.classifier] if same else [self.classifier, self.scorer]

    def _calibrate(self, seen: StageOutputs) -> None:
        """Sets from what novelty on a sample is rejected, where rejection proposes new classes."""
        if self.proposal != "reject":
            return

        def novelty(support: Tensor, labels: Tensor, features: Tensor) -> Tensor:
            trial = copy.deepcopy(self.scorer)
            trial.remember(support, labels)
            return -trial(features).amax(1)

        threshold = calibrated_threshold(seen.features, seen.labels, novelty, self.kmeans_seed)
        self.rejection.threshold.fill_(threshold)
