"""What a run forgets and what it discovers over its stages, from accuracies stage by stage.

Accuracies are fractions in [0, 1]; every function is linear in its input up to a choice, so
percents work alike.

Sources: Ma et al., Happy, NeurIPS 2024, arXiv 2410.06535, appendix D, for `forgetting` (M_f) and
`discovery` (M_d); Zhang et al., Grow and Merge, NeurIPS 2022, for the `_gm` ones, in the words of
Happy's appendix.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np


def forgetting(base_accuracies: Sequence[float]) -> float:
    """M_f: the largest fall of the accuracy on base classes below that of stage 0.

    Args:
        base_accuracies: accuracy on the base classes after each stage, stage 0 first, (T + 1,).

    Returns:
        In [-1, 1]; negative if the accuracy lies above that of stage 0 at every later stage, 0 when
        there is no later stage.
    """
    first, *later = _finite("base_accuracies", base_accuracies)
    return first - min(later, default=first)


def discovery(novel_accuracies: Sequence[float]) -> float:
    """M_d: the mean accuracy on the classes novel at each stage.

    Args:
        novel_accuracies: accuracy on the stage's novel classes, stage 1 first, (T,), T >= 1.
    """
    accuracies = _finite("novel_accuracies", novel_accuracies)
    return sum(accuracies) / len(accuracies)


def forgetting_gm(known_accuracies: Sequence[float]) -> float:
    """Grow-and-Merge's M_f: as `forgetting`, but the set of old classes grows with the stages.

    Args:
        known_accuracies: accuracy on the base classes after stage 0, then on the classes known
            before each stage (base and earlier), (T + 1,).
    """
    first, *later = _finite("known_accuracies", known_accuracies)
    return first - min(later, default=first)


def discovery_gm(novel_accuracies: Sequence[float]) -> float:
    """Grow-and-Merge's M_d: the accuracy on the novel classes of the last stage alone.

    Args:
        novel_accuracies: accuracy on the stage's novel classes, stage 1 first, (T,), T >= 1.
    """
    return _finite("novel_accuracies", novel_accuracies)[-1]


def group_accuracy_matrix(
    class_accuracies: Sequence[Any],
    class_counts: Sequence[Any],
    num_classes: Sequence[int],
) -> np.ndarray:
    """Accuracy after each stage on the classes first met at each stage, (T + 1, T + 1) float64.

    The first column gives `forgetting`, the diagonal from the second entry on gives `discovery`.

    Args:
        class_accuracies: per stage t the accuracy of each class, (num_classes[t],); nan allowed
            where a class has no sample (`per_class_accuracy`).
        class_counts: per stage t the samples of each class the accuracy is over, of the same
            shape.
        num_classes: classes met up to and with each stage, ascending, (T + 1,); stage t first met
            the classes num_classes[t - 1] to num_classes[t] - 1.

    Returns:
        Row t, column g: the sample-weighted accuracy after stage t on the classes of stage g; nan
        for g > t and for a group without a sample.
    """
    if not len(class_accuracies) == len(class_counts) == len(num_classes) > 0:
        raise ValueError(
            f"{len(class_accuracies)} stages of accuracies, {len(class_counts)} of counts and "
            f"{len(num_classes)} of class numbers given; one each a stage wanted, at least one"
        )
    matrix = np.full((len(num_classes), len(num_classes)), np.nan)
    bounds = [0, *num_classes]
    for t, size in enumerate(num_classes):
        accuracies, counts = np.asarray(class_accuracies[t]), np.asarray(class_counts[t])
        if size < bounds[t] or not accuracies.shape == counts.shape == (size,):
            raise ValueError(
                f"stage {t}: accuracies {accuracies.shape} and counts {counts.shape} for "
                f"{size} classes after {bounds[t]}; wanted one each a class, none less than before"
            )
        hits = np.where(counts > 0, accuracies, 0.0) * counts
        for group in range(t + 1):
            members = slice(bounds[group], bounds[group + 1])
            if counts[members].sum() > 0:
                matrix[t, group] = hits[members].sum() / counts[members].sum()
    return matrix


def _finite(name: str, values: Sequence[float]) -> list[float]:
    numbers = [float(value) for value in values]
    if not numbers or not np.isfinite(numbers).all():
        raise ValueError(f"{name}: {numbers} given, at least one finite accuracy a stage wanted")
    return numbers
