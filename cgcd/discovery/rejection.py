"""From what novelty on a sample is rejected: a threshold found by hiding known classes."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import torch
from torch import Tensor

NUM_FOLDS = 5


@torch.no_grad()
def calibrated_threshold(
    features: Tensor,
    labels: Tensor,
    novelty: Callable[[Tensor, Tensor, Tensor], Tensor],
    seed: int = 0,
    num_folds: int = NUM_FOLDS,
) -> float:
    """The novelty that tells held-out samples of visible classes best from those of hidden ones.

    The labeled classes are dealt into folds. For each fold its classes are hidden; one half of the
    others' samples is the support that a classifier is fitted to, the other half is held out. One
    threshold serves all folds. Features tuned on all labels have seen the hidden ones too, so the
    threshold is an optimist's.

    Args:
        features: labeled, (N, D).
        labels: 0 .. K-1, each at least once, K >= 2, (N,).
        novelty: from support features, their labels 0 .. V-1, and features (M, D) to scores (M,),
            larger for what looks new.
        seed: deals classes and samples.
        num_folds: >= 2; K where there are fewer classes.

    Raises:
        ValueError: for fewer than two classes or folds.

    Source: ours.
    """
    truth = labels.cpu().numpy()
    num_classes = int(truth.max()) + 1 if len(truth) else 0
    if num_classes < 2 or num_folds < 2:
        raise ValueError(
            f"{num_classes} classes in {num_folds} folds, wanted at least 2 of each: one class "
            "must stay visible while another is hidden"
        )
    generator = np.random.default_rng(seed)
    deal = np.array_split(generator.permutation(num_classes), min(num_folds, num_classes))
    folds = []
    for hidden in deal:
        visible = np.setdiff1d(np.arange(num_classes), hidden)
        support, held = [], []
        for c in visible:
            members = generator.permutation(np.flatnonzero(truth == c))
            half = -(-len(members) // 2)
            support.append(members[:half])
            held.append(members[half:])
        known, out = np.concatenate(support), np.concatenate(held)
        away = np.flatnonzero(np.isin(truth, hidden))
        places = torch.as_tensor(np.searchsorted(visible, truth[known]), device=labels.device)
        rows = torch.as_tensor(np.concatenate([out, away]), device=features.device)
        scores = novelty(features[torch.as_tensor(known)], places, features[rows]).cpu().numpy()
        folds.append((scores[: len(out)], scores[len(out) :]))
    return best_threshold(folds)


def best_threshold(folds: Sequence[tuple[np.ndarray, np.ndarray]]) -> float:
    """The threshold of the largest mean balanced accuracy, the middle one of several.

    Samples above it are called new. Candidates lie halfway between neighboring scores.

    Args:
        folds: of each the novelty of samples that are not new, (N,), and of those that are, (M,).
    """
    values = np.unique(np.concatenate([np.concatenate(pair) for pair in folds]).astype(np.float64))
    candidates = (values[1:] + values[:-1]) / 2 if len(values) > 1 else values
    accuracy = np.mean([balanced_accuracy(*pair, candidates) for pair in folds], axis=0)
    best = np.flatnonzero(accuracy >= accuracy.max() - 1e-12)
    return float(candidates[best[(len(best) - 1) // 2]])


def balanced_accuracy(known: np.ndarray, hidden: np.ndarray, thresholds: np.ndarray) -> np.ndarray:
    """Mean of the share of `known` scores up to each threshold and of `hidden` ones above it."""
    below = np.searchsorted(np.sort(known), thresholds, side="right") / max(len(known), 1)
    above = 1 - np.searchsorted(np.sort(hidden), thresholds, side="right") / max(len(hidden), 1)
    return (below + above) / 2
