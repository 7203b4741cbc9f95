"""Counting by what happens to labeled samples: they are split up or merged when k is wrong."""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F
from scipy.optimize import minimize_scalar
from torch import Tensor

from cgcd.discovery.count_clusters import (
    Partition,
    best_candidate,
    coarse_to_fine,
    nearest,
)
from cgcd.discovery.count_problem import CountProblem, Evidence, evidence, group_means
from cgcd.discovery.kmeans import kmeans
from cgcd.discovery.matching import UNMATCHED, contingency, match

KMEANS_STARTS = 1


def labeled_accuracy(problem: CountProblem) -> Evidence:
    """The k under which plain k-means treats the known classes best; curve `accuracy` in [0, 1].

    Reference and stage are cut together into K + k clusters without a look at the labels; then the
    reference's clusters are matched to its classes. Brent's bounded search looks for the largest
    accuracy; the curve holds the few points it evaluates. Where well separated classes make the
    accuracy flat below the true number, its upper end is meant: from the largest of the best
    points the search walks up until the accuracy falls.

    Source: Vaze et al., Generalized Category Discovery, CVPR 2022, arXiv 2201.02609. The rounding
    of the search to integers, the walk and one start of k-means are ours.
    """
    points = torch.cat([problem.reference, problem.features])
    labels, known = problem.reference_labels, problem.num_known
    low, high = max(0, 2 - known), min(problem.max_novel, len(problem.features))
    scores: dict[int, float] = {}

    def score(k: int) -> float:
        if k not in scores:
            clusters = kmeans(points, known + k, problem.seed, KMEANS_STARTS).labels
            counts = contingency(clusters[: len(labels)], labels, num_classes=known)
            scores[k] = float(match(counts).hits(counts).sum() / len(labels))
        return scores[k]

    if low < high:
        minimize_scalar(
            lambda k: -score(round(k)),
            bounds=(low, high),
            method="bounded",
            options={"xatol": 0.5, "maxiter": 50},
        )
    else:
        score(low)
    best = max(scores, key=lambda k: (scores[k], k))
    while best < high and score(best + 1) >= scores[best]:
        best += 1
    return evidence(best, accuracy=scores)


def prototype_score(problem: CountProblem) -> Evidence:
    """The k that keeps the known classes whole and pure; curves `score`, `accuracy`, `centroid`.

    k centers are fitted to the stage beside the fixed means of the known classes. `accuracy` A(k)
    in [0, 1]: reference samples at their nearest center, clusters matched to classes; it falls
    when a new center takes over part of a known class. `centroid` Z(k) in [-1, 1]: mean cosine of
    each known mean and the mean of the stage's samples at the center matched to it; it falls when
    novel samples must go to known centers. `score` is A(k) + Z(k).

    Source: our reconstruction of the prototype score of Ma et al., ProtoGCD, TPAMI 2025, of which
    only the two parts are published: how they combine is ours, and so is k-means with pinned
    centers in place of one training for every candidate.
    """
    known, labels, means = problem.num_known, problem.reference_labels, problem.class_means
    accuracies: dict[int, float] = {}
    cosines: dict[int, float] = {}

    def score(k: int) -> float:
        partition = problem.pinned_clusters.at(known + k)
        counts = contingency(
            nearest(problem.reference, partition.centers).labels, labels, known + k, known
        )
        matching = match(counts)
        accuracies[k] = float(matching.hits(counts).sum() / len(labels))
        cosines[k] = _mean_cosine(problem.features, partition, means, matching.class_of_row)
        return accuracies[k] + cosines[k]

    high = min(problem.max_novel, len(problem.features))
    scores = coarse_to_fine(score, 0, high, problem.step)
    return evidence(best_candidate(scores), score=scores, accuracy=accuracies, centroid=cosines)


def _mean_cosine(
    points: Tensor, partition: Partition, means: Tensor, class_of_row: np.ndarray
) -> float:
    """Mean cosine of class means and the means of the points at their rows; empty rows left out."""
    classes = torch.as_tensor(class_of_row.copy())
    used = partition.labels.bincount(minlength=len(classes)) > 0
    rows = ((classes != UNMATCHED) & used).nonzero()[:, 0]
    if len(rows) == 0:
        return 0.0
    found = group_means(points, partition.labels, len(classes))[rows]
    return float(F.cosine_similarity(found, means[classes[rows]], dim=1).mean())
