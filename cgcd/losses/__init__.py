"""Losses of category discovery: pure functions of tensors whose views are an axis, (B, V, ...)."""

from cgcd.losses.classification import cosine_cross_entropy
from cgcd.losses.contrastive import info_nce, supervised_contrastive
from cgcd.losses.distillation import feature_distillation, ramped, self_distillation
from cgcd.losses.entropy import GroupEntropy, group_entropy, mean_entropy
from cgcd.losses.hashing import (
    center_cross_entropy,
    center_quantization,
    center_separation,
    class_scores,
    hamming_radius,
    prototype_similarity,
    separation_target,
    sign_quantization,
)

__all__ = [
    "GroupEntropy",
    "center_cross_entropy",
    "center_quantization",
    "center_separation",
    "class_scores",
    "cosine_cross_entropy",
    "feature_distillation",
    "group_entropy",
    "hamming_radius",
    "info_nce",
    "mean_entropy",
    "prototype_similarity",
    "ramped",
    "self_distillation",
    "separation_target",
    "sign_quantization",
    "supervised_contrastive",
]
