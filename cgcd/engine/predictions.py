"""What a method answered for every sample of an evaluation, as CSV."""

from __future__ import annotations

from collections.abc import Sequence

from cgcd.engine.evaluation import DiscoveryMetrics
from cgcd.stages import DiscoveryScenario
from cgcd.tracking.cells import csv_text

_COLUMNS = "true_class category category_name is_new confidence"


def predictions_csv(metric: DiscoveryMetrics, scenario: DiscoveryScenario, num_base: int) -> str:
    """One line a sample of the last pass; categories from `num_base` on have no name.

    The first column is the sample's number, or its path or id where the scenario knows it.

    Args:
        metric: after an evaluation.
        scenario: has the names of classes in row order, and of samples by number.
        num_base: labeled classes.
    """
    class_names, sample_names = scenario.class_names, scenario.sample_names
    columns = (metric.sample_ids, metric.targets, metric.predictions, metric.confidences)
    rows: list[Sequence[object]] = [(scenario.sample_kind, *_COLUMNS.split())]
    for sample, target, category, confidence in zip(*columns, strict=True):
        is_new = int(category) >= num_base
        rows.append(
            (
                sample if sample_names is None else sample_names[sample],
                class_names[target] if target >= 0 else "",
                category,
                f"new-{category}" if is_new else class_names[category],
                int(is_new),
                f"{confidence:.4f}",
            )
        )
    return csv_text(rows)
