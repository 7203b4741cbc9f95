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
    if teacher_logits is None:
        teacher_logits = logits
    teacher = (teacher_logits.detach() / teacher_temperature).softmax(-1)
    return cross_view_entropy(teacher, logits, student_temperature)


def cross_view_entropy(targets: Tensor, logits: Tensor, temperature: float = 0.1) -> Tensor:
    """Cross-entropy of each view's prediction against the target that another view gives.

    Args:
        targets: a distribution for each view, (B, V, K), V >= 2; no gradient.
        logits: cosine similarities in [-1, 1], (B, V, K).
        temperature: softmax temperature of the predictions, > 0, unitless.

    Returns:
        A scalar in nats, the mean over images and ordered pairs of different views.

    Raises:
        ValueError: if there is one view only.
    """
    num_views = logits.shape[1]
    if num_views < 2:
        raise ValueError(
            f"logits have shape {tuple(logits.shape)}, (B, V, K): one view cannot teach another; "
            "wanted V >= 2, set num_views to 2 or more"
        )
    student = (logits / temperature).log_softmax(-1)
    # Rolling the views by 1 .. V - 1 meets every ordered pair of different views once.
    pairs = [-(targets.roll(v, dims=1) * student).sum(-1).mean() for v in range(1, num_views)]
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


def old_logit_distillation(
    logits: Tensor, teacher_logits: Tensor, temperature: float = 0.2
) -> Tensor:
    """Divergence of the prediction among old classes from that of the previous stage's model.

    Args:
        logits: cosine similarities in [-1, 1], (..., K); the first columns are the old classes.
        teacher_logits: those of the same views by the previous model, (..., K_old), K_old <= K; no
            gradient.
        temperature: softmax temperature of both, > 0, unitless; 0.2 is twice that of predictions,
            as the source has 2 where predictions have 1.

    Returns:
        A scalar in nats, the mean over rows of KL(previous, current), >= 0, zero where the old
        cosines did not change. Its gradient is that of the source's cross-entropy.

    Raises:
        ValueError: if the previous model has no class, or more than the current one.

    Source: Li and Hoiem, Learning without Forgetting, ECCV 2016, arXiv 1606.09282.
    """
    num_old = teacher_logits.shape[-1]
    if not 1 <= num_old <= logits.shape[-1]:
        raise ValueError(
            f"the previous model has {num_old} classes and the current one {logits.shape[-1]}; "
            "wanted at least one, and no fewer afterwards"
        )
    previous = (teacher_logits.detach() / temperature).log_softmax(-1)
    current = (logits[..., :num_old] / temperature).log_softmax(-1)
    return (previous.exp() * (previous - current)).sum(-1).mean()


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
