"""How well scores tell novel samples from known ones, whatever threshold is set."""

from __future__ import annotations

from typing import Any

import numpy as np
from sklearn.metrics import average_precision_score, roc_auc_score, roc_curve


def novelty_metrics(scores: Any, is_novel: Any) -> dict[str, float]:
    """Areas under both curves and false-positive rates at 95 % recall, in both directions.

    A threshold never parts samples with equal scores: ties are one step of every curve, and count
    one half in `auroc`.

    Args:
        scores: larger for what looks more novel, finite, (N,) numbers, array or tensor.
        is_novel: the truth, (N,) bool, of both kinds at least one.

    Returns:
        Fractions in [0, 1]:
        `auroc`: probability that a novel sample scores above a known one; the same both ways;
        `aupr`: average precision with novel samples as the positive ones, no interpolation; where
        all scores are equal it is the share of novel samples;
        `aupr_known`: the same with known samples as the positive ones and the scores negated;
        `fpr_at_95`: share of known samples called novel by the threshold that finds 95 % of the
        novel ones;
        `fpr_at_95_known`: share of novel samples called known by the threshold that finds 95 % of
        the known ones.

    Raises:
        ValueError: if shapes disagree, a score is not finite, or one kind is missing.

    Source: Hendrycks and Gimpel, ICLR 2017, for the areas. The false-positive rate is the one of
    the released ProtoGCD: at the threshold whose recall is the closest to 0.95, without
    interpolation, of those with one recall the lowest; thresholds below the first that finds every
    positive sample are not looked at. Of two recalls equally close we take the smaller one, the
    code what rounding gives.
    """
    values, novel = np.asarray(scores, dtype=np.float64), np.asarray(is_novel)
    if values.ndim != 1 or novel.shape != values.shape or novel.dtype != bool:
        raise ValueError(
            f"scores {values.shape} and is_novel {novel.dtype} {novel.shape} given; wanted (N,) "
            "numbers and (N,) bool"
        )
    if not np.isfinite(values).all():
        raise ValueError("a score is not finite; wanted numbers only")
    if novel.all() or not novel.any():
        raise ValueError(
            f"{int(novel.sum())} of {len(novel)} samples are novel; wanted at least one novel and "
            "one known sample"
        )
    return {
        "auroc": float(roc_auc_score(novel, values)),
        "aupr": float(average_precision_score(novel, values)),
        "aupr_known": float(average_precision_score(~novel, -values)),
        "fpr_at_95": _false_positive_rate(values, novel),
        "fpr_at_95_known": _false_positive_rate(-values, ~novel),
    }


def _false_positive_rate(scores: np.ndarray, positive: np.ndarray) -> float:
    """At the threshold of a recall closest to 0.95; counted in whole samples, so ties are exact."""
    false_rate, recall, _ = roc_curve(positive, scores, drop_intermediate=False)
    total = int(positive.sum())
    hits = np.rint(recall * total).astype(np.int64)
    useful = int(np.argmax(hits == total)) + 1  # up to the first threshold with full recall
    distance = np.abs(20 * hits[:useful] - 19 * total)  # of the recall to 0.95, times 20 N
    best = np.lexsort((-np.arange(useful), hits[:useful], distance))[0]
    return float(false_rate[best])
