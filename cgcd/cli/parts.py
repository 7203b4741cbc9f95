"""Builds model, scenario, strategy and loggers from a composed config; the only place that does."""

from __future__ import annotations

import inspect
import logging
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from hydra.errors import InstantiationException
from hydra.utils import instantiate
from omegaconf import DictConfig, OmegaConf

from cgcd.cli.arguments import check_arguments
from cgcd.cli.configs import first_lines
from cgcd.engine import (
    Baselines,
    DiscoveryStrategy,
    NoveltyMetrics,
    Recipe,
    RunResult,
    StageAnalysis,
    StageMetric,
    discovery_evaluator,
    run_stages,
)
from cgcd.engine.determinism import set_determinism
from cgcd.engine.loop import check_setting
from cgcd.engine.processes import is_first, own_device
from cgcd.engine.seeding import isolated_randomness
from cgcd.engine.strategy import checked_novel
from cgcd.engine.trunk_cache import GIBIBYTE
from cgcd.models import GCDModel
from cgcd.places import input_cache
from cgcd.stages import DiscoveryScenario
from cgcd.tracking.console import ConsoleProgress
from cgcd.tracking.tensorboard import StageTensorBoard
from cgcd.vocabulary import InputError

log = logging.getLogger(__name__)

_THREADS = torch.get_num_threads()  # before a run of a sweep changes it
_TINY_MODEL = 1_000_000  # below, more than one thread on a CPU costs more than it gives
_SMALL_MODEL = 5_000_000  # below, more than two do


@dataclass
class Parts:
    """Everything of one run.

    Attributes:
        model, scenario, strategy: as built.
        tensorboard: the logger, or None.
        progress: the console; None in a process that is not the first.
        checkpoints: how often a stage under way is stored, for `run_stages`.
    """

    model: GCDModel
    scenario: DiscoveryScenario
    strategy: DiscoveryStrategy
    tensorboard: StageTensorBoard | None
    progress: ConsoleProgress | None
    checkpoints: dict[str, Any]

    @classmethod
    def build(
        cls,
        config: DictConfig,
        folder: Path,
        inner: Callable[[DiscoveryScenario], DiscoveryScenario] | None = None,
    ) -> Parts:
        """Build all parts; nothing is written before all of them stand.

        Args:
            config: composed and checked.
            folder: of the run.
            inner: makes of the scenario the one to run on; None: that itself.

        Raises:
            InputError: if any part refuses its arguments.
        """
        device = usable_device(config.device)
        set_determinism(device, bool(config.get("deterministic")))
        config.strategy.device = str(device)
        _settle_width(config.model)
        with isolated_randomness(config.seed, "model"):
            model: GCDModel = instantiated(config.model, "model")
        _check_kind(model, GCDModel, "model")
        set_computation(model, config)
        _set_threads(config.torch_threads, model, device)
        with input_cache(int(config.get("input_cache_gb", 0) * GIBIBYTE)):
            scenario: DiscoveryScenario = instantiated(
                config.scenario, "scenario", inputs=model.inputs
            )
        _check_kind(scenario, DiscoveryScenario, "scenario")
        if inner is not None:
            scenario = inner(scenario)
        tensorboard = None
        if config.tracking.get("_target_") and is_first():
            tensorboard = instantiated(config.tracking, "tracking", folder=folder / "tensorboard")
        more: list[StageMetric] = [Baselines()] if config.baselines else []
        if config.get("outliers"):
            more.append(NoveltyMetrics(_outliers(config.outliers, scenario, model)))
        if config.get("analysis") and is_first():
            more.append(StageAnalysis())
        progress = ConsoleProgress() if is_first() else None
        loggers = [logger for logger in (tensorboard, progress) if logger is not None]
        strategy: DiscoveryStrategy = instantiated(
            config.strategy,
            "strategy",
            model=model,
            evaluator=discovery_evaluator(*more, loggers=loggers),
        )
        _check_kind(strategy, DiscoveryStrategy, "strategy")
        if "trunk_cache_gb" in config:  # a stored config may be older
            strategy.trunks.limit = int(config.trunk_cache_gb * GIBIBYTE)
        check_setting(strategy, scenario)
        _check_weights(strategy)
        steps = _checked_steps(strategy, scenario)
        _check_rooms(strategy, scenario)
        if progress is not None:
            progress.total_steps = steps
        if model.backbone.origin == "random" and strategy.warm_up is None:
            log.warning(
                "the backbone starts from random weights without a warm-up; the published recipes "
                "do not train from there: set strategy.warm_up={_target_:cgcd.engine.WarmUp}"
            )
        every = {k: config[k] for k in ("checkpoint_minutes", "checkpoint_steps") if k in config}
        return cls(model, scenario, strategy, tensorboard, progress, every)

    def describe(self) -> dict[str, Any]:
        """Plain facts of the model for the report."""
        weights = self.model.backbone.weights
        return {
            "origin": self.model.backbone.origin,
            "weights": None if weights is None else asdict(weights),
            "parameters": sum(p.numel() for p in self.model.backbone.parameters()),
            "trainable": sum(p.numel() for p in self.model.parameters() if p.requires_grad),
            "input": asdict(self.model.inputs),
            "precision": self.model.backbone.precision,
            "compiled": self.model.backbone.compiled,
            "threads": torch.get_num_threads(),
            "device": _device_name(self.strategy.device),
        }

    def run(self, folder: Path, facts: Mapping[str, Any]) -> RunResult:
        """The stage loop with console and TensorBoard."""
        try:
            return run_stages(
                self.strategy,
                self.scenario,
                folder,
                facts=facts,
                on_stage=None if self.progress is None else self.progress.row,
                **self.checkpoints,
            )
        finally:
            self.close()

    def close(self) -> None:
        """Take the progress bar away and finish TensorBoard's open file."""
        if self.progress is not None:
            self.progress.close()
        if self.tensorboard is not None:
            self.tensorboard.close()


