"""Finding classes: clusters, and which of them stands for which class."""

from cgcd.discovery.kmeans import (
    KMeansResult,
    familiarity,
    kmeans,
    least_familiar,
    novel_directions,
    pinned_kmeans,
)
from cgcd.discovery.matching import UNMATCHED, Matching, contingency, match

__all__ = [
    "UNMATCHED",
    "KMeansResult",
    "Matching",
    "contingency",
    "familiarity",
    "kmeans",
    "least_familiar",
    "match",
    "novel_directions",
    "pinned_kmeans",
]
