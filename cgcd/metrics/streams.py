"""Accuracy of on-line discovery, where an answer below the number of known classes is a name.

The matched dialects reward a model that never discovers: any known answer may be matched with a
novel class. The two rates beside them, of answers as they are, show it.

Everywhere `predictions` and `targets` are (N,) integers >= 0, N >= 1, arrays or tensors; anything
else raises a ValueError. Targets and answers < num_known are known classes; answers from num_known
on are categories made on the way, of any numbering. All values are fractions in [0, 1].
"""

from __future__ import annotations

from typing import Any

import numpy as np

from cgcd.discovery.matching import Counts, match, paired_ids
from cgcd.metrics.tables import answer_table, group_scores


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
    return table_accuracies(answer_table(predictions, targets), num_known)


def table_accuracies(counts: Counts, num_known: int) -> dict[str, float]:
    """`stream_accuracies` from the table of all answers and classes.

    Args:
        counts: samples by answer, in the order of the ids, and class, (R, C) integers, at least one
            of them above 0.
        num_known: classes known before the stream, >= 0.
    """
    total = counts.sum(0)
    known = np.arange(counts.shape[1]) < num_known
    groups = {"known": known, "novel": ~known}
    largest = np.argsort(-counts.sum(1), kind="stable")[: int((total > 0).sum())]
    apart = (counts[:, :num_known], counts[:, num_known:])
    dialects = {
        "strict": match(counts).hits(counts),
        "pruned": match(counts[largest]).hits(counts[largest]),
        "greedy": np.concatenate([match(part).hits(part) for part in apart]),
    }
    return {
        f"{dialect}/{group}": score
        for dialect, hits in dialects.items()
        for group, score in group_scores(hits, total, groups).items()
    }


class AnswerTable:
    """Answers and classes of a stream so far, counted as they come: a window costs what it holds.

    Attributes:
        num_known: classes known before the stream.
    """

    def __init__(self, num_known: int) -> None:
        self.num_known = num_known
        self._counts = np.zeros((16, 16), dtype=np.int64)
        self._shape = (0, 0)

    def add(self, predictions: Any, targets: Any) -> None:
        """Count N more answers.

        Args:
            predictions: ids, in use from 0 on without large gaps, (N,) integers >= 0, N >= 1.
            targets: true classes, (N,) integers >= 0.
        """
        ids, classes = paired_ids(predictions, targets)
        needed = (int(ids.max()) + 1, int(classes.max()) + 1)
        self._shape = tuple(np.maximum(self._shape, needed).tolist())
        old = self._counts
        if self._shape[0] > old.shape[0] or self._shape[1] > old.shape[1]:
            room = [
                max(new, 2 * had) if new > had else had
                for new, had in zip(self._shape, old.shape, strict=True)
            ]
            self._counts = np.zeros(room, dtype=np.int64)
            self._counts[: old.shape[0], : old.shape[1]] = old
        np.add.at(self._counts, (ids, classes), 1)

    @property
    def counts(self) -> np.ndarray:
        """Samples by id and class, (R, C) int64."""
        return self._counts[: self._shape[0], : self._shape[1]]

    @property
    def num_novel(self) -> int:
        """Novel classes that have come."""
        return int(self.counts[:, self.num_known :].any(0).sum())

    def accuracies(self) -> dict[str, float]:
        """See `stream_accuracies`."""
        return table_accuracies(self.counts, self.num_known)

    def rates(self) -> dict[str, float]:
        """`identity_accuracy` and `false_known_rate` by name; without samples of its own no key."""
        known, novel = self.counts[:, : self.num_known], self.counts[:, self.num_known :]
        found = {
            "identity/known": (known.diagonal().sum(), known.sum()),
            "identity/false_known": (novel[: self.num_known].sum(), novel.sum()),
        }
        return {name: float(hits / total) for name, (hits, total) in found.items() if total}