def instantiated(config: Mapping[str, Any] | DictConfig, part: str, **more: Any) -> Any:
    """What the config's `_target_` makes, with what its constructor complains of as the message.

    `more` are live objects, which Hydra would turn into configs if it were to pass them on.

    Raises:
        InputError: if a value is of a wrong kind, or refused.
    """
    check_arguments(config, part)
    try:
        make = instantiate(config, _partial_=True, _convert_="all")
        return make(**more)
    except InputError as error:
        if part in str(error):
            raise
        raise InputError(f"{part}: {error}") from error
    except InstantiationException as error:
        cause: BaseException | None = error
        while cause is not None and not isinstance(cause, InputError):
            cause = cause.__cause__
        if cause is not None:
            place = str(error).rpartition("full_key: ")[2].strip()
            front = f"{place}: " if place.startswith(part) else ""
            raise InputError(f"{front}{cause}") from error
        raise InputError(f"{part}: {first_lines(error).split(', set env var')[0]}") from error
    except (TypeError, ValueError, AssertionError) as error:  # what constructors refuse with
        reason = " ".join(str(error).split()).split(". ")[0]
        raise InputError(f"{part} cannot be built: {reason}") from error


def set_computation(model: GCDModel, config: Mapping[str, Any] | DictConfig) -> None:
    """Precision and compilation as a run's config says, which may be older than both.

    Raises:
        InputError: if there is no such precision.
    """
    precision, compiled = config.get("precision", "fp32"), config.get("compile", False)
    model.backbone.compute_in(precision, compiled=compiled)


def _device_name(device: torch.device) -> str:
    return torch.cuda.get_device_name(device) if device.type == "cuda" else device.type


def _check_kind(built: Any, kind: type, part: str) -> None:
    if not isinstance(built, kind):
        raise InputError(
            f"{part}._target_ makes a {type(built).__name__}; wanted a {kind.__name__}: choose one "
            f"with {part}=NAME"
        )


def _settle_width(model: DictConfig) -> None:
    """Put the number in the place of what finds it, so that the stored config needs no data."""
    if OmegaConf.is_config(model.backbone) and OmegaConf.is_config(model.backbone.get("dim")):
        model.backbone.dim = instantiated(model.backbone.dim, "model")


