"""FeCAM: Mahalanobis distance under the correlations of each class."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from cgcd.models.gaussian import GaussianHead
from cgcd.models.shrinkage import diagonal_correlation, jittered_cholesky, samples_differ
from cgcd.vocabulary import InputError

RECIPES = ("vit", "cnn")


class FeCAMHead(GaussianHead):
    """Minus half the squared Mahalanobis distance under the correlation matrix of each class.

    - `vit`: unit features; the covariance gets its mean variance once more on the diagonal.
    - `cnn`: for features >= 0, as after a ReLU: their square root; diagonal and other entries of
      the covariance are raised twice; distances between unit features and unit means.

    A correlation looks at single features, so there are no principal components.

    Args:
        dim: D, the width of the features.
        recipe: one of `RECIPES`.

    Source: Goswami et al., FeCAM, NeurIPS 2023, arXiv 2309.14062, with the numbers of the authors'
    code; covariances are divided by n - 1.
    """

    def __init__(self, dim: int, recipe: str = "vit") -> None:
        if recipe not in RECIPES:
            raise ValueError(f"recipe is {recipe!r}; wanted one of {', '.join(RECIPES)}")
        super().__init__(dim, log_determinant=False)
        self.recipe = recipe

    def points(self, features: Tensor) -> Tensor:
        return F.normalize(self._rows(features), dim=1)

    def _rows(self, features: Tensor) -> Tensor:
        rows = features.to(self.means)
        if self.recipe == "vit":
            return F.normalize(rows, dim=1)
        if bool((rows < 0).any()):
            raise InputError(
                "a feature is below 0 and FeCAM's recipe cnn takes square roots; use the recipe "
                "vit: set strategy.covariance=fecam"
            )
        return rows.sqrt()

    def _means(self, rows: Tensor) -> Tensor:
        return F.normalize(rows, dim=1) if self.recipe == "cnn" else rows

    def _factor(self, rows: Tensor) -> Tensor:
        if not samples_differ(rows):  # one sample tells of no correlation
            return torch.eye(rows.shape[1]).to(rows)
        centered = rows - rows.mean(0)
        covariance = centered.T @ centered / max(len(rows) - 1, 1)
        raised = (1.0, 1.0, 2) if self.recipe == "cnn" else (1.0, 0.0, 1)
        return jittered_cholesky(diagonal_correlation(covariance, *raised))
