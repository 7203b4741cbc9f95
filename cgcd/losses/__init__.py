"""Losses of category discovery: pure functions of tensors whose views are an axis, (B, V, ...)."""

from cgcd.losses.classification import cosine_cross_entropy
from cgcd.losses.contrastive import info_nce, supervised_contrastive
from cgcd.losses.distillation import (
    feature_distillation,
    old_logit_distillation,
    ramped,
    self_distillation,
)
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
from cgcd.losses.parametric import parametric_discovery
from cgcd.losses.prototypes import prototype_separation
from cgcd.losses.pseudo_labels import adaptive_pseudo_labels, hard_ratio

__all__ = [
    "GroupEntropy",
    "adaptive_pseudo_labels",
    "center_cross_entropy",
    "center_quantization",
    "center_separation",
    "class_scores",
    "cosine_cross_entropy",
    "feature_distillation",
    "group_entropy",
    "hamming_radius",
    "hard_ratio",
    "info_nce",
    "mean_entropy",
    "old_logit_distillation",
    "parametric_discovery",
    "prototype_separation",
    "prototype_similarity",
    "ramped",
    "self_distillation",
    "separation_target",
    "sign_quantization",
    "supervised_contrastive",
]
