"""Counting by pruning: start with too many new centers, drop those that are of no use."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from cgcd.discovery.count_clusters import squared_distances
from cgcd.discovery.count_problem import CountProblem, Evidence, evidence
from cgcd.discovery.kmeans import kmeans
from cgcd.discovery.lloyd import lloyd

LLOYD_STEPS = 3
LEAST_SHARE = 0.25
HALVES_QUANTILE = 0.1


def pruning(problem: CountProblem) -> Evidence:
    """The number of free centers left when each is of use; curves `least_use`, `threshold`.

    `max_novel` free centers are fitted to the stage beside the fixed means of the known classes.
    The use of a center is what each of its samples would lose without it: squared distance to the
    second nearest center less that to the nearest, in the mean. A center in the middle of a class
    of its own is of much use, one of two that share a class of little. The threshold between both
    is read off the known classes: the geometric mean of the median use of a class mean beside the
    other means, and of the use of half a class beside its other half, of which the lowest tenth
    (`HALVES_QUANTILE`): halves of few samples in many dimensions look more apart than they are. As
    long as the least
    useful free center is below it, that one is dropped and the others are fitted again by
    `LLOYD_STEPS` steps. A free center of less than `LEAST_SHARE` of the samples of the median free
    center counts as of no use.

    The curves run over the numbers of free centers that were passed; `least_use` is state, the
    `threshold` is the same everywhere.

    Source: ours; the constants were chosen on digits and Omniglot's background alphabets.
    """
    known, points = problem.num_known, problem.features
    threshold = useful(problem)
    high = min(problem.max_novel, len(points))
    centers = problem.pinned_clusters.at(known + high).centers
    least: dict[int, float] = {}
    for k in range(high, 0, -1):
        use, sizes = uses(points, centers)
        use, sizes = use[known:], sizes[known:]
        use = torch.where(sizes < LEAST_SHARE * sizes.float().median(), 0, use)
        least[k] = float(use.min())
        if least[k] >= threshold and least[k] > 0:
            break
        worst = known + int(use.argmin())
        centers = torch.cat([centers[:worst], centers[worst + 1 :]])
        centers = lloyd(points, centers, num_pinned=known, max_iterations=LLOYD_STEPS).centroids
    num_novel = len(centers) - known
    return evidence(num_novel, least_use=least, threshold=dict.fromkeys(least, threshold))


def useful(problem: CountProblem) -> float:
    """The use from which on a center stands for a class; see `pruning`.

    With one known class, which has no other beside it, twice the use of its halves.
    """
    halves = []
    for c in range(problem.num_known):
        members = problem.reference[problem.reference_labels == c]
        if len(members) > 2:
            halves.append(uses(members, kmeans(members, 2, problem.seed, 3).centroids)[0])
    within = float(torch.cat(halves).quantile(HALVES_QUANTILE)) if halves else 0.0
    if problem.num_known == 1:
        return 2 * within
    between = float(uses(problem.reference, problem.class_means)[0].median())
    return float(np.sqrt(within * between))


def uses(points: Tensor, centers: Tensor) -> tuple[Tensor, Tensor]:
    """What a sample of each center would lose without it, and the samples of each, (K,) each.

    A center without samples is of no use; a single center is of endless use.
    """
    if len(centers) == 1:
        return points.new_full((1,), float("inf")), torch.tensor([len(points)])
    two = squared_distances(points, centers).topk(2, dim=1, largest=False)
    labels = two.indices[:, 0]
    sizes = labels.bincount(minlength=len(centers))
    lost = two.values[:, 1] - two.values[:, 0]
    sums = lost.new_zeros(len(centers)).index_add_(0, labels, lost)
    return sums / sizes.clamp_min(1), sizes
