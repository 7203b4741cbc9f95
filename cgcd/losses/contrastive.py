"""Contrastive losses on projections: self-supervised (InfoNCE) and supervised (SupCon).

Source: van den Oord et al., arXiv 1807.03748; Khosla et al., Supervised Contrastive Learning,
NeurIPS 2020, arXiv 2004.11362.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from cgcd.vocabulary import UNLABELED


def info_nce(projections: Tensor, temperature: float = 1.0) -> Tensor:
    """Mean cross-entropy of finding the other views of an image among all other rows of the batch.

    Args:
        projections: not normalized, (B, V, P), V >= 2; normalized inside.
        temperature: softmax temperature of the cosine similarities, > 0, unitless.

    Returns:
        A scalar in nats. With V > 2 every other view is a positive in turn and their
        log-probabilities are averaged.

    Raises:
        ValueError: if there is one view only, for then there is nothing to find.

    Source: SimGCD, arXiv 2211.11727. The temperature 1.0 is that of the authors' code; the paper
    swaps it with that of the supervised loss.
    """
    if projections.shape[1] < 2:
        raise ValueError(
            f"info_nce was given projections of shape {tuple(projections.shape)}, (B, V, P): "
            "it needs V >= 2 views of each image; set num_views to 2 or more"
        )
    return supervised_contrastive(projections, None, temperature, base_temperature=temperature)


def supervised_contrastive(
    projections: Tensor,
    labels: Tensor | None,
    temperature: float = 0.07,
    base_temperature: float = 0.07,
    normalize: bool = True,
) -> Tensor:
    """Pulls all views of one class together, against all other labeled rows of the batch.

    Args:
        projections: (B, V, P).
        labels: classes, (B,); rows of `UNLABELED` are neither anchors nor contrasts. None makes
            every image a class of its own.
        temperature: softmax temperature of the similarities, > 0, unitless.
        base_temperature: the result is multiplied by temperature / base_temperature.
        normalize: whether to L2-normalize the projections first.

    Returns:
        A scalar in nats, the mean over anchors that have a positive. Without any such anchor it is
        zero and still belongs to the graph.

    Raises:
        ValueError: if `labels` is not one label for each image.

    Source: arXiv 2004.11362, the form with the sum over positives outside the logarithm; SimGCD,
    arXiv 2211.11727, for the restriction to labeled rows.
    """
    num_images, num_views = projections.shape[:2]
    if labels is None:
        labels = torch.arange(num_images, device=projections.device)
    if labels.shape != (num_images,):
        raise ValueError(
            f"labels have shape {tuple(labels.shape)}, wanted ({num_images},): one label for each "
            "image, shared by its views"
        )
    rows = projections.flatten(0, 1)  # (B * V, P)
    if normalize:
        rows = F.normalize(rows, dim=-1)
    labels = labels.repeat_interleave(num_views)

    contrast = (labels != UNLABELED) & ~torch.eye(len(rows), dtype=torch.bool, device=rows.device)
    positive = contrast & (labels[:, None] == labels)
    similarities = rows @ rows.T / temperature
    # The lowest finite number and not -inf: a row without any contrast then makes no NaN, not even
    # one that is masked later, which anomaly detection would report.
    similarities = similarities.masked_fill(~contrast, torch.finfo(similarities.dtype).min)
    log_probabilities = similarities.log_softmax(-1)

    num_positives = positive.sum(-1)
    anchors = torch.where(positive, log_probabilities, 0).sum(-1) / num_positives.clamp_min(1)
    mean = anchors.sum() / (num_positives > 0).sum().clamp_min(1)
    return -mean * (temperature / base_temperature)
