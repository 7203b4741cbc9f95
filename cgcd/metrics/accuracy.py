"""Accuracy where predicted rows have no names: the dialects of the field, from one table of counts.

All accuracies are fractions in [0, 1]. `joint_accuracy` is what the staged papers print (their
Old/New are `known`/`novel` in the "soft" split, `base`/`rest` in the "hard" one); `greedy_accuracy`
and `pruned_accuracy` are dialects of on-line discovery; `held_accuracy` shows what a free matching
can hide.

Everywhere `predictions` and `targets` are (N,) integers >= 0, N >= 1, arrays or tensors; anything
else raises a ValueError. Classes are numbered in the order in which the stages meet them.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from cgcd.discovery.matching import integer_ids, match, paired_ids
from cgcd.metrics.tables import (
    answer_table,
    greedy_scores,
    group_scores,
    held_scores,
    joint_scores,
)


def joint_accuracy(
    predictions: Any,
    targets: Any,
    num_base: int,
    num_known: int,
    num_classes: int | None = None,
    balanced: bool = False,
) -> dict[str, float]:
    """Accuracy under one optimal matching of rows and classes over all samples.

    `all` is the sample-weighted mean of `known` and `novel`, and of `base` and `rest`.

    Args:
        predictions: predicted rows of any numbering.
        targets: true classes.
        num_base: classes labeled at stage 0.
        num_known: classes met before this stage, >= num_base.
        num_classes: an upper bound of the targets that is checked; None checks nothing.
        balanced: average over classes instead of over samples.

    Returns:
        `all`, `known` (targets < num_known), `novel` (the others), `base` (targets < num_base),
        `rest` (the others), `earlier` (known, not base); a group without a sample has no key.

    Source: Zhao and Han / Vaze et al., Generalized Category Discovery, CVPR 2022, and Ma et al.,
    Happy, NeurIPS 2024; called "v2" or "strict" in their descendants. Where several matchings are
    optimal, the groups may depend on the one taken, `all` does not.
    """
    counts = answer_table(predictions, targets, num_classes=num_classes)
    return joint_scores(counts, num_base, num_known, balanced)


def held_accuracy(
    predictions: Any, targets: Any, num_base: int, num_known: int
) -> dict[str, float]:
    """`joint_accuracy`, but a base row counts for its own class only.

    Rows < num_base are the labeled classes themselves; only the other rows are matched, with the
    other classes. A base class that moved to another row counts as lost, which a free matching
    hides.

    Args:
        predictions: predicted rows; row k < num_base is class k.
        targets: true classes.
        num_base: classes labeled at stage 0.
        num_known: classes met before this stage, >= num_base.

    Returns:
        The keys of `joint_accuracy`, each under this matching; `all` is never larger.
    """
    return held_scores(answer_table(predictions, targets, num_base), num_base, num_known)


def matched_accuracy(
    predictions: Any,
    targets: Any,
    groups: Mapping[str, Any],
    balanced: bool = False,
) -> dict[str, float]:
    """Accuracy under one optimal matching, for any groups of samples.

    A group is scored over all samples of the classes that occur in it, as the released
    implementations do. That is the mean over the group itself whenever no class lies both inside
    and outside of it.

    Args:
        predictions: predicted rows of any numbering.
        targets: true classes.
        groups: masks by name, (N,) bool.
        balanced: average over classes instead of over samples.

    Returns:
        `all` and every group that holds a sample.
    """
    counts = answer_table(predictions, targets)
    classes = np.asarray(targets)
    class_groups = {}
    for name, mask in groups.items():
        class_groups[name] = np.zeros(counts.shape[1], dtype=bool)
        class_groups[name][classes[_mask(name, mask, len(classes))]] = True
    return group_scores(match(counts).hits(counts), counts.sum(0), class_groups, balanced)


def greedy_accuracy(predictions: Any, targets: Any, known: Any) -> dict[str, float]:
    """Accuracy when known and novel samples are matched separately: "v1" or "greedy".

    One row may stand for a known and for a novel class, so this is never below the joint match.

    Args:
        predictions: predicted rows of any numbering.
        targets: true classes.
        known: samples of known classes, (N,) bool.

    Returns:
        `all` (the sample-weighted mean), `known`, `novel`; a group without a sample has no key.
    """
    rows, classes = paired_ids(predictions, targets)
    known = _mask("known", known, len(classes))
    masks = {"known": known, "novel": ~known}
    return greedy_scores(
        {
            name: answer_table(rows[mask], classes[mask])
            for name, mask in masks.items()
            if mask.any()
        }
    )


def pruned_accuracy(predictions: Any, targets: Any, known: Any) -> dict[str, float]:
    """Joint accuracy of the largest rows, as many as there are classes; all others are wrong.

    Args:
        predictions: predicted rows; of two rows of one size the smaller id is kept.
        targets: true classes.
        known: samples of known classes, (N,) bool; of a class all or none.

    Returns:
        `all`, `known`, `novel`; a group without a sample has no key.

    Source: the strict protocol as Zheng et al., PHE, NeurIPS 2024, describe it. Their released code
    prunes nothing and is `joint_accuracy`, which is never smaller.
    """
    counts = answer_table(predictions, targets)
    classes = np.asarray(targets)
    known = _mask("known", known, len(classes))
    largest = np.argsort(-counts.sum(1), kind="stable")[: np.count_nonzero(counts.sum(0))]
    groups = {name: np.zeros(counts.shape[1], dtype=bool) for name in ("known", "novel")}
    groups["known"][classes[known]] = True
    groups["novel"][classes[~known]] = True
    return group_scores(match(counts[largest]).hits(counts[largest]), counts.sum(0), groups)


def per_class_accuracy(predictions: Any, targets: Any, num_classes: int) -> np.ndarray:
    """Accuracy of each class under the joint match, (K,) float64; nan where it has no sample.

    Args:
        predictions: predicted rows of any numbering.
        targets: true classes in [0, num_classes).
        num_classes: K.
    """
    counts = answer_table(predictions, targets, num_classes=num_classes)
    total = counts.sum(0)
    accuracies = np.full(num_classes, np.nan)
    np.divide(match(counts).hits(counts), total, out=accuracies, where=total > 0)
    return accuracies


def num_found(predictions: Any, num_classes: int) -> int:
    """How many of the `num_classes` rows at least one sample was predicted as."""
    return len(np.unique(integer_ids("predictions", predictions, num_classes)))


def _mask(name: str, mask: Any, num_samples: int) -> np.ndarray:
    mask = np.asarray(mask)
    if mask.dtype != bool or mask.shape != (num_samples,):
        raise ValueError(
            f"{name}: {mask.dtype} of shape {mask.shape} given, bool ({num_samples},) wanted"
        )
    return mask
