"""A second look at proposed new classes: what a classifier of all classes gives back to old ones.

Clusters take whatever lies in them. Scored beside the known classes, samples of those go back, and
the new classes are fitted again to what they keep.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

MAX_ROUNDS = 5
SETTLED = 1e-3
"""Share of changed labels below which a further round is not begun."""


@dataclass(frozen=True)
class Relabeling:
    """What every sample is after the second look.

    Attributes:
        labels: (N,) int64 in [0, K + M); every new class has a sample.
        changed: share of labels that each round changed, one number a round, in [0, 1].
        margins: best score less the second best of the last round, (N,) >= 0.
    """

    labels: Tensor
    changed: list[float]
    margins: Tensor


@torch.no_grad()
def relabel(
    proposed: Tensor,
    known_scores: Tensor,
    score_new: Callable[[Tensor], Tensor],
    num_new: int,
    rounds: int = 1,
) -> Relabeling:
    """Gives every sample to its best class, known or provisionally new, and fits anew.

    Known classes are only read. A new class that keeps fewer than two samples starts again from the
    sample whose best score is the worst, for dropping its index would shift all that follow.

    Args:
        proposed: first labels, (N,); from K on new ones, of which each has a sample.
        known_scores: of the known classes, (N, K), larger is likelier.
        score_new: from labels (N,) to scores under new classes fitted to their samples, (N, M), on
            the scale of `known_scores`.
        num_new: M, in [0, N].
        rounds: at most, in [0, `MAX_ROUNDS`]; 0 keeps the proposal. It ends once fewer than
            `SETTLED` of the labels change.

    Raises:
        ValueError: for rounds out of range, or more new classes than samples.

    Source: VB-CGCD, ICML 2025, arXiv 2507.17382, algorithm 1; its code only leaves samples out and
    keeps the clusters' own labels for the rest.
    """
    num_samples, known = known_scores.shape
    if not 0 <= rounds <= MAX_ROUNDS:
        raise ValueError(f"rounds is {rounds}; wanted 0 to {MAX_ROUNDS}")
    if not 0 <= num_new <= num_samples:
        raise ValueError(f"{num_new} new classes among {num_samples} samples; ask for 0 to all")
    labels, changed = proposed.clone(), []
    margins = known_scores.new_zeros(num_samples)
    if not num_new:
        return Relabeling(known_scores.argmax(1) if rounds else labels, changed, margins)
    for _ in range(rounds):
        scores = torch.cat([known_scores, score_new(labels)], dim=1)
        best = scores.topk(2, dim=1)
        margins = best.values[:, 0] - best.values[:, 1]
        fresh = _refilled(scores, known)
        changed.append(float((fresh != labels).double().mean()))
        labels = fresh
        if changed[-1] < SETTLED:
            break
    return Relabeling(labels, changed, margins)


def _refilled(scores: Tensor, known: int) -> Tensor:
    """The best class of each sample, once every new class has a sample, (N,)."""
    best, labels = scores.max(1)
    counts = labels.bincount(minlength=scores.shape[1])
    for c in range(known, scores.shape[1]):
        if counts[c] > 1:
            continue
        own = (labels == c).nonzero()[:, 0]
        # no class loses its last sample: of this one it is about to be replaced
        can_go = (labels < known) | (counts[labels] > 1) | (labels == c)
        worst = int(torch.where(can_go, best, torch.inf).argmin())
        elsewhere = scores[own].clone()
        elsewhere[:, c] = -torch.inf
        labels[own] = elsewhere.argmax(1)
        labels[worst] = c
        best[worst] = torch.inf  # taken
        counts = labels.bincount(minlength=scores.shape[1])
    return labels
