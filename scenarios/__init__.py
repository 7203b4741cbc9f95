"""Streams of continual category discovery, delivered as Avalanche scenarios."""

from scenarios.arrays import ImageArrays
from scenarios.composition import Composition, StagePlan
from scenarios.datasets import cifar100_scenario, digits_scenario, image_folder_scenario
from scenarios.protocol import Protocol, compose
from scenarios.stream import discovery_scenario

__all__ = [
    "Composition",
    "ImageArrays",
    "Protocol",
    "StagePlan",
    "cifar100_scenario",
    "compose",
    "digits_scenario",
    "discovery_scenario",
    "image_folder_scenario",
]
