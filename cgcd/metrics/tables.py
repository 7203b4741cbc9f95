"""All metrics of a pass from one table of its answers and classes, its cells above 0 alone.

The functions of the other modules count a table and ask here; whoever wants several metrics of the
same answers counts once. A table is `counts`, (R, C), see `count_cells`.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
from scipy.sparse import csr_array
from sklearn.metrics import mutual_info_score

from cgcd.discovery.matching import count_cells, integer_ids, match


def pass_metrics(predictions: Any, targets: Any, num_base: int, num_known: int) -> dict[str, float]:
    """Every accuracy and agreement of a staged evaluation, by `<family>/<name>`.

    Args:
        predictions: predicted rows; row k < num_base is class k, (N,) integers >= 0.
        targets: true classes, (N,) integers >= 0.
        num_base: classes labeled at stage 0.
        num_known: classes met before this stage, >= num_base.

    Returns:
        `accuracy/...` as `joint_accuracy` gives it, `held/...` as `held_accuracy`, `greedy/...` as
        `greedy_accuracy` with the known classes, `agreement/nmi` and `agreement/ari`.
    """
    counts = answer_table(predictions, targets, num_held=num_base)
    families = {
        "accuracy": joint_scores(counts, num_base, num_known),
        "held": held_scores(counts, num_base, num_known),
        "greedy": greedy_scores({"known": counts[:, :num_known], "novel": counts[:, num_known:]}),
        "agreement": {"nmi": mutual_information(counts), "ari": rand_index(counts)},
    }
    return {f"{family}/{name}": v for family, part in families.items() for name, v in part.items()}


def answer_table(
    predictions: Any, targets: Any, num_held: int = 0, num_classes: int | None = None
) -> csr_array:
    """Samples by row and class, (R, C); rows are renumbered without gaps, those < num_held stay.

    Ids of any size fit such a table.
    """
    rows = integer_ids("predictions", predictions)
    free = rows >= num_held
    dense = rows.copy()
    dense[free] = num_held + np.unique(rows[free], return_inverse=True)[1]
    num_rows = max(num_held, int(dense.max()) + 1)
    return count_cells(dense, targets, num_rows, num_classes)


def joint_scores(
    counts: csr_array, num_base: int, num_known: int, balanced: bool = False
) -> dict[str, float]:
    """`joint_accuracy` of a table."""
    groups = stage_groups(counts.shape[1], num_base, num_known)
    return group_scores(match(counts).hits(counts), counts.sum(0), groups, balanced)


def held_scores(counts: csr_array, num_base: int, num_known: int) -> dict[str, float]:
    """`held_accuracy` of a table whose rows < num_base are classes."""
    groups = stage_groups(counts.shape[1], num_base, num_known)
    free = counts[num_base:, num_base:]
    hits = np.concatenate([counts.diagonal()[:num_base], match(free).hits(free)])
    return group_scores(hits, counts.sum(0), groups)


def greedy_scores(parts: Mapping[str, csr_array]) -> dict[str, float]:
    """`greedy_accuracy` of a table of each part, by name; one without a sample has no key."""
    totals = {name: int(counts.sum()) for name, counts in parts.items()}
    hits = {name: int(match(counts).hits(counts).sum()) for name, counts in parts.items()}
    shares = {name: hits[name] / total for name, total in totals.items() if total}
    return {"all": sum(hits.values()) / sum(totals.values()), **shares}


def mutual_information(counts: csr_array) -> float:
    """`normalized_mutual_information` of a table."""
    used = counts[np.flatnonzero(counts.sum(1))][:, np.flatnonzero(counts.sum(0))]
    if used.shape == (1, 1):
        return 1.0
    shared = mutual_info_score(None, None, contingency=used.T.tocsr())
    return float(shared / np.mean([_entropy(used.sum(0)), _entropy(used.sum(1))]))


def rand_index(counts: csr_array) -> float:
    """`adjusted_rand_index` of a table."""
    pairs, both, in_row, in_class = (
        int(np.square(sizes).sum())  # ordered pairs, those of a sample with itself among them
        for sizes in (counts.sum(), counts.data, counts.sum(1), counts.sum(0))
    )
    row_alone, class_alone, neither = (
        in_row - both,
        in_class - both,
        pairs - in_row - in_class + both,
    )
    both -= int(counts.sum())
    if not row_alone and not class_alone:
        return 1.0
    gain = 2.0 * (both * neither - class_alone * row_alone)
    return gain / (
        (both + class_alone) * (class_alone + neither) + (both + row_alone) * (row_alone + neither)
    )


def stage_groups(num_classes: int, num_base: int, num_known: int) -> dict[str, np.ndarray]:
    """Masks (C,) of the classes of each group by name.

    Raises:
        ValueError: unless 0 <= num_base <= num_known.
    """
    if not 0 <= num_base <= num_known:
        raise ValueError(
            f"num_base {num_base}, num_known {num_known}: known classes are the base classes and "
            "those of earlier stages, so 0 <= num_base <= num_known"
        )
    classes = np.arange(num_classes)
    base, known = classes < num_base, classes < num_known
    return {
        "known": known,
        "novel": ~known,
        "base": base,
        "rest": ~base,
        "earlier": known & ~base,
    }


def group_scores(
    hits: np.ndarray,
    total: np.ndarray,
    groups: Mapping[str, np.ndarray],
    balanced: bool = False,
) -> dict[str, float]:
    """Hits over total, (C,) each, summed in `all` and every non-empty (C,) mask of classes."""
    scores = {}
    for name, members in {"all": np.ones(len(total), dtype=bool), **groups}.items():
        present = members & (total > 0)
        if present.any():
            right, number = hits[present], total[present]
            score = (right / number).mean() if balanced else right.sum() / number.sum()
            scores[name] = float(score)
    return scores


def _entropy(sizes: np.ndarray) -> float:
    """Of shares of these sizes, all > 0, in nats."""
    total = sizes.sum()
    return float(-np.sum((sizes / total) * (np.log(sizes) - math.log(total))))
