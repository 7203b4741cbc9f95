"""The shared model and its parts."""

from cgcd.models.backbone import Backbone, InputSpec, create_backbone
from cgcd.models.gcd import GCDModel, TailSnapshot
from cgcd.models.heads import CosineHead, ProjectionHead

__all__ = [
    "Backbone",
    "CosineHead",
    "GCDModel",
    "InputSpec",
    "ProjectionHead",
    "TailSnapshot",
    "create_backbone",
]
