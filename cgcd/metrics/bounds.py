"""What a model scores that discovers nothing: the ground every other number stands on.

Source: the lower bound reported by Adaptive Gaussian Expansion, ICLR 2026: matching is free to give
the row of a known class to a novel one, so finding nothing still scores.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from cgcd.discovery.matching import integer_ids
from cgcd.metrics.accuracy import joint_accuracy


def closed_set_accuracy(
    base_predictions: Any, targets: Any, num_base: int, num_known: int
) -> dict[str, float]:
    """`joint_accuracy` of predictions that know the base rows only.

    At most `num_base` classes can be matched. They need not be the base classes: a row that more
    samples of a novel class fall into is credited with that one, as it would be in any method.

    Args:
        base_predictions: argmax over the base rows alone, (N,) integers in [0, num_base).
        targets: true classes, (N,) integers >= 0.
        num_base: classes labeled at stage 0, >= 1.
        num_known: classes met before this stage, >= num_base.

    Returns:
        The keys of `joint_accuracy`.
    """
    rows = integer_ids("base_predictions", base_predictions, limit=num_base)
    return joint_accuracy(rows, targets, num_base, num_known)


def perfect_closed_set(targets: Any, num_base: int) -> float:
    """Share of samples of base classes: what a faultless classifier of these alone gets right.

    `closed_set_accuracy` may lie above where novel classes are larger than base classes.
    """
    return float(np.mean(integer_ids("targets", targets) < num_base))
