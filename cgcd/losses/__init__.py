"""Losses of category discovery: pure functions of tensors whose views are an axis, (B, V, ...)."""

from cgcd.losses.classification import cosine_cross_entropy
from cgcd.losses.contrastive import info_nce, supervised_contrastive
from cgcd.losses.distillation import feature_distillation, ramped, self_distillation
from cgcd.losses.entropy import GroupEntropy, group_entropy, mean_entropy

__all__ = [
    "GroupEntropy",
    "cosine_cross_entropy",
    "feature_distillation",
    "group_entropy",
    "info_nce",
    "mean_entropy",
    "ramped",
    "self_distillation",
    "supervised_contrastive",
]
