"""Labeled classes dealt into folds, each of which once plays the classes that nobody knows."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

NUM_FOLDS = 5


@dataclass(frozen=True, eq=False)
class HiddenFold:
    """One fold; places are rows of the labeled samples.

    Attributes:
        visible: classes that stay known, ascending, (V,).
        support: places of the half of their samples that a classifier is fitted to, (S,).
        held: places of the other half, (M,).
        away: places of the samples of the hidden classes, (H,).
    """

    visible: np.ndarray
    support: np.ndarray
    held: np.ndarray
    away: np.ndarray


def hidden_folds(
    labels: np.ndarray, generator: np.random.Generator, num_folds: int = NUM_FOLDS
) -> Iterator[HiddenFold]:
    """Hides each class once.

    Args:
        labels: 0 .. K-1, each at least once, K >= 2, (N,).
        generator: deals classes and samples.
        num_folds: >= 2; K where there are fewer classes.

    Raises:
        ValueError: for fewer than two classes or folds.
    """
    num_classes = int(labels.max()) + 1 if len(labels) else 0
    if num_classes < 2 or num_folds < 2:
        raise ValueError(
            f"{num_classes} classes in {num_folds} folds, wanted at least 2 of each: one class "
            "must stay visible while another is hidden"
        )
    for hidden in np.array_split(generator.permutation(num_classes), min(num_folds, num_classes)):
        visible = np.setdiff1d(np.arange(num_classes), hidden)
        support, held = [], []
        for c in visible:
            members = generator.permutation(np.flatnonzero(labels == c))
            half = -(-len(members) // 2)
            support.append(members[:half])
            held.append(members[half:])
        away = np.flatnonzero(np.isin(labels, hidden))
        yield HiddenFold(visible, np.concatenate(support), np.concatenate(held), away)
