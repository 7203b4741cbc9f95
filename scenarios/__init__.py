"""Streams of continual category discovery, delivered as Avalanche scenarios."""

from scenarios.arrays import ImageArrays
from scenarios.avalanche import as_discovery
from scenarios.blurry import BlurryProtocol
from scenarios.composition import Composition, StagePlan
from scenarios.datasets import digits_scenario, image_folder_scenario
from scenarios.feature_files import feature_width
from scenarios.feature_stages import features_scenario, features_stages_scenario
from scenarios.given_stages import GivenStages, given_stages_scenario
from scenarios.online import OnlineComposition, OnlineProtocol, compose_online, online_scenario
from scenarios.online_datasets import (
    digits_online_scenario,
    features_online_scenario,
    image_folder_online_scenario,
)
from scenarios.protocol import Protocol, compose
from scenarios.published import DATASETS, PublishedDataset
from scenarios.published_scenarios import (
    dataset_gcd_scenario,
    dataset_online_scenario,
    dataset_scenario,
)
from scenarios.shares import ShareProtocol
from scenarios.single_stage import (
    SingleStageComposition,
    SingleStageProtocol,
    compose_single_stage,
    single_stage_scenario,
)
from scenarios.single_stage_datasets import (
    digits_gcd_scenario,
    features_gcd_scenario,
    image_folder_gcd_scenario,
)
from scenarios.stream import discovery_scenario
from scenarios.unlabeled_folder import folder_scenario

__all__ = [
    "DATASETS",
    "BlurryProtocol",
    "Composition",
    "GivenStages",
    "ImageArrays",
    "OnlineComposition",
    "OnlineProtocol",
    "Protocol",
    "PublishedDataset",
    "ShareProtocol",
    "SingleStageComposition",
    "SingleStageProtocol",
    "StagePlan",
    "as_discovery",
    "compose",
    "compose_online",
    "compose_single_stage",
    "dataset_gcd_scenario",
    "dataset_online_scenario",
    "dataset_scenario",
    "digits_gcd_scenario",
    "digits_online_scenario",
    "digits_scenario",
    "discovery_scenario",
    "feature_width",
    "features_gcd_scenario",
    "features_online_scenario",
    "features_scenario",
    "features_stages_scenario",
    "folder_scenario",
    "given_stages_scenario",
    "image_folder_gcd_scenario",
    "image_folder_online_scenario",
    "image_folder_scenario",
    "online_scenario",
    "single_stage_scenario",
]
