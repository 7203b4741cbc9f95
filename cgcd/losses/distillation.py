"""Distillation: between the views of an image, and from the model of the previous stage."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor


def self_distillation(
    logits: Tensor,
    teacher_temperature: float,
    student_temperature: float = 0.1,
    teacher_logits: Tensor | None = None,
) -> Tensor:
    """Cross-entropy of each view's prediction against the sharper prediction of another view.

    Args:
        logits: cosine similarities in [-1, 1], (B, V, K), V >= 2.
        teacher_temperature: softmax temperature of the targets, > 0, unitless, commonly below the
            student's.
        student_temperature: softmax temperature of the predictions, > 0, unitless.
        teacher_logits: where the targets come from, (B, V, K); by default `logits`. No gradient
            flows through them.

    Returns:
        A scalar in nats, the mean over images and ordered pairs of different views.

    Raises:
        ValueError: if there is one view only.

    Source: Wen et al., SimGCD, ICCV 2023, arXiv 2211.11727; both directions are averaged, as in the
    authors' code. V > 2 is ours.
    """
    num_views = logits.shape[1]
    if num_views < 2:
        raise ValueError(
            f"self_distillation was given logits of shape {tuple(logits.shape)}, (B, V, K): it "
            "needs V >= 2 views, one to teach the other; set num_views to 2 or more"
        )
    if teacher_logits is None:
        teacher_logits = logits
    teacher = (teacher_logits.detach() / teacher_temperature).softmax(-1)
    student = (logits / student_temperature).log_softmax(-1)
    # Rolling the views by 1 .. V - 1 meets every ordered pair of different views once.
    pairs = [-(teacher.roll(v, dims=1) * student).sum(-1).mean() for v in range(1, num_views)]
    return torch.stack(pairs).mean()


def feature_distillation(features: Tensor, previous: Tensor) -> Tensor:
    """Mean squared distance of the normalized features to those of the previous stage's model.

    Args:
        features: not normalized, (..., D).
        previous: features of the same views by the previous model, (..., D); no gradient.

    Returns:
        A scalar in [0, 4], which is 2 (1 - cosine) averaged over all rows.

    Source: Ma et al., Happy, NeurIPS 2024, arXiv 2410.06535. The paper writes 1 - cosine, the
    authors' code, followed here, twice that.
    """
    distances = F.normalize(features, dim=-1) - F.normalize(previous.detach(), dim=-1)
    return distances.square().sum(-1).mean()


def ramped(epoch: int, start: float, end: float, num_epochs: int) -> float:
    """Value at `epoch` of a line from `start` to `end` over `num_epochs` epochs, then `end`.

    Args:
        epoch: counted from 0.
        start: value at epoch 0.
        end: value at epoch `num_epochs` - 1 and after.
        num_epochs: epochs of the ramp, both ends included, >= 0; with 0 the value is always `end`,
            with 1 only epoch 0 has `start`.

    Raises:
        ValueError: if `num_epochs` is negative.

    >>> [round(ramped(epoch, 0.07, 0.04, 4), 6) for epoch in range(6)]
    [0.07, 0.06, 0.05, 0.04, 0.04, 0.04]

    Source: the teacher temperature of SimGCD's code; its paper says cosine.
    """
    if num_epochs < 0:
        raise ValueError(f"a ramp was given {num_epochs} epochs; wanted 0 or more")
    if epoch >= num_epochs:
        return end
    return start + (end - start) * epoch / max(num_epochs - 1, 1)
