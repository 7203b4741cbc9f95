"""Metrics of discovery: pure functions of predictions and truth."""

from cgcd.metrics.accuracy import (
    greedy_accuracy,
    held_accuracy,
    joint_accuracy,
    matched_accuracy,
    num_found,
    per_class_accuracy,
    pruned_accuracy,
)
from cgcd.metrics.agreement import adjusted_rand_index, normalized_mutual_information, purity
from cgcd.metrics.bounds import closed_set_accuracy, perfect_closed_set
from cgcd.metrics.forgetting import (
    discovery,
    discovery_gm,
    forgetting,
    forgetting_gm,
    group_accuracy_matrix,
)
from cgcd.metrics.novelty import novelty_metrics
from cgcd.metrics.streams import (
    AnswerTable,
    false_known_rate,
    identity_accuracy,
    stream_accuracies,
)
from cgcd.metrics.tables import pass_metrics

__all__ = [
    "AnswerTable",
    "adjusted_rand_index",
    "closed_set_accuracy",
    "discovery",
    "discovery_gm",
    "false_known_rate",
    "forgetting",
    "forgetting_gm",
    "greedy_accuracy",
    "group_accuracy_matrix",
    "held_accuracy",
    "identity_accuracy",
    "joint_accuracy",
    "matched_accuracy",
    "normalized_mutual_information",
    "novelty_metrics",
    "num_found",
    "pass_metrics",
    "per_class_accuracy",
    "perfect_closed_set",
    "pruned_accuracy",
    "purity",
    "stream_accuracies",
]
