"""The nearest class mean, in four definitions that do not agree with one another."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from cgcd.memory.statistics import ClassStatistics

DEFINITIONS = ("cos_unitmean", "cos_rawmean", "euclid", "euclid_unit")


class NearestMean(nn.Module):
    """Scores features by how near they lie to the mean of each class; nothing is trained.

    - `euclid`: squared distance of the raw feature to the raw mean.
    - `cos_rawmean`: cosine of the feature and the mean of raw features.
    - `euclid_unit`: squared distance of the unit feature to the mean of unit features, which is
      shorter than 1 and the shorter the wider the class.
    - `cos_unitmean`: cosine of the feature and the mean of unit features.

    Sums are kept, not normalized means, so that a mean can take in more samples later.

    Args:
        dim: D, the width of the features.
        definition: one of `DEFINITIONS`.

    Attributes:
        statistics: counts and means; of unit features for the two definitions that say so.

    Source: Janson et al., A Simple Baseline that Questions the Use of Pretrained-Models in
    Continual Learning, arXiv 2210.04428; `euclid` is scikit-learn's NearestCentroid.
    """

    needs_pairs = False

    def __init__(self, dim: int, definition: str = "cos_unitmean") -> None:
        super().__init__()
        if definition not in DEFINITIONS:
            raise ValueError(
                f"definition is {definition!r}; wanted one of {', '.join(DEFINITIONS)}"
            )
        self.definition = definition
        self.statistics = ClassStatistics(dim, keep_scatter=False)

    @property
    def num_classes(self) -> int:
        return len(self.statistics)

    @property
    def centers(self) -> Tensor:
        """Class means where `points` lie, (K, D) float64."""
        means = self.statistics.means
        return F.normalize(means, dim=1) if self.definition.startswith("cos") else means

    def points(self, features: Tensor) -> Tensor:
        """Features (N, D) as distances to `centers` see them: (N, D) float64, of length 1 or raw.

        Among unit rows the nearest unit center is the one of the largest cosine.
        """
        rows = features.to(self.statistics.means)
        return rows if self.definition == "euclid" else F.normalize(rows, dim=1)

    @torch.no_grad()
    def remember(self, features: Tensor, labels: Tensor) -> None:
        """Starts anew from labeled features (N, D) and labels (N,), 0 .. K-1."""
        self.statistics.remember(self._rows(features), labels)

    @torch.no_grad()
    def append(self, features: Tensor, labels: Tensor, num_classes: int) -> None:
        """Adds classes up to `num_classes`; rows of other labels are left out."""
        chosen = labels >= self.num_classes
        self.statistics.grow(num_classes)
        self.statistics.add(self._rows(features[chosen]), labels[chosen])

    @torch.no_grad()
    def update(self, features: Tensor, labels: Tensor, weight: float = 1.0) -> None:
        """Moves the means of known classes toward samples that each count `weight` > 0."""
        weights = torch.full((len(labels),), weight, device=labels.device)
        self.statistics.add(self._rows(features), labels, weights)

    @torch.no_grad()
    def provisional_scores(self, features: Tensor, labels: Tensor, num_classes: int) -> Tensor:
        """Scores under new classes that are not kept, (N, num_classes - K).

        Args:
            features: (N, D).
            labels: those in [K, num_classes) make the new classes, others nothing, (N,).
        """
        known = self.num_classes
        trial = NearestMean(features.shape[1], self.definition).to(features.device)
        trial.append(features, labels - known, num_classes - known)
        return trial(features)

    @torch.no_grad()
    def forward(self, features: Tensor) -> Tensor:
        """Cosines or minus squared distances, (N, K) float64; -inf for a class without a sample."""
        points, centers = self.points(features), self.centers
        cross = points @ centers.T
        if not self.definition.startswith("cos"):
            cross = 2 * cross - points.square().sum(1, keepdim=True) - centers.square().sum(1)
        return cross.masked_fill(self.statistics.counts == 0, -torch.inf)

    def _rows(self, features: Tensor) -> Tensor:
        """What the means are taken of."""
        rows = features.to(self.statistics.means)
        return F.normalize(rows, dim=1) if self.definition.endswith(("unit", "unitmean")) else rows
