"""The base of every strategy: what a method fills and what helps it; never a hidden label."""

from __future__ import annotations

import inspect
from abc import abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property
from typing import Any, ClassVar

import numpy as np
import torch
from avalanche.core import BasePlugin
from avalanche.training.plugins import EvaluationPlugin
from torch import Tensor, nn

from cgcd.discovery import DEFAULT_ESTIMATOR
from cgcd.engine.batch import Batch, StageOutputs, UnlabeledAware
from cgcd.engine.counting import NovelCounter, estimated
from cgcd.engine.evaluation import discovery_evaluator
from cgcd.engine.finite import FiniteLoss
from cgcd.engine.kept_workers import KeptWorkers
from cgcd.engine.loading import shuffled
from cgcd.engine.optimization import (
    Recipe,
    StagedOptimizer,
    check_same_class,
    parameter_groups,
)
from cgcd.engine.precision import prepare_backbone
from cgcd.engine.processes import Deal
from cgcd.engine.seeding import torch_generator
from cgcd.engine.stage_keeper import StageKeeper
from cgcd.engine.stock import StockLabels, supervised_recipe
from cgcd.engine.stock_plugins import check_stock_plugins
from cgcd.engine.template import StageTemplate
from cgcd.engine.trunk_cache import TrunkCache
from cgcd.engine.warmup import WarmUp
from cgcd.models import GCDModel
from cgcd.stages import Stage
from cgcd.vocabulary import UNLABELED, GCDOutput, InputError


