"""Geometry of class prototypes."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor


def prototype_separation(directions: Tensor, temperature: float = 0.1) -> Tensor:
    """How close the prototypes lie to one another, smooth and dominated by the closest pairs.

    The log of the mean similarity exp(cos / temperature) to the other prototypes, averaged over
    prototypes: 0 where all are orthogonal, least where they form a simplex.

    Args:
        directions: one row a class, known or novel, (K, D), of any length > 0; normalized inside.
        temperature: > 0, unitless; smaller values look at the closest pairs alone.

    Returns:
        A scalar in nats, at temperature 0.1 in [-10 / (K - 1), 10]; zero, and still of the graph,
        for a single prototype. In float32 or better.

    Source: Ma et al., ProtoGCD, TPAMI 2025, arXiv 2504.03755. The authors' code drops what is not a
    number; here nothing can be.
    """
    num_classes = len(directions)
    if num_classes < 2:
        return directions.sum() * 0.0
    dtype = torch.promote_types(directions.dtype, torch.float32)
    unit = F.normalize(directions.to(dtype), dim=-1)
    itself = torch.eye(num_classes, dtype=torch.bool, device=directions.device)
    similarities = (unit @ unit.T / temperature).masked_fill(itself, -torch.inf)
    return similarities.logsumexp(-1).mean() - math.log(num_classes - 1)
