"""From what novelty on a sample is rejected: a threshold found by hiding known classes."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import torch
from torch import Tensor

from cgcd.discovery.hidden_folds import NUM_FOLDS, hidden_folds


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
    folds = []
    for fold in hidden_folds(truth, np.random.default_rng(seed), num_folds):
        known, out = fold.support, fold.held
        places = torch.as_tensor(np.searchsorted(fold.visible, truth[known]), device=labels.device)
        rows = torch.as_tensor(np.concatenate([out, fold.away]), device=features.device)
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