class DiscoveryStrategy(StageTemplate):
    """Trains on a stream of stages; a method fills `begin_stage`, `losses`, `end_stage`, `predict`.

    It is an Avalanche strategy: `train(stage)`, `eval(stream)`, `plugins=[...]`, every callback in
    the stock order. What it adds: hidden labels are gone before the first callback; named loss
    terms are weighed by the recipe; one optimizer object lives for the whole run; all randomness is
    a function of `seed` and the stage; evaluation leaves no trace.

    Attributes:
        num_base: classes labeled at stage 0; at a mixed stage 0 known before `begin_stage`.
        num_known: classes met before the stage: rows of the head before `begin_stage`, at a mixed
            stage 0 the labeled classes, so rows 0 .. num_known - 1 are the known ones.
        trunks: outputs of the frozen trunk kept between passes; its `limit` may be changed.
        keeper: stores the stage under way, where `run_stages` runs in a folder. A method keeps
            the generators that its steps draw from as attributes; these are stored too.
        supervised: this is a stage after stage 0 of a stock benchmark whose labels are used.

    Args:
        model: the shared model; its head grows, everything else is there from the start.
        base: recipe of stage 0, labeled or mixed.
        continual: recipe of every later stage.
        num_novel: how many classes are new at a stage: "given" (the stage tells), "estimate", or a
            number, which counts as given too.
        estimator: what estimates it, one of `cgcd.discovery.ESTIMATORS`.
        max_novel: most novel classes an estimate may give; None: twice the known ones, at least 10.
        warm_up: supervised start of a backbone that is not pretrained; None for none.
        seed: of all draws, >= 0.
        eval_batch_size: images a step without gradient.
        num_workers: processes that load images.
        stock_labels: labels of a stock experience after the first are hidden ("mask") or used
            ("use": the base objective and the `kept_terms`, nothing is discovered); stages of our
            own scenarios never carry hidden labels.
        device: where the model lives.
        plugins: Avalanche plugins.
        evaluator: Avalanche evaluation plugin; by default all discovery metrics without a logger.
        eval_every: epochs between evaluations inside training; -1 for none.
    """

    num_views: ClassVar[int] = 2
    settings: ClassVar[frozenset[str]] = frozenset({"continual"})
    kept_terms: ClassVar[tuple[str, ...]] = ()
    """Terms of the continual recipe that hold what was learned; labels or not, they stay."""

    def __init__(
        self,
        *,
        model: GCDModel,
        base: Recipe,
        continual: Recipe,
        num_novel: str | int = "given",
        estimator: str = DEFAULT_ESTIMATOR,
        max_novel: int | None = None,
        warm_up: WarmUp | None = None,
        seed: int = 0,
        eval_batch_size: int = 256,
        num_workers: int = 0,
        stock_labels: str = "mask",
        device: str | torch.device = "cpu",
        plugins: Sequence[BasePlugin] | None = None,
        evaluator: EvaluationPlugin | None = None,
        eval_every: int = -1,
    ) -> None:
        self.keeper: StageKeeper | None = None
        self.stock = StockLabels(stock_labels)
        if stock_labels == "use" and (
            type(self).supervised_losses is DiscoveryStrategy.supervised_losses
        ):
            raise InputError(
                f"{type(self).__name__} has no objective for later stages with labels, so "
                "stock_labels='use' is not for it; leave strategy.stock_labels=mask"
            )
        is_number = isinstance(num_novel, int) and not isinstance(num_novel, bool)
        if num_novel not in ("given", "estimate") and not (is_number and num_novel >= 1):
            raise InputError(
                f"num_novel is {num_novel!r}; wanted 'given', 'estimate' or a number of at least 1"
            )
        if num_workers < 0:
            raise InputError(f"num_workers is {num_workers}; wanted 0 or more processes")
        if eval_batch_size < 1:
            raise InputError(f"eval_batch_size is {eval_batch_size}; wanted at least 1")
        foreign = [plugin for plugin in plugins or () if not isinstance(plugin, BasePlugin)]
        if foreign:
            raise InputError(f"plugins holds {foreign[0]!r}; wanted Avalanche plugins")
        if seed < 0:
            raise InputError(f"seed is {seed}; wanted a whole number >= 0")
        check_same_class(base.optimizer.func, continual.optimizer.func)
        self.staged = StagedOptimizer(model, base, self.parameter_groups(model))
        self.trunks = TrunkCache()
        super().__init__(
            model=model,
            optimizer=self.staged.optimizer,
            criterion=UnlabeledAware(),
            train_mb_size=base.batch_size,
            train_epochs=base.epochs,
            eval_mb_size=eval_batch_size,
            device=device,
            plugins=plugins,
            evaluator=evaluator or discovery_evaluator(),
            eval_every=eval_every,
        )
        self.model: GCDModel = model.to(self.device)
        prepare_backbone(model.backbone, self.device)
        self.base, self.continual, self.warm_up = base, continual, warm_up
        self.num_novel = num_novel
        self.estimator, self.max_novel = estimator, max_novel
        counter = NovelCounter(model.dim, estimator, max_novel, seed).to(self.device)
        self.counter = counter if num_novel == "estimate" else None
        self.seed, self.num_workers, self.stock_labels = seed, num_workers, stock_labels
        self.workers = KeptWorkers(num_workers, self.device.type == "cuda")
        self.supervised = False
        self.stage_index = -1
        self.epoch = 0
        self.num_base = 0
        self.num_known = 0
        self.terms: dict[str, Tensor] = {}
        self.finite = FiniteLoss()
        self.report: dict[str, Any] = check_stock_plugins(self.plugins, self.device)
        self._mb_ids: Tensor | None = None
        self._mb_views: Tensor | None = None

    # ---------------------------------------------------------------- what a method fills

    @abstractmethod
    def begin_stage(self, stage: Stage) -> None:
        """Get ready for a stage, before its first step: grow the head, keep a teacher."""

    @abstractmethod
    def losses(self, batch: Batch) -> Mapping[str, Tensor]:
        """Named scalar terms; the recipe's `weights` must name the same ones."""

    def supervised_losses(self, batch: Batch) -> Mapping[str, Tensor]:
        """Terms of a later stage with labels: those of the base recipe and the `kept_terms`.

        A method that has none leaves this alone; the constructor then refuses stock_labels="use".
        """
        raise NotImplementedError

    def end_stage(self, stage: Stage) -> None:
        """Remember what later stages need, after the last step."""
        return

    def predict(self, trunk: Tensor) -> Tensor:
        """Scores (B, K) for trunk outputs (B, ...): softmax gives probabilities, argmax the answer.

        By default the logits of the cosine head at temperature 0.1.
        """
        return self.model.head(self.model.backbone.tail(trunk)) / 0.1

    def outputs(self, trunk: Tensor) -> GCDOutput:
        """What `losses` gets of a batch's trunk output (B, V, ...), with gradient."""
        return self.model.from_trunk(trunk)

    def parameter_groups(self, model: GCDModel) -> list[dict[str, Any]]:
        """Optimizer groups of (name, parameter) pairs."""
        return parameter_groups(model)

    def sampler(self, labels: np.ndarray, generator: np.random.Generator) -> np.ndarray:
        """Rows of one epoch in order, from the visible labels (N,)."""
        return shuffled(labels, generator)

    def state_modules(self) -> dict[str, nn.Module]:
        """What a stage changes and a checkpoint must hold, by name."""
        modules: dict[str, nn.Module] = {
            "tail": self.model.backbone.tail,
            "projection": self.model.projection,
            "head": self.model.head,
        }
        return modules if self.counter is None else {**modules, "counter": self.counter}

    def plain_settings(self) -> dict[str, Any]:
        """Constructor arguments that can change a result, by name."""
        kinds = type(self).__mro__
        ours = kinds[: kinds.index(DiscoveryStrategy) + 1]  # what follows is the template's
        names = {name for kind in ours for name in inspect.signature(kind.__init__).parameters}
        kept = sorted(names & vars(self).keys() - {"model", "plugins", "evaluator", "device"})
        return {name: vars(self)[name] for name in kept if name != "num_workers"}

    # ---------------------------------------------------------------- help for methods

    @property
    def recipe(self) -> Recipe:
        """The recipe of the current stage."""
        if self.supervised:
            return self._supervised_recipe
        return self.base if self.stage_index <= 0 else self.continual

    @property
    def takes_steps(self) -> bool:
        """The current stage is learned by gradient steps; if not, it is only begun and ended."""
        return self.takes_steps_at(max(self.stage_index, 0))

    def takes_steps_at(self, stage_index: int) -> bool:
        """Whether a stage, >= 0, is learned by gradient steps."""
        return True

    def generator(self, *purpose: int | str) -> torch.Generator:
        """A fresh generator that depends on the seed, the stage and `purpose` alone."""
        return torch_generator(self.seed, max(self.stage_index, 0), *purpose)

    def num_labeled_classes(self, stage: Stage) -> int:
        """Classes with a label at stage 0, be all of its samples labeled or some.

        Raises:
            InputError: if the labels are not 0 .. K - 1 with at least one sample each.
        """
        shown = sorted(set(stage.dataset.targets) - {UNLABELED})
        if not shown or shown != list(range(len(shown))):
            raise InputError(
                f"the base stage shows the labels {shown[:6]}...; wanted 0 .. K-1 without gaps: "
                "let `scenarios` renumber the classes"
            )
        return len(shown)

    def first_classes(self, stage: Stage) -> int:
        """Rows of the head at stage 0: the labeled classes, at a mixed stage the novel ones too."""
        novel = self.novel_classes(stage) if getattr(stage, "mixed", False) else 0
        return self.num_labeled_classes(stage) + novel

    def novel_classes(self, stage: Stage) -> int:
        """How many classes the head grows by at an unlabeled stage.

        At a mixed stage 0 those without a label; at a supervised stage the labels first met.

        Raises:
            InputError: if it should be given and the stage does not tell.
        """
        if self.supervised:
            return len(self.stock.labels) - self.num_known
        if getattr(stage, "mixed", False):  # a class without a label is among the others
            room = int((stage.labels == UNLABELED).sum())
        else:
            room = len(stage.dataset) - self.num_known
        if self.counter is not None:
            return min(estimated(self, stage), max(room, 1))
        told = self.num_novel
        if told == "given":
            told = getattr(stage, "num_novel", None)
        if told is None:
            raise InputError(
                f"num_novel is 'given' but stage {self.stage_index} does not tell how many classes "
                "are new; set num_novel=estimate or num_novel=<number>"
            )
        return checked_novel(told, room, self.stage_index, self.num_known, len(stage.dataset))

    @torch.no_grad()
    def stage_outputs(self, stage: Stage) -> StageOutputs:
        """One pass over a stage under the evaluation transform; several processes share it."""
        deal = Deal(self._plain_order(stage.dataset))
        head = self.model.head.directions
        features, labels = [head.new_empty(0, self.model.dim)], [torch.empty(0, dtype=torch.int64)]
        for trunk, shown in self.trunk_outputs(stage.dataset, deal.own):
            features.append(self.model.backbone.tail(trunk))
            labels.append(shown)
        joined = deal.joined(torch.cat(features))
        shown = deal.joined(torch.cat(labels).to(joined.device))
        return StageOutputs(joined, self.model.head(joined), shown)

    @torch.no_grad()
    def trunk_outputs(
        self, dataset: Any, batches: Sequence[list[int]] | None = None
    ) -> Iterator[tuple[Tensor, Tensor]]:
        """Trunk outputs (B, ...) and visible labels (B,) of a data set, in order, in eval mode.

        Args:
            dataset: N samples.
            batches: places of the samples to read, batch by batch; None: all, in order.
        """
        training = self.model.training
        self.model.eval()
        data = dataset.eval()
        order = self._plain_order(data) if batches is None else batches
        kept = self.trunks.of(self.model.backbone, data)
        unknown = order if kept is None else [places for places in order if not kept.holds(places)]
        loaded = iter(self._plain_loader(data, unknown) if unknown else ())
        for places in order:
            if kept is not None and kept.holds(places):
                yield kept.output(places, self.device), kept.labels(places)
                continue
            images, shown, *_ = next(loaded)
            trunk = self.model.backbone.trunk(images.to(self.device, non_blocking=True))
            if kept is not None:
                kept.keep(places, trunk)
            yield trunk, shown
        self.model.train(training)

    @cached_property
    def _supervised_recipe(self) -> Recipe:
        return supervised_recipe(self.base, self.continual, self.kept_terms)

    @property
    def _recipe_name(self) -> str:
        return "base" if self.stage_index <= 0 else "continual"


def checked_novel(told: int, room: int, stage_index: int, num_known: int, num_samples: int) -> int:
    """How many classes are new, as told.

    Raises:
        InputError: if there is none, or more than `room`, the samples that may show one.
    """
    if not 1 <= told <= room:
        raise InputError(
            f"stage {stage_index} is to bring {told} novel classes beside {num_known} known ones "
            f"with {num_samples} samples; wanted at least one novel class, and as many "
            "samples as known and novel classes together: set num_novel=<number>, or make the "
            "stage larger"
        )
    return int(told)
