"""What every table must show beside a method: its floors and its closed-set bound.

- `bound/closed_set`: the model as it was after the base stage, which discovers nothing.
- `floor/nearest_mean`: the features the run started from, never trained further: class means of the
  labeled samples, then at each stage k-means beside the pinned means; the nearest mean wins.
- `floor/kmeans`: k-means of the same features of the test set, with as many clusters as the model
  has classes.
- `floor/leader`, on a stream: leader clustering of untrained codes of the same features, at the
  method's own code length and radius.

Where stage 0 is mixed no model was trained on the labeled classes alone, so there
`bound/closed_set` is the nearest class mean of the labeled samples in the features the run started
from, which discovers nothing either; the new means of `floor/nearest_mean` come from its unlabeled
samples.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from avalanche.evaluation.metric_results import MetricValue
from torch import Tensor

from cgcd.discovery import kmeans, pinned_kmeans
from cgcd.engine.evaluation import StageMetric, classes_before
from cgcd.engine.seeding import torch_generator
from cgcd.memory import HashCodebook, pack
from cgcd.metrics import closed_set_accuracy, joint_accuracy, perfect_closed_set
from cgcd.models import TailSnapshot
from cgcd.vocabulary import UNLABELED


class Baselines(StageMetric):
    """Floors and bound as stage metrics; in evaluation they use the trunk pass that is made anyway.

    Attributes:
        start: tail that the run started from (after a warm-up, if there was one).
        closed: tail and head after the base stage.
        means: class means in the start features, (K, D), unit rows.
        mixed: stage 0 held labeled and unlabeled samples.
    """

    def __init__(self) -> None:
        super().__init__()
        self.start: TailSnapshot | None = None
        self.closed: TailSnapshot | None = None
        self.means = torch.empty(0)
        self.mixed = False

    @torch.no_grad()
    def before_training_exp(self, strategy: Any) -> None:
        if strategy.stage_index == 0:
            self.start = strategy.model.snapshot()
        features, labels = self._features(strategy)
        hidden = labels == UNLABELED
        if strategy.stage_index == 0:
            self.mixed = bool(hidden.any())
            sums = torch.zeros(strategy.num_base, features.shape[1])
            sums.index_add_(0, labels[~hidden], features[~hidden])
            self.means = F.normalize(sums, dim=-1)
        count = strategy.model.num_classes - len(self.means)
        if count:
            others = features[hidden] if strategy.stage_index == 0 else features
            fresh = pinned_kmeans(others, self.means, count, seed=strategy.seed)
            self.means = torch.cat([self.means, F.normalize(fresh, dim=-1)])

    @torch.no_grad()
    def after_training_exp(self, strategy: Any) -> None:
        if strategy.stage_index == 0:
            self.closed = strategy.model.snapshot()

    def before_eval(self, strategy: Any) -> None:
        self.reset()
        self._parts: list[tuple[Tensor, Tensor, Tensor]] = []
        self._true_known = 0

    def before_eval_exp(self, strategy: Any) -> None:
        self._true_known = max(self._true_known, classes_before(strategy))

    @torch.no_grad()
    def after_eval_iteration(self, strategy: Any) -> None:
        inside_training = strategy._eval_streams is not None
        if self.start is None or self.closed is None or inside_training:
            return
        trunk = strategy.mb_trunk.unsqueeze(1)
        start = F.normalize(self.start.features(trunk)[:, 0], dim=-1).cpu()
        if self.mixed:
            guess = (start @ self.means[: strategy.num_base].T).argmax(-1)
        else:
            guess = self.closed.logits(trunk)[:, 0].argmax(-1).cpu()
        self._parts.append((start, guess, strategy.mb_y.cpu()))

    def after_eval(self, strategy: Any) -> list[MetricValue] | None:
        if not self._parts:
            return None
        features, closed, targets = (torch.cat(c) for c in zip(*self._parts, strict=True))
        truth = targets.numpy()
        if (truth == UNLABELED).any():
            return None
        base = strategy.num_base
        known = max(base, self._true_known)
        nearest = (features @ self.means.T).argmax(-1).numpy()
        num_clusters = min(strategy.model.num_classes, len(features))
        clusters = kmeans(features, num_clusters, seed=strategy.seed, num_starts=10).labels.numpy()
        row: dict[str, float] = {}
        for name, guess in (("nearest_mean", nearest), ("kmeans", clusters)):
            scores = joint_accuracy(np.asarray(guess), truth, base, known)
            row |= {f"floor/{name}_{group}": value for group, value in scores.items()}
        bound = closed_set_accuracy(closed.numpy(), truth, base, known)
        row |= {f"bound/closed_set_{group}": value for group, value in bound.items()}
        row["bound/perfect_closed_set"] = perfect_closed_set(truth, base)
        return self.emit(strategy, row)

    def _features(self, strategy: Any) -> tuple[Tensor, Tensor]:
        features, labels = [], []
        for trunk, shown in strategy.trunk_outputs(strategy.experience.dataset):
            features.append(self.start.features(trunk.unsqueeze(1))[:, 0].cpu())
            labels.append(shown)
        return F.normalize(torch.cat(features), dim=-1), torch.cat(labels)

    # ------------------------------------------------------------ resume

    def tensors(self) -> dict[str, Tensor]:
        """What changes from stage to stage."""
        return {"means": self.means}

    def state_dict(self) -> dict[str, Any]:
        return {**super().state_dict(), "mixed": self.mixed}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        super().load_state_dict(state)
        self.mixed = state.get("mixed", False)

    def restore(
        self, start: TailSnapshot, closed: TailSnapshot, tensors: dict[str, Tensor]
    ) -> None:
        """Put back what `tensors` gave and the two snapshots, which other files hold."""
        self.start, self.closed, self.means = start, closed, tensors["means"]


class UntrainedLeader:
    """Leader clustering of codes that nobody trained: signs of random projections.

    The projections are drawn by the seed; their origin is the mean of the known classes, without
    which nearly all features would lie on one side. The known classes lead with the codes of their
    means where the method's own do.

    Args:
        baselines: after the base stage: the tail the run started from, and its class means.
        book: of the method, at the start of the stream; gives code length, radius and rule.
        seed: of the run.

    Source: random hyperplanes, Charikar, STOC 2002; sequential leader clustering is the floor of
    the on-line papers ("SLC").
    """

    def __init__(self, baselines: Baselines, book: HashCodebook, seed: int) -> None:
        if baselines.start is None:
            raise ValueError("the baselines have not seen a base stage; train on it first")
        self.start, means = baselines.start, baselines.means
        generator = torch_generator(seed, "leader")
        self.planes = torch.randn(means.shape[1], book.num_bits, generator=generator)
        self.origin = means.mean(0)
        self.book = HashCodebook(book.num_bits, book.radius, book.known_centers)
        if book.num_known:
            self.book.add_known(self._pack(means))

    @torch.no_grad()
    def rows(self, trunk: Tensor) -> np.ndarray:
        """Packed codes of trunk outputs (B, ...)."""
        features = self.start.features(trunk.unsqueeze(1))[:, 0]
        return self._pack(F.normalize(features, dim=-1).cpu())

    def _pack(self, features: Tensor) -> np.ndarray:
        return pack((features - self.origin) @ self.planes > 0)
