"""What a method is handed: a training batch, a pass over a stage, a criterion for stock plugins."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from torch import Tensor, nn

from cgcd.vocabulary import UNLABELED, GCDOutput


@dataclass(frozen=True)
class Batch:
    """What a strategy's losses may look at.

    Attributes:
        trunk: output of the frozen trunk, (B, V, ...), no gradient.
        out: features, projections and logits of it, with gradient.
        labels: visible labels, (B,), `UNLABELED` where hidden.
        sample_ids: number of each sample in its data set, (B,); None with a stock loader.
    """

    trunk: Tensor
    out: GCDOutput
    labels: Tensor
    sample_ids: Tensor | None

    def frozen(self, compute: Callable[[Tensor], Tensor]) -> Tensor:
        """What modules that get no gradient give for the trunk output, (B, ...).

        Several processes share the work, which `compute(batch.trunk)` would do in each.

        Args:
            compute: from a trunk output of some of the samples, row by row, without gradient.
        """
        return compute(self.trunk)


@dataclass(frozen=True)
class StageOutputs:
    """What the model gives for all samples of a stage under the evaluation transform.

    Attributes:
        features: not normalized, (N, D).
        logits: cosines, (N, K).
        labels: visible labels, (N,).
    """

    features: Tensor
    logits: Tensor
    labels: Tensor


class UnlabeledAware(nn.Module):
    """Cross-entropy for stock plugins that call the criterion; 0 where no label shows."""

    def forward(self, logits: Tensor, labels: Tensor) -> Tensor:
        shown = labels != UNLABELED
        if not shown.any():
            return logits.sum() * 0.0
        return nn.functional.cross_entropy(logits[shown], labels[shown])
