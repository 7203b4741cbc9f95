"""Entropy of the mean prediction, over all classes and over groups of classes.

Both losses keep predictions from collapsing onto few classes; both are gaps to the maximal entropy.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor

_SMALLEST = 1e-12  # a class nobody is predicted as: value 0 and a finite gradient


class GroupEntropy(NamedTuple):
    """Gaps to maximal entropy of the mean prediction, scalars in nats.

    Attributes:
        between_groups: of the total mass of known and of novel classes, in [0, log 2].
        within_known: of the known classes, in [0, log of their number].
        within_novel: of the novel classes, in [0, log of their number]; 0 for a single one.
    """

    between_groups: Tensor
    within_known: Tensor
    within_novel: Tensor


def mean_entropy(logits: Tensor, temperature: float = 0.1) -> Tensor:
    """Gap to maximal entropy of the mean prediction: 0 when all classes share the batch evenly.

    Args:
        logits: cosine similarities in [-1, 1], (B, V, K).
        temperature: softmax temperature, > 0, unitless.

    Returns:
        A scalar in nats, in [0, log K].

    Source: Wen et al., SimGCD, ICCV 2023, arXiv 2211.11727, mean-entropy regularization, here with
    the constant log K.
    """
    return _gap(_mean_prediction(logits, temperature))


def group_entropy(logits: Tensor, num_known: int, temperature: float = 0.1) -> GroupEntropy:
    """Gap to maximal entropy of the mean prediction, between and within known and novel classes.

    Zero when known and novel share the batch half and half, each evenly; keeps novel classes from
    collapsing into known ones.

    Args:
        logits: cosine similarities in [-1, 1], (B, V, K); columns [:num_known] are known classes.
        num_known: classes met before this stage, 1 <= num_known < K.
        temperature: softmax temperature, > 0, unitless.

    Returns:
        Three scalars in nats, each >= 0: `between_groups`, `within_known`, `within_novel`.

    Raises:
        ValueError: if `num_known` leaves no known or no novel class.

    Source: Ma et al., Happy, NeurIPS 2024, arXiv 2410.06535, soft entropy regularization.
    """
    num_classes = logits.shape[-1]
    if not 0 < num_known < num_classes:
        raise ValueError(
            f"num_known is {num_known} of {num_classes} classes; wanted 1 to {num_classes - 1}, so "
            "that both groups have a class; use mean_entropy where there is one group only"
        )
    mean = _mean_prediction(logits, temperature)
    known, novel = mean[:num_known], mean[num_known:]
    return GroupEntropy(
        between_groups=_gap(torch.stack([known.sum(), novel.sum()])),
        within_known=_gap(known / known.sum()),
        within_novel=_gap(novel / novel.sum()),
    )


def _mean_prediction(logits: Tensor, temperature: float) -> Tensor:
    """Mean of the predictions over all rows, (K,), each at least 1e-12, in float32 or better."""
    logits = logits.to(torch.promote_types(logits.dtype, torch.float32))
    mean = (logits / temperature).softmax(-1).flatten(0, -2).mean(0)
    # Clamped before any division: an empty group then counts as even, and no sum is zero.
    return mean.clamp_min(_SMALLEST)


def _gap(probabilities: Tensor) -> Tensor:
    return math.log(len(probabilities)) + (probabilities * probabilities.log()).sum()
