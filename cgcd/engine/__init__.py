"""The engine: Avalanche's template made stage-wise, the stage loop, checkpoints, seeding."""

from cgcd.engine.analysis import StageAnalysis
from cgcd.engine.baselines import Baselines
from cgcd.engine.batch import Batch, StageOutputs
from cgcd.engine.candidates import grid_candidates
from cgcd.engine.closed_form import ClosedFormStrategy
from cgcd.engine.evaluation import DiscoveryMetrics, StageMetric, discovery_evaluator
from cgcd.engine.growth import grow_by_clusters
from cgcd.engine.hashed import HashStrategy
from cgcd.engine.hidden import hidden_class_scenario
from cgcd.engine.loading import half_labeled
from cgcd.engine.loop import run_stages
from cgcd.engine.loss_terms import LossTerms
from cgcd.engine.novelty import NoveltyMetrics
from cgcd.engine.online import OnlineStrategy
from cgcd.engine.optimization import Recipe, WarmedCosine, parameter_groups
from cgcd.engine.parametric import ParametricBase
from cgcd.engine.results import RunResult, SingleStageResult, StreamResult
from cgcd.engine.strategy import DiscoveryStrategy
from cgcd.engine.tuning import Trial, TuningResult, tune
from cgcd.engine.warmup import WarmUp

__all__ = [
    "Baselines",
    "Batch",
    "ClosedFormStrategy",
    "DiscoveryMetrics",
    "DiscoveryStrategy",
    "HashStrategy",
    "LossTerms",
    "NoveltyMetrics",
    "OnlineStrategy",
    "ParametricBase",
    "Recipe",
    "RunResult",
    "SingleStageResult",
    "StageAnalysis",
    "StageMetric",
    "StageOutputs",
    "StreamResult",
    "Trial",
    "TuningResult",
    "WarmUp",
    "WarmedCosine",
    "discovery_evaluator",
    "grid_candidates",
    "grow_by_clusters",
    "half_labeled",
    "hidden_class_scenario",
    "parameter_groups",
    "run_stages",
    "tune",
]
