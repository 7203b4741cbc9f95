"""The question "how many classes of this stage are new?" and the form of every answer."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from cgcd.discovery.count_clusters import GrowingClusters, coarse_step


@dataclass(frozen=True)
class CountProblem:
    """An unlabeled stage beside a reference of the known classes.

    What comes in may be arrays or tensors of any kind and device; it is kept as float32 and int64
    tensors in main memory, cut from any graph.

    Attributes:
        features: of the stage, (N, D), N >= 2.
        reference: of the known classes, (M, D): labeled samples, or draws of a `ReferenceMemory`
            where no sample was kept.
        reference_labels: (M,), each of 0 .. K-1 at least once.
        max_novel: most novel classes to consider, >= 1.
        seed: decides every random choice of an estimator.
        normalize: scale all rows to length 1 first, as cosine heads see them.

    Raises:
        ValueError: for shapes that do not fit, numbers that are not finite, or gaps in the labels.
    """

    features: Tensor
    reference: Tensor
    reference_labels: Tensor
    max_novel: int
    seed: int = 0
    normalize: bool = True

    def __post_init__(self) -> None:
        features, reference = _rows("features", self.features), _rows("reference", self.reference)
        labels = torch.as_tensor(self.reference_labels).detach().cpu()
        if len(features) < 2:
            raise ValueError(f"the stage holds {len(features)} features, wanted at least 2")
        if reference.shape[1] != features.shape[1]:
            raise ValueError(
                f"the reference is {reference.shape[1]} wide and the stage {features.shape[1]}; "
                "take both from one model"
            )
        if labels.shape != reference.shape[:1] or labels.is_floating_point():
            raise ValueError(
                f"reference_labels: {tuple(labels.shape)} {labels.dtype} given, "
                f"({len(reference)},) integers wanted"
            )
        present = labels.unique()
        if len(present) == 0 or not torch.equal(present.long(), torch.arange(len(present))):
            raise ValueError(
                f"the reference is labeled {present.tolist()}, wanted 0..K-1 without gaps, K >= 1; "
                "leave hidden labels out and number the known classes anew"
            )
        if self.max_novel < 1:
            raise ValueError(f"max_novel is {self.max_novel}, wanted at least 1")
        if self.normalize:
            features, reference = F.normalize(features, dim=1), F.normalize(reference, dim=1)
        object.__setattr__(self, "features", features)
        object.__setattr__(self, "reference", reference)
        object.__setattr__(self, "reference_labels", labels.long())

    @property
    def num_known(self) -> int:
        """K, the number of known classes."""
        return int(self.reference_labels.max()) + 1

    @property
    def step(self) -> int:
        """Distance of the candidates of a coarse search."""
        return coarse_step(self.max_novel)

    @cached_property
    def class_means(self) -> Tensor:
        """Mean of each known class, not of length 1, (K, D)."""
        return group_means(self.reference, self.reference_labels, self.num_known)

    @cached_property
    def pinned_clusters(self) -> GrowingClusters:
        """Clusters of the stage beside the known means, which stay; shared by the estimators."""
        return GrowingClusters(
            self.features, self.class_means, self.num_known, seed=self.seed, stride=self.step
        )


@dataclass(frozen=True)
class Evidence:
    """What one estimator finds.

    Attributes:
        num_novel: in [0, max_novel]. 0 says that the stage looks like the known classes alone; a
            learner that must add a class raises it to 1.
        candidates: numbers of novel classes that were tried, ascending, (C,) int64.
        scores: curves over the candidates, (C,) each; every estimator says what its curves mean.
    """

    num_novel: int
    candidates: np.ndarray
    scores: dict[str, np.ndarray]


@dataclass(frozen=True)
class CountEstimate(Evidence):
    """How many classes are new, what speaks for it, who says so and at what price.

    Attributes:
        estimator: name of the one that counted.
        seconds: wall time of the count.
    """

    estimator: str
    seconds: float


def evidence(num_novel: int, **curves: dict[int, float]) -> Evidence:
    """Evidence from curves given as values by candidate, all over the same candidates."""
    candidates = sorted(next(iter(curves.values())))
    arrays = {name: np.array([curve[k] for k in candidates]) for name, curve in curves.items()}
    return Evidence(num_novel, np.array(candidates, dtype=np.int64), arrays)


def group_means(points: Tensor, labels: Tensor, num_groups: int) -> Tensor:
    """Mean of the points of each group, zero for a group without one, (num_groups, D)."""
    sums = points.new_zeros(num_groups, points.shape[1]).index_add_(0, labels, points)
    return sums / labels.bincount(minlength=num_groups).clamp_min(1)[:, None]


def _rows(name: str, values: Tensor) -> Tensor:
    rows = torch.as_tensor(values).detach().float().cpu()
    if rows.ndim != 2 or rows.shape[1] == 0:
        raise ValueError(f"{name}: shape {tuple(rows.shape)} given, (N, D) wanted")
    if not bool(rows.isfinite().all()):
        raise ValueError(f"{name} hold values that are not finite; look for a diverged model")
    return rows
