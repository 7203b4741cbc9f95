"""Accuracy of on-line discovery, where an answer below the number of known classes is a name.

The matched dialects reward a model that never discovers: any known answer may be matched with a
novel class. The two rates beside them, of answers as they are, show it.

Everywhere `predictions` and `targets` are (N,) integers >= 0, N >= 1, arrays or tensors; anything
else raises a ValueError. Targets and answers < num_known are known classes; answers from num_known
on are categories made on the way, of any numbering. All values are fractions in [0, 1].
"""

from __future__ import annotations

from typing import Any

from cgcd.discovery.matching import paired_ids
from cgcd.metrics.accuracy import greedy_accuracy, joint_accuracy, pruned_accuracy


def identity_accuracy(predictions: Any, targets: Any, num_known: int) -> float | None:
    """Share of the samples of known classes that got the name of their class.

    Args:
        predictions: answers.
        targets: true classes.
        num_known: classes known before the stream, >= 0.

    Returns:
        A fraction; None without a sample of a known class.
    """
    ids, classes = paired_ids(predictions, targets)
    known = classes < num_known
    return float((ids[known] == classes[known]).mean()) if known.any() else None


def false_known_rate(predictions: Any, targets: Any, num_known: int) -> float | None:
    """Share of the samples of novel classes that got the name of a known one.

    Args:
        predictions: answers.
        targets: true classes.
        num_known: classes known before the stream, >= 0.

    Returns:
        A fraction; None without a sample of a novel class.
    """
    ids, classes = paired_ids(predictions, targets)
    novel = classes >= num_known
    return float((ids[novel] < num_known).mean()) if novel.any() else None


def stream_accuracies(predictions: Any, targets: Any, num_known: int) -> dict[str, float]:
    """Accuracy of a whole stream in the three dialects of on-line discovery.

    Args:
        predictions: answers.
        targets: true classes.
        num_known: classes known before the stream, >= 0.

    Returns:
        `strict/...` (one matching of all samples, `joint_accuracy`), `pruned/...` (the same with
        the largest categories only, `pruned_accuracy`) and `greedy/...` (known and novel samples
        matched apart, `greedy_accuracy`), each with `all`, `known`, `novel`; a group without a
        sample has no key. Of the `all`, pruned <= strict <= greedy.

    Source: Du et al., SMILE, CVPR 2023, and Zheng et al., PHE, NeurIPS 2024, arXiv 2410.19213;
    their released code prints `strict` as "v2" and `greedy` as "v1". The papers speak of pruning,
    the code does none.
    """
    ids, classes = paired_ids(predictions, targets)
    known = classes < num_known
    dialects = {
        "strict": joint_accuracy(ids, classes, num_base=num_known, num_known=num_known),
        "pruned": pruned_accuracy(ids, classes, known),
        "greedy": greedy_accuracy(ids, classes, known),
    }
    return {
        f"{dialect}/{group}": scores[group]
        for dialect, scores in dialects.items()
        for group in ("all", "known", "novel")
        if group in scores
    }
