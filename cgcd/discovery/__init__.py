"""Finding classes: clusters, and which of them stands for which class."""

from cgcd.discovery.count import (
    DEFAULT_ESTIMATOR,
    ESTIMATORS,
    Choice,
    Estimator,
    choose_estimator,
    estimate_novel,
)
from cgcd.discovery.count_problem import CountEstimate, CountProblem
from cgcd.discovery.directions import familiarity, least_familiar, novel_directions
from cgcd.discovery.kmeans import kmeans, pinned_kmeans, semi_supervised_kmeans
from cgcd.discovery.lloyd import KMeansResult
from cgcd.discovery.matching import UNMATCHED, Matching, contingency, match
from cgcd.discovery.novelty import GaussianClasses, logit_scores
from cgcd.discovery.proposals import PROPOSALS, Proposal, propose
from cgcd.discovery.rejection import calibrated_threshold
from cgcd.discovery.relabel import Relabeling, relabel

__all__ = [
    "DEFAULT_ESTIMATOR",
    "ESTIMATORS",
    "PROPOSALS",
    "UNMATCHED",
    "Choice",
    "CountEstimate",
    "CountProblem",
    "Estimator",
    "GaussianClasses",
    "KMeansResult",
    "Matching",
    "Proposal",
    "Relabeling",
    "calibrated_threshold",
    "choose_estimator",
    "contingency",
    "estimate_novel",
    "familiarity",
    "kmeans",
    "least_familiar",
    "logit_scores",
    "match",
    "novel_directions",
    "pinned_kmeans",
    "propose",
    "relabel",
    "semi_supervised_kmeans",
]
