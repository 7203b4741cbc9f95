"""Counting by coverage: new centers until the stage is as close to centers as known samples are."""

from __future__ import annotations

import math

import numpy as np
import torch
from torch import Tensor

from cgcd.discovery.count_clusters import nearest
from cgcd.discovery.count_problem import CountProblem, Evidence, evidence, group_means

UNCOVERED = 0.3
SLACK = 2.0


def coverage(problem: CountProblem, uncovered: float = UNCOVERED, slack: float = SLACK) -> Evidence:
    """The least k whose centers leave no more of the stage uncovered than of the known classes.

    A radius is chosen such that a share of `uncovered` of known samples lies farther than it from
    every class mean, means and samples taken from different halves of the reference. Then k
    centers are fitted to the stage beside the fixed known means until the share of the stage that
    lies farther from every center is no longer larger by more than chance. Curve `uncovered`
    (state, in [0, 1]) up to that k; `max_novel` where none is enough. Where `max_novel` is large,
    k first grows in steps and then one by one from the last step that was not enough.

    Args:
        problem: the stage and the reference.
        uncovered: share q of known samples outside of the radius, in (0, 1).
        slack: what chance may add to q, in standard errors sqrt(q (1 - q) (1 / N + 1 / M)), >= 0.

    Source: ours. Without slack the count runs far above the truth whenever the draw of the
    samples is unlucky: mean relative error .73 instead of .29 over 20 draws of digits, .15 instead
    of .23 over 12 of Omniglot's background alphabets.
    """
    if not 0 < uncovered < 1:
        raise ValueError(f"uncovered is {uncovered}, wanted a share between 0 and 1")
    radius = held_out_radius(problem.reference, problem.reference_labels, uncovered, problem.seed)
    allowed = uncovered + slack * math.sqrt(
        uncovered * (1 - uncovered) * (1 / len(problem.features) + 1 / len(problem.reference))
    )
    high = min(problem.max_novel, len(problem.features))
    shares: dict[int, float] = {}

    def is_covered(k: int) -> bool:
        shares[k] = float(
            (problem.pinned_clusters.at(problem.num_known + k).distances > radius**2).float().mean()
        )
        return shares[k] <= allowed

    step = problem.step
    coarse = next((k for k in [*range(0, high, step), high] if is_covered(k)), high)
    fine = range(max(0, coarse - step + 1), coarse)
    return evidence(next((k for k in fine if is_covered(k)), coarse), uncovered=shares)


def held_out_radius(reference: Tensor, labels: Tensor, share: float, seed: int) -> float:
    """Distance to the nearest class mean that `share` of samples held out of the means exceed.

    Each class is cut in halves; means of one half meet the samples of the other. A class of one
    sample is in both.
    """
    num_classes = int(labels.max()) + 1
    half = torch.as_tensor(_halves(labels.numpy(), seed))
    alone = labels.bincount()[labels] == 1
    distances = []
    for fold in (0, 1):
        inside = (half == fold) | alone
        means = group_means(reference[inside], labels[inside], num_classes)
        distances.append(nearest(reference[half != fold], means).distances.sqrt())
    return float(np.quantile(torch.cat(distances).double().numpy(), 1 - share))


def _halves(labels: np.ndarray, seed: int) -> np.ndarray:
    """0 or 1 for each sample, half of each class, (N,)."""
    generator = np.random.default_rng(seed)
    half = np.zeros(len(labels), dtype=np.int64)
    for c in range(labels.max() + 1):
        members = generator.permutation(np.flatnonzero(labels == c))
        half[members[len(members) // 2 :]] = 1
    return half
