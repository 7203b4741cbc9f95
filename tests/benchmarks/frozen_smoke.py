"""Closed-form heads on raw digits: five proposals times four heads, the table of their reference.

Scikit-learn's digits, 64 pixels / 16, no network: base classes 0-5 with 80 labeled images each,
then 6 and 7, then 8 and 9: 60 images a new class and 8 a class met before. Test: 50 a class, one
Hungarian matching; numbers are means over both stages and 8 draws of the samples. No relabeling but
in the row that says so. Every head rejects by class Gaussians, by which the ridge head also
proposes and relabels; its penalty is the 10 of raw pixels and random weights of variance 1.

    python tests/benchmarks/frozen_smoke.py
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import product
from typing import Any

import numpy as np
import torch
from sklearn.datasets import load_digits
from torch import Tensor

from cgcd.discovery import calibrated_threshold, propose, relabel
from cgcd.metrics import joint_accuracy
from cgcd.models import GaussianHead, NearestMean, RidgeHead

ROWS = (
    ("pinned", 0),
    ("cluster_all", 0),
    ("cluster_all", 1),
    ("reject", 0),
    ("farthest", 0),
)
HEADS = ("NMC euclid", "tied", "per class", "ridge")
REFERENCE = {  # All, Old, New in percent, published with the method specification
    ("pinned", 0): ((92.3, 93.2, 88.5), (95.4, 97.5, 86.9), (98.1, 99.1, 94.1), (97.4, 98.9, 91.4)),
    ("cluster_all", 0): (
        *((91.6, 92.2, 88.4), (95.4, 96.8, 89.6), (97.3, 98.5, 92.7), (94.1, 95.0, 89.9)),
    ),
    ("cluster_all", 1): (
        *((92.1, 93.0, 88.1), (95.3, 97.5, 86.8), (97.8, 99.1, 92.7), (97.2, 98.8, 91.0)),
    ),
    ("reject", 0): ((92.2, 93.0, 88.4), (95.2, 97.4, 86.5), (97.7, 99.0, 92.4), (97.0, 98.8, 89.9)),
    ("farthest", 0): (
        *((83.6, 91.1, 55.9), (85.5, 95.1, 50.8), (89.6, 97.1, 61.8), (87.6, 96.7, 53.8)),
    ),
}
NOVEL = ((6, 7), (8, 9))


def heads(name: str) -> tuple[Any, Any]:
    """The head that answers and the one that proposes."""
    gaussian = GaussianHead(64, blend=10.0)
    if name == "ridge":
        return RidgeHead(64, num_features=600, penalty=0.0036), gaussian
    made = {
        "NMC euclid": NearestMean(64, "euclid"),
        "tied": GaussianHead(64, covariance="tied"),
        "per class": gaussian,
    }[name]
    return made, made


def stages(seed: int) -> Iterator[tuple[Tensor, Tensor, Tensor, Tensor]]:
    """Training and test features and labels of the base stage and of the two after it."""
    images, labels = load_digits(return_X_y=True)
    generator = np.random.default_rng(seed)
    pools = [generator.permutation(np.flatnonzero(labels == c)) for c in range(10)]
    tests, pools = [pool[:50] for pool in pools], [pool[50:] for pool in pools]

    def taken(counts: dict[int, int]) -> np.ndarray:
        parts = []
        for c, count in counts.items():
            parts.append(pools[c][:count])
            pools[c] = pools[c][count:]
        return np.concatenate(parts)

    met = 6
    plans: list[dict[int, int]] = [{c: 80 for c in range(6)}]
    for novel in NOVEL:
        plans.append({**{c: 8 for c in range(met)}, **{c: 60 for c in novel}})
        met += len(novel)
    features, truth = torch.as_tensor(images / 16), torch.as_tensor(labels)
    for plan in plans:
        rows, test = taken(plan), np.concatenate([tests[c] for c in plan])
        yield features[rows], truth[rows], features[test], truth[test]


def measured(proposal: str, rounds: int, name: str, seed: int) -> np.ndarray:
    """All, Old and New as fractions, the mean over both stages."""
    answering, proposing = heads(name)
    both = {id(head): head for head in (answering, proposing)}.values()
    detector = GaussianHead(64, blend=10.0)
    threshold, scores = float("inf"), []
    for index, (rows, labels, test, truth) in enumerate(stages(seed)):
        if index == 0:
            if proposal == "reject":

                def novelty(support: Tensor, classes: Tensor, others: Tensor) -> Tensor:
                    trial = GaussianHead(64, blend=10.0)
                    trial.remember(support, classes)
                    return -trial(others).amax(1)

                threshold = calibrated_threshold(rows, labels, novelty)
            for head in (*both, detector):
                head.remember(rows, labels)
            continue
        known, total = answering.num_classes, answering.num_classes + 2
        known_scores = proposing(rows)
        first = propose(
            proposing.points(rows),
            proposing.centers,
            2,
            proposal,
            rejected=-detector(rows).amax(1) > threshold,
        )

        def new_scores(given: Tensor, features: Tensor = rows, classes: int = total) -> Tensor:
            return proposing.provisional_scores(features, given, classes)

        found = relabel(first.labels, known_scores, new_scores, 2, rounds)
        for head in (*both, detector):
            head.append(rows, found.labels, total)
        accuracy = joint_accuracy(
            answering(test).argmax(1).numpy(), truth.numpy(), num_base=6, num_known=known
        )
        scores.append([accuracy[group] for group in ("all", "known", "novel")])
    return np.mean(scores, axis=0)


def table(seeds: int = 8) -> dict[tuple[str, int, str], np.ndarray]:
    """All, Old and New in percent of every proposal and head, (3,) each."""
    return {
        (*row, name): 100 * np.mean([measured(*row, name, seed) for seed in range(seeds)], axis=0)
        for row, name in product(ROWS, HEADS)
    }


if __name__ == "__main__":
    found = table()
    print("| All / Old / New (less reference) | " + " | ".join(HEADS) + " |")
    print("| --- |" + " --- |" * len(HEADS))
    for row in ROWS:
        cells = []
        for place, name in enumerate(HEADS):
            ours, theirs = found[*row, name], np.array(REFERENCE[row][place])
            numbers = " / ".join(f"{value:.1f}" for value in ours)
            cells.append(f"{numbers} ({ours[0] - theirs[0]:+.1f})")
        print(f"| {row[0]}, {row[1]} rounds | " + " | ".join(cells) + " |")
