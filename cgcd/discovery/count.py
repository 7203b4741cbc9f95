"""How many classes of a stage are new: one function for every estimator, and the choice of one.

Which estimator is right depends on the features. `choose_estimator` asks the known classes: some
of them are hidden and counted as if they were new.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from cgcd.discovery.count_accuracy import labeled_accuracy, prototype_score
from cgcd.discovery.count_coverage import coverage
from cgcd.discovery.count_problem import CountEstimate, CountProblem, Evidence
from cgcd.discovery.count_pruning import pruning
from cgcd.discovery.count_validity import calinski_harabasz, davies_bouldin, elbow, silhouette

Estimator = Callable[[CountProblem], Evidence]

HIDDEN_CLASSES = "hidden_classes"
_ESTIMATORS: dict[str, Estimator] = {
    "silhouette": silhouette,
    "labeled_accuracy": labeled_accuracy,
    "davies_bouldin": davies_bouldin,
    "calinski_harabasz": calinski_harabasz,
    "elbow": elbow,
    "coverage": coverage,
    "prototype_score": prototype_score,
    "pruning": pruning,
}
ESTIMATORS = (*_ESTIMATORS, HIDDEN_CLASSES)
"""Names of all estimators; `hidden_classes` chooses one of the others and lets it count."""
DEFAULT_ESTIMATOR = "calinski_harabasz"
"""The one with the least mean error on digits and Omniglot's background alphabets, by
tests/benchmarks/class_counts.py; chosen on no other data."""


@dataclass(frozen=True)
class Choice:
    """The estimator that counts hidden known classes best.

    Attributes:
        name: the one with the least mean error, the first of equal ones.
        errors: |estimate - hidden| / hidden of each estimator and fold, (F,) >= 0 by name.
        num_hidden: classes hidden in each fold, (F,) int64.
    """

    name: str
    errors: dict[str, np.ndarray]
    num_hidden: np.ndarray


def estimate_novel(problem: CountProblem, estimator: str = DEFAULT_ESTIMATOR) -> CountEstimate:
    """Counts the novel classes of a stage.

    Args:
        problem: the stage and the reference of its known classes.
        estimator: one of `ESTIMATORS`. With `hidden_classes` the estimate carries the name of the
            estimator that was chosen and its own evidence; where the choice is wanted for several
            stages, call `choose_estimator` once.

    Raises:
        ValueError: for another name, or a stage too small to cluster.

    Source: each estimator's own docstring.
    """
    if estimator not in ESTIMATORS:
        raise ValueError(f"estimator {estimator!r} is unknown; choose {', '.join(ESTIMATORS)}")
    started = time.perf_counter()
    if estimator == HIDDEN_CLASSES:
        estimator = choose_estimator(
            problem.reference, problem.reference_labels, seed=problem.seed
        ).name
    found = _ESTIMATORS[estimator](problem)
    seconds = time.perf_counter() - started
    return CountEstimate(found.num_novel, found.candidates, found.scores, estimator, seconds)


def choose_estimator(
    reference: Tensor,
    labels: Tensor,
    names: Sequence[str] = tuple(_ESTIMATORS),
    seed: int = 0,
    num_folds: int = 5,
    max_novel: int | None = None,
    normalize: bool = True,
) -> Choice:
    """Lets every estimator count hidden known classes and keeps the best.

    The classes are dealt into folds. For each fold its classes are hidden; of the others one half
    of the samples is the reference, and the rest and all hidden samples are the stage. Every fold
    hides K / num_folds classes, and features trained on all labels make it easier than a real
    stage, so the errors are no forecast; only their order is used.

    Args:
        reference: labeled features, (M, D).
        labels: (M,), each of 0 .. K-1 at least once, K >= 2.
        names: estimators to compare, any of `ESTIMATORS` but `hidden_classes`.
        seed: deals classes and samples, and is the estimators' seed.
        num_folds: >= 2; K where there are fewer classes.
        max_novel: most classes to consider in each fold; None is K.
        normalize: scale all rows to length 1 first.

    Raises:
        ValueError: for an unknown name, or fewer than two classes or folds.

    Source: ours; calibration on known classes that play novel ones.
    """
    unknown = [name for name in names if name not in _ESTIMATORS]
    if unknown or not names:
        raise ValueError(
            f"estimators {list(names)} to compare, wanted one or more of {', '.join(_ESTIMATORS)}"
        )
    features = torch.as_tensor(reference).detach()
    labels = torch.as_tensor(labels).detach().cpu()
    num_classes = int(labels.max()) + 1 if len(labels) else 0
    if num_classes < 2 or num_folds < 2:
        raise ValueError(
            f"{num_classes} classes in {num_folds} folds, wanted at least 2 of each: "
            "one class must stay visible while another is hidden"
        )
    generator = np.random.default_rng(seed)
    folds = np.array_split(generator.permutation(num_classes), min(num_folds, num_classes))
    errors: dict[str, list[float]] = {name: [] for name in names}
    for hidden in folds:
        problem = _with_hidden(
            features, labels, hidden, max_novel or num_classes, seed, normalize, generator
        )
        for name in names:
            count = _ESTIMATORS[name](problem).num_novel
            errors[name].append(abs(count - len(hidden)) / len(hidden))
    best = min(names, key=lambda name: float(np.mean(errors[name])))
    return Choice(
        best,
        {name: np.array(values) for name, values in errors.items()},
        np.array([len(hidden) for hidden in folds]),
    )


def _with_hidden(
    features: Tensor,
    labels: Tensor,
    hidden: np.ndarray,
    max_novel: int,
    seed: int,
    normalize: bool,
    generator: np.random.Generator,
) -> CountProblem:
    """The problem in which the hidden classes play novel ones and half of the rest is known."""
    visible = np.setdiff1d(np.arange(int(labels.max()) + 1), hidden)
    support = []
    for c in visible:
        members = generator.permutation(np.flatnonzero(labels.numpy() == c))
        support.append(members[: -(-len(members) // 2)])
    known = np.concatenate(support)
    stage = np.setdiff1d(np.arange(len(labels)), known)
    names = torch.as_tensor(np.searchsorted(visible, labels.numpy()[known]))
    return CountProblem(features[stage], features[known], names, max_novel, seed, normalize)