def _outliers(config: DictConfig, scenario: DiscoveryScenario, model: GCDModel) -> Any:
    if scenario.setting == "online":
        raise InputError(
            f"outliers are measured after a stage and {scenario.name} is answered sample by sample;"
            " leave outliers=... out or take a staged scenario"
        )
    return instantiated(config, "outliers", inputs=model.inputs)


def usable_device(name: str) -> torch.device:
    """The device of that name; "auto" takes an accelerator where there is one, "cuda" the own one.

    Raises:
        InputError: if it is none that can be used here.
    """
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    try:
        device = own_device(torch.device(name))
        torch.ones(1, device=device).item()
    except (RuntimeError, AssertionError) as error:
        raise InputError(
            f"device={name} cannot be used here; wanted one of {_devices()}: set device=auto or "
            "device=cpu"
        ) from error
    return device


def _devices() -> str:
    """Names of the devices that there are."""
    return ", ".join(["cpu", *(f"cuda:{i}" for i in range(torch.cuda.device_count()))])


def _set_threads(given: str | int, model: GCDModel, device: torch.device) -> None:
    size = sum(p.numel() for p in model.backbone.parameters())
    most = _THREADS
    if device.type == "cpu" and size < _SMALL_MODEL:
        most = min(1 if size < _TINY_MODEL else 2, _THREADS)
    torch.set_num_threads(most if given == "auto" else int(given))


def _check_weights(strategy: DiscoveryStrategy) -> None:
    """Refuse a loss term too many or too few now and not at the first step.

    The terms of a method are those its constructor has weights for.
    """
    parameters = inspect.signature(type(strategy).__init__).parameters
    for name in ("base", "continual"):
        default = parameters[name].default if name in parameters else None
        if not isinstance(default, Recipe):
            continue
        weights: Mapping[str, Any] = getattr(strategy, name).weights
        wrong = sorted(weights.keys() ^ default.weights.keys())
        if wrong:
            raise InputError(
                f"strategy.{name}.weights: {', '.join(wrong)} "
                f"{'is given' if wrong[0] in weights else 'is missing'}; the loss terms are "
                f"{', '.join(default.weights)}"
            )
        for term, weight in weights.items():
            if not isinstance(weight, int | float) or isinstance(weight, bool):
                raise InputError(
                    f"strategy.{name}.weights.{term} is {weight}; wanted a number (0 for none)"
                )


def _check_rooms(strategy: DiscoveryStrategy, scenario: DiscoveryScenario) -> None:
    """Refuse numbers of novel classes that a later stage has too few samples for.

    Raises:
        InputError: naming the stage, before anything is trained.
    """
    known = scenario.num_base
    for stage in scenario.train_stream[1:] if scenario.setting == "continual" else ():
        told = stage.num_novel if strategy.num_novel == "given" else strategy.num_novel
        if not isinstance(told, int):  # told by nobody, or estimated when the stage is there
            return
        if not stage.mixed:
            samples = len(stage.dataset)
            checked_novel(told, samples - known, stage.index, known, samples)
        known += told


def _checked_steps(strategy: DiscoveryStrategy, scenario: DiscoveryScenario) -> int:
    """Optimizer steps of the whole run.

    Raises:
        InputError: if a stage that is learned by steps is smaller than one batch.
    """
    steps = 0
    online = scenario.setting == "online"  # a stream is not trained on
    for stage in scenario.train_stream[:1] if online else scenario.train_stream:
        if not strategy.takes_steps_at(stage.index):
            continue
        name = "base" if stage.index == 0 else "continual"
        recipe: Recipe = getattr(strategy, name)
        if not recipe.steps(len(stage.dataset)):
            raise InputError(
                f"stage {stage.index} holds {len(stage.dataset)} samples, fewer than one batch of "
                f"{recipe.batch_size}; lower strategy.{name}.batch_size"
                f"{', or set strategy.tune_base=false' if hasattr(strategy, 'tune_base') else ''}"
            )
        steps += recipe.epochs * recipe.steps(len(stage.dataset))
    return steps
