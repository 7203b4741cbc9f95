"""Cross-entropy of cosine logits on the labeled part of a batch."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor

from cgcd.vocabulary import UNLABELED


def cosine_cross_entropy(logits: Tensor, labels: Tensor, temperature: float = 0.1) -> Tensor:
    """Mean cross-entropy over all views of the labeled rows.

    Args:
        logits: cosine similarities in [-1, 1], (B, V, K) or (B, K).
        labels: classes in [0, K), (B,); rows of `UNLABELED` are left out.
        temperature: softmax temperature, > 0, unitless.

    Returns:
        A scalar in nats; zero, and still of the graph, when no row is labeled.

    Raises:
        ValueError: if `labels` is not one label for each image.

    Source: Wen et al., SimGCD, ICCV 2023, arXiv 2211.11727.
    """
    if labels.shape != logits.shape[:1]:
        raise ValueError(
            f"labels have shape {tuple(labels.shape)}, wanted ({len(logits)},): one label for each "
            "image, shared by its views"
        )
    labels = labels.repeat_interleave(logits.shape[1:-1].numel())
    rows = logits.reshape(-1, logits.shape[-1]) / temperature
    total = F.cross_entropy(rows, labels, ignore_index=UNLABELED, reduction="sum")
    return total / (labels != UNLABELED).sum().clamp_min(1)
