"""The engine: Avalanche's template made stage-wise, the stage loop, checkpoints, seeding."""

from cgcd.engine.baselines import Baselines
from cgcd.engine.batch import Batch, StageOutputs
from cgcd.engine.evaluation import DiscoveryMetrics, LossTerms, StageMetric, discovery_evaluator
from cgcd.engine.loop import run_stages
from cgcd.engine.online import OnlineStrategy
from cgcd.engine.optimization import Recipe, WarmedCosine, parameter_groups
from cgcd.engine.results import RunResult, StreamResult
from cgcd.engine.strategy import DiscoveryStrategy
from cgcd.engine.warmup import WarmUp

__all__ = [
    "Baselines",
    "Batch",
    "DiscoveryMetrics",
    "DiscoveryStrategy",
    "LossTerms",
    "OnlineStrategy",
    "Recipe",
    "RunResult",
    "StageMetric",
    "StageOutputs",
    "StreamResult",
    "WarmUp",
    "WarmedCosine",
    "discovery_evaluator",
    "parameter_groups",
    "run_stages",
]
