"""The shared model and its parts."""

from cgcd.models.adapter import Adapter
from cgcd.models.backbone import Backbone, InputSpec, create_backbone
from cgcd.models.gcd import GCDModel, TailSnapshot
from cgcd.models.hashing import (
    ClassPrototypes,
    HashHead,
    HashTrunk,
    SignMagnitude,
    SignMagnitudeHead,
)
from cgcd.models.heads import CosineHead, ProjectionHead

__all__ = [
    "Adapter",
    "Backbone",
    "ClassPrototypes",
    "CosineHead",
    "GCDModel",
    "HashHead",
    "HashTrunk",
    "InputSpec",
    "ProjectionHead",
    "SignMagnitude",
    "SignMagnitudeHead",
    "TailSnapshot",
    "create_backbone",
]
