"""The engine: Avalanche's template made stage-wise, the stage loop, checkpoints, seeding."""

from cgcd.engine.baselines import Baselines
from cgcd.engine.batch import Batch, StageOutputs
from cgcd.engine.evaluation import DiscoveryMetrics, LossTerms, StageMetric, discovery_evaluator
from cgcd.engine.loop import RunResult, run_stages
from cgcd.engine.optimization import Recipe, parameter_groups
from cgcd.engine.strategy import DiscoveryStrategy
from cgcd.engine.warmup import WarmUp

__all__ = [
    "Baselines",
    "Batch",
    "DiscoveryMetrics",
    "DiscoveryStrategy",
    "LossTerms",
    "Recipe",
    "RunResult",
    "StageMetric",
    "StageOutputs",
    "WarmUp",
    "discovery_evaluator",
    "parameter_groups",
    "run_stages",
]
