"""Pseudo-labels that harden as training goes on: first in share, then everywhere.

Source: Ma et al., ProtoGCD, TPAMI 2025, arXiv 2504.03755, dual-level adaptive pseudo-labeling; the
numbers are those of the authors' code.
"""

from __future__ import annotations

import torch
from torch import Tensor

from cgcd.losses.distillation import cross_view_entropy, ramped
from cgcd.vocabulary import InputError

_ROUNDING = 1e-9  # a share of 1/99 of 99 images is one image, however the quotient was rounded


def hard_ratio(
    epoch: int,
    start: float = 0.0,
    end: float = 1.0,
    ramp_epochs: int = 100,
    wait_epochs: int = 0,
) -> float:
    """Share of the images whose pseudo-label is hard at `epoch`, in [0, 1].

    Args:
        epoch: counted from 0.
        start, end: share before and after the ramp, in [0, 1].
        ramp_epochs: epochs from `start` to `end`, both ends included, >= 0; may exceed the run,
            which then never reaches `end`.
        wait_epochs: epochs before the ramp, without any hard label, >= 0.

    Raises:
        InputError: if a share lies outside [0, 1] or a number of epochs is negative.

    >>> [round(hard_ratio(epoch), 6) for epoch in (0, 1, 50, 98, 99, 199)]
    [0.0, 0.010101, 0.505051, 0.989899, 1.0, 1.0]

    Source: the authors' code of ProtoGCD; 0 to 1 over 100 of 200 epochs is published.
    """
    if not (0 <= start <= 1 and 0 <= end <= 1):
        raise InputError(f"the share of hard labels is to go from {start} to {end}; wanted [0, 1]")
    if ramp_epochs < 0 or wait_epochs < 0:
        raise InputError(
            f"ramp_epochs is {ramp_epochs} and wait_epochs {wait_epochs}; wanted 0 or more"
        )
    return 0.0 if epoch < wait_epochs else ramped(epoch - wait_epochs, start, end, ramp_epochs)


def adaptive_pseudo_labels(
    logits: Tensor,
    hard_ratio: float,
    teacher_temperature: float = 0.05,
    student_temperature: float = 0.1,
    teacher_logits: Tensor | None = None,
) -> Tensor:
    """Cross-entropy of each view's prediction against another view's pseudo-label, hard or soft.

    Level one: confident images get a hard label, the others the sharpened prediction. Level two:
    the share of hard labels, which `hard_ratio` raises from epoch to epoch.

    Args:
        logits: cosine similarities in [-1, 1], (B, V, K), V >= 2; labeled images take part too.
        hard_ratio: share of the B images of each view with a hard label, in [0, 1], rounded down.
        teacher_temperature: softmax temperature of the soft labels, > 0, unitless.
        student_temperature: softmax temperature of the predictions, > 0, unitless.
        teacher_logits: where the labels come from, (B, V, K); by default `logits`. No gradient
            flows through them.

    Returns:
        A scalar in nats, the mean over images and ordered pairs of different views.

    Raises:
        ValueError: if there is one view only, or `hard_ratio` lies outside [0, 1].

    Source: arXiv 2504.03755. Confidence is the gap of the two largest cosines; the authors' code
    divides the two largest probabilities, which ranks alike but saturates in float32.
    """
    source = logits if teacher_logits is None else teacher_logits
    targets = adaptive_targets(source, hard_ratio, teacher_temperature)
    return cross_view_entropy(targets, logits, student_temperature)


@torch.no_grad()
def adaptive_targets(logits: Tensor, hard_ratio: float, temperature: float = 0.05) -> Tensor:
    """Distributions (B, V, K): one-hot for the most confident images of each view, soft for others.

    Args:
        logits: cosine similarities in [-1, 1], (B, V, K).
        hard_ratio: share of the B images of each view with a hard label, in [0, 1], rounded down.
        temperature: softmax temperature of the soft labels, > 0, unitless.

    Raises:
        ValueError: if `hard_ratio` lies outside [0, 1].
    """
    if not 0 <= hard_ratio <= 1:
        raise ValueError(f"the share of hard labels is {hard_ratio}; wanted a number in [0, 1]")
    num_images, _, num_classes = logits.shape
    soft = (logits / temperature).softmax(-1)
    hard = torch.zeros_like(soft).scatter_(-1, logits.argmax(-1, keepdim=True), 1.0)
    largest = logits.topk(min(2, num_classes), dim=-1).values
    confidence = largest[..., 0] - largest[..., -1]  # (B, V)
    rank = confidence.argsort(dim=0, descending=True, stable=True).argsort(dim=0)
    num_hard = int(num_images * hard_ratio + _ROUNDING)
    return torch.where((rank < num_hard).unsqueeze(-1), hard, soft)
