"""What a method answered for every sample of an evaluation, as CSV."""

from __future__ import annotations

from collections.abc import Sequence

from cgcd.engine.evaluation import DiscoveryMetrics
from cgcd.engine.tables import csv_text

_COLUMNS = "sample true_class category category_name is_new confidence"


def predictions_csv(metric: DiscoveryMetrics, class_names: Sequence[str], num_base: int) -> str:
    """One line a sample of the last pass; categories from `num_base` on have no name.

    Args:
        metric: after an evaluation.
        class_names: of each class in row order.
        num_base: labeled classes.
    """
    columns = (metric.sample_ids, metric.targets, metric.predictions, metric.confidences)
    rows: list[Sequence[object]] = [_COLUMNS.split()]
    for sample, target, category, confidence in zip(*columns, strict=True):
        is_new = int(category) >= num_base
        rows.append(
            (
                sample,
                class_names[target] if target >= 0 else "",
                category,
                f"new-{category}" if is_new else class_names[category],
                int(is_new),
                f"{confidence:.4f}",
            )
        )
    return csv_text(rows)
