"""The shared model and its parts."""

from cgcd.models.adapter import Adapter
from cgcd.models.backbone import Backbone, InputSpec, create_backbone
from cgcd.models.fecam import FeCAMHead
from cgcd.models.fixed import FixedFeatures
from cgcd.models.gaussian import GaussianHead
from cgcd.models.gcd import GCDModel, TailSnapshot
from cgcd.models.hashing import (
    ClassPrototypes,
    HashHead,
    HashTrunk,
    SignMagnitude,
    SignMagnitudeHead,
)
from cgcd.models.heads import CosineHead, ProjectionHead
from cgcd.models.memory_branch import MemoryBranch
from cgcd.models.nearest_mean import NearestMean
from cgcd.models.random_features import RandomFeatures
from cgcd.models.reduction import PrincipalComponents
from cgcd.models.ridge import RidgeHead, RidgeRegression
from cgcd.models.stepped_gaussian import SteppedGaussianHead

__all__ = [
    "Adapter",
    "Backbone",
    "ClassPrototypes",
    "CosineHead",
    "FeCAMHead",
    "FixedFeatures",
    "GCDModel",
    "GaussianHead",
    "HashHead",
    "HashTrunk",
    "InputSpec",
    "MemoryBranch",
    "NearestMean",
    "PrincipalComponents",
    "ProjectionHead",
    "RandomFeatures",
    "RidgeHead",
    "RidgeRegression",
    "SignMagnitude",
    "SignMagnitudeHead",
    "SteppedGaussianHead",
    "TailSnapshot",
    "create_backbone",
]
