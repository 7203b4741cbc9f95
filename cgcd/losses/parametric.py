"""The objective of parametric category discovery: one head for labeled and novel classes."""

from __future__ import annotations

from torch import Tensor

from cgcd.losses.classification import cosine_cross_entropy
from cgcd.losses.contrastive import info_nce, supervised_contrastive
from cgcd.losses.distillation import self_distillation
from cgcd.losses.entropy import mean_entropy
from cgcd.vocabulary import GCDOutput


def parametric_discovery(
    out: GCDOutput, labels: Tensor, teacher_temperature: float, student_temperature: float = 0.1
) -> dict[str, Tensor]:
    """The five terms of SimGCD, which are those of Happy's base stage too.

    Args:
        out: features, projections (B, V, P) and cosine logits (B, V, K) of a batch, V >= 2.
        labels: visible labels, (B,); rows of `UNLABELED` are left out of two terms.
        teacher_temperature: of the targets of self-distillation, > 0, unitless.
        student_temperature: of every other softmax over logits, > 0, unitless.

    Returns:
        Scalars by name, in nats: `self_distillation`, `mean_entropy`, `cross_entropy`,
        `contrastive`, `supervised_contrastive`.

    Source: Wen et al., SimGCD, ICCV 2023, arXiv 2211.11727; Ma et al., Happy, NeurIPS 2024, arXiv
    2410.06535, base stage.
    """
    return {
        "self_distillation": self_distillation(
            out.logits, teacher_temperature, student_temperature
        ),
        "mean_entropy": mean_entropy(out.logits, student_temperature),
        "cross_entropy": cosine_cross_entropy(out.logits, labels, student_temperature),
        "contrastive": info_nce(out.projections),
        "supervised_contrastive": supervised_contrastive(out.projections, labels),
    }
