"""Avalanche's training template, filled for stages: masked, seeded, one optimizer, no traces."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from contextlib import nullcontext
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from avalanche.training.templates import SupervisedTemplate
from torch import Tensor, nn
from torch.utils.data import BatchSampler

from cgcd.engine.batch import Batch
from cgcd.engine.batches import pass_batches, training_batches
from cgcd.engine.callbacks import ListenedCallbacks
from cgcd.engine.checkpoint import part_tensors
from cgcd.engine.counting import remember_classes
from cgcd.engine.kept_workers import KeptWorkers
from cgcd.engine.loading import EpochBatches
from cgcd.engine.precision import gradient_scaler
from cgcd.engine.processes import is_first, num_processes, own_number, take_from_first
from cgcd.engine.seeding import Draw, drawing, isolated_randomness, preserved_randomness
from cgcd.engine.shared_step import SharedStep, check_shared_plugins
from cgcd.engine.stock_plugins import check_watched, hand_over_rate, hold_all_rows
from cgcd.engine.warmup import WarmUp, warm_up
from cgcd.stages import Stage
from cgcd.vocabulary import InputError


class _NoLoss(float):
    """0.0 that the first term takes the place of, as (1,): adding to a tensor costs a step more."""

    def __iadd__(self, loss: Tensor) -> Tensor:
        return loss.reshape(1)


_NO_LOSS = _NoLoss()


class StageTemplate(ListenedCallbacks, SupervisedTemplate):
    """What happens around a method's own four places, in the order of Avalanche's callbacks.

    `DiscoveryStrategy` is the constructor, those places and the help for them.
    """

    _own_loader: Any
    _shared_step: SharedStep | None = None

    def train(self, experiences: Any, eval_streams: Any = None, **kwargs: Any) -> Any:
        """Train on a stage, or on several in order; see Avalanche."""
        kept = nullcontext() if self.keeper is None else self.keeper.stage(self)
        own = [own_number()] if own_number() else []  # of dropout and the like
        with isolated_randomness(self.seed, self.stage_index + 1, "stage", *own), kept:
            return super().train(
                experiences, [] if eval_streams is None else eval_streams, **kwargs
            )

    @torch.no_grad()
    def eval(self, experiences: Any, **kwargs: Any) -> Any:
        """Evaluate a stage or a stream; weights, memories and generators stay as they were.

        Raises:
            InputError: before the first stage.
        """
        if self.stage_index < 0:
            if self._eval_streams is not None:  # Avalanche's periodic evaluation comes that early
                return self.evaluator.get_last_metrics()
            raise InputError("there is no class to predict yet; call train() on stage 0 first")
        with preserved_randomness():
            return super().eval(experiences, **kwargs)

    def _before_training_exp(self, **kwargs: Any) -> None:
        self.stage_index += 1
        self.epoch = 0
        self._num_rows = self.model.num_classes
        experience, given = self.experience, self.model.inputs
        if is_stock := not isinstance(experience, Stage):
            experience = self.stock.adopt(experience, self.stage_index, given, self.num_views)
            self.report["stock_labels"] = self.stock_labels
        self.experience = experience.train()
        self.supervised = is_stock and self.stage_index > 0 and self.stock.shows(experience)
        self.finite.begin(self.stage_index, self._recipe_name)
        self.train_mb_size = self.recipe.batch_size
        self.train_epochs = self.recipe.epochs if self.takes_steps else 0
        super()._before_training_exp(**kwargs)

    def _train_exp(self, experience: Any, eval_streams: Any = None, **kwargs: Any) -> None:
        """The epochs of a stage, from where a broken run was."""
        if self.keeper is not None:
            self.keeper.begin(self)
        while self.epoch < self.train_epochs:
            self._before_training_epoch(**kwargs)
            if self._stop_training:
                self._stop_training = False
                break
            self.training_epoch(**kwargs)
            self._after_training_epoch(**kwargs)
            if self.keeper is not None:
                self.keeper.after_epoch(self)

    def _check_distributed_training_compatibility(self) -> bool:
        """Avalanche's place for it, before the first training or evaluation."""
        if num_processes() > 1:
            check_shared_plugins(self)
        return True

    @property
    def reads_own_batches(self) -> bool:
        """No plugin has put a loader in the place of ours."""
        return self.dataloader is self._own_loader

    def _before_eval_exp(self, **kwargs: Any) -> None:
        if not isinstance(self.experience, Stage):
            self.experience = self.stock.answers(self.experience, self.model.inputs)
        self.experience = self.experience.eval()
        super()._before_eval_exp(**kwargs)

    def _after_training_exp(self, **kwargs: Any) -> None:
        if self.takes_steps:
            self.finite.check_weights(self.model, self.clock.train_exp_iterations)
        self.model.eval()
        self.end_stage(self.experience)
        if self.counter is not None:
            remember_classes(self, self.experience)
        take_from_first(part_tensors(self))
        self.model.train()
        super()._after_training_exp(**kwargs)
        hold_all_rows(self.plugins, self.model.num_classes)
        self.trunks.forget(self.experience.dataset.eval())  # nobody asks for it again

    def make_train_dataloader(
        self,
        num_workers: int | None = None,
        pin_memory: bool | None = None,
        persistent_workers: bool = True,
        **kwargs: Any,
    ) -> None:
        if kwargs:
            raise InputError(f"train() does not know {sorted(kwargs)}")
        data = self.adapted_dataset
        if self.takes_steps and not self.recipe.steps(len(data)):
            raise InputError(
                f"stage {self.stage_index} holds {len(data)} samples, fewer than one batch of "
                f"{self.train_mb_size}; lower strategy.{self._recipe_name}.batch_size"
            )
        draw = Draw(seed=self.seed, stage=self.stage_index, num_views=self.num_views)
        labels = np.asarray(list(data.targets))
        self.batches = EpochBatches(
            labels, self.train_mb_size, draw, self.sampler, self.recipe.drop_last, shared=True
        )
        self.batches.epochs = self.train_epochs
        workers = self.workers
        if num_workers is not None or pin_memory is not None or not persistent_workers:
            workers = KeptWorkers(  # for this stage
                workers.count if num_workers is None else num_workers,
                workers.pin_memory if pin_memory is None else pin_memory,
            )
        self.dataloader = self._own_loader = training_batches(
            data,
            self.batches,
            device=self.device,
            workers=workers,
            generator=self.generator("loader"),
        )

    def make_eval_dataloader(self, **kwargs: Any) -> None:
        if kwargs:
            raise InputError(f"eval() does not know {sorted(kwargs)}")
        self.dataloader = self._plain_loader(self.adapted_dataset)
        self._kept_trunk = self.trunks.of(self.model.backbone, self.adapted_dataset)
        self._eval_order = iter(self._plain_order(self.adapted_dataset))

    def _plain_order(self, dataset: Any) -> list[list[int]]:
        """Places of the samples in order, batch by batch."""
        return list(BatchSampler(range(len(dataset)), self.eval_mb_size, drop_last=False))

    def _plain_loader(
        self, dataset: Any, batches: Sequence[list[int]] | None = None
    ) -> Iterable[Any]:
        order = self._plain_order(dataset) if batches is None else batches
        return pass_batches(
            dataset,
            order,
            device=self.device,
            workers=self.workers,
            generator=self.generator("loader"),
        )

    def check_model_and_optimizer(self, **kwargs: Any) -> None:
        """Begin the stage: grow, warm up where wanted, make the optimizer a new one."""
        if self.model.num_classes < self._num_rows:  # a plugin starts from an earlier model
            self.model.head.grow(self._num_rows, generator=self.generator("known rows"))
        self.num_known = self.model.num_classes
        mixed = self.stage_index == 0 and getattr(self.experience, "mixed", False)
        if mixed:
            self.num_base = self.num_known = self.num_labeled_classes(self.experience)
            if self.counter is not None:  # to count classes, features must mean something
                self.model.head.grow(self.num_base, generator=self.generator("head"))
                self._warm_up()
        self.begin_stage(self.experience)
        if self.stage_index == 0 and not mixed:
            self.num_base = self.model.num_classes
        if not (mixed and self.counter is not None):
            self._warm_up()
        self.model.train()
        scaler = gradient_scaler(self.model.backbone, self.device)
        self.staged.begin(self.model, self.recipe, scaler)
        check_watched(self.plugins, self._eval_streams or (), self._shown_labels)
        hand_over_rate(self.plugins, self.recipe, self.optimizer)
        self.optimized_param_id = dict(self.model.named_parameters())
        self._shared_step = SharedStep() if num_processes() > 1 else None

    @property
    def _shown_labels(self) -> Sequence[int]:
        """Labels that the strategy has seen, as its streams have them."""
        return self.stock.labels or range(self.num_base)

    def _warm_up(self) -> None:
        """The supervised start of stage 0, where the backbone needs one."""
        recipe = self.warm_up
        self.model.to(self.device)
        if self.stage_index > 0 or recipe is None:
            return
        if recipe.even_if_pretrained or not self.model.backbone.pretrained:
            if is_first():
                self._warmed_up(recipe)
            take_from_first(self.model.state_dict())

    def _warmed_up(self, recipe: WarmUp) -> None:
        """The warm-up itself, or what is stored of it."""
        if self.keeper is not None and self.keeper.take_start(self):
            return
        self.report["warm_up"] = warm_up(
            self.model,
            self.adapted_dataset,
            recipe,
            seed=self.seed,
            device=self.device,
            num_workers=self.num_workers,
        )
        if self.keeper is not None:
            self.keeper.keep_start(self)

    def model_adaptation(self, model: nn.Module | None = None) -> nn.Module:
        """Nothing grows outside `begin_stage`, so an evaluation cannot change the head."""
        return self.model if model is None else model

    def _before_training_epoch(self, **kwargs: Any) -> None:
        self.batches.epoch = self.epoch
        super()._before_training_epoch(**kwargs)

    def training_epoch(self, **kwargs: Any) -> None:
        """One pass; also what a plugin's own loader reads gets this epoch's views."""
        if self.keeper is not None:
            self.keeper.enter_epoch(self)
        with drawing(replace(self.batches.draw, epoch=self.epoch)):
            super().training_epoch(**kwargs)

    def _after_training_epoch(self, **kwargs: Any) -> None:
        self.finite.check()
        self.epoch += 1
        if self.recipe.schedule != "constant":  # a plugin may set the rate
            self.staged.scheduler.step()
        super()._after_training_epoch(**kwargs)

    def _unpack_minibatch(self) -> None:
        parts = self.mbatch
        if self.device.type != "cpu":
            parts = [part.to(self.device, non_blocking=True) for part in parts]
        images, labels, *rest = parts
        self._mb_ids = rest.pop(0) if len(rest) > 1 else None
        rest = rest or [torch.zeros_like(labels)]  # a stock data set without task labels
        views = images if images.dim() in (3, 5) else images.unsqueeze(1)
        if self.is_training and views.shape[1] < self.num_views:
            raise InputError(
                f"{type(self).__name__} needs {self.num_views} views of an image and got "
                f"{views.shape[1]}: build the stream with `scenarios`, or give its train transform "
                "as one that stacks views to (V, C, H, W)"
            )
        self._mb_views = views
        self.mbatch = [views.select(1, 0), labels, *rest]

    def forward(self) -> Tensor:
        if not self.is_training:
            self.mb_trunk = self._evaluated_trunk()
            return self.predict(self.mb_trunk)
        trunk = self.model.trunk_output(self._mb_views)
        if self._shared_step is not None:
            self._shared_loss = self._shared_step.loss(self, trunk)
        else:
            self.batch = Batch(trunk, self.outputs(trunk), self.mb_y, self._mb_ids)
        return self.batch.out.logits.select(1, 0)

    def _evaluated_trunk(self) -> Tensor:
        """Trunk output (B, ...) of the batch under evaluation, kept from an earlier pass or not."""
        kept, places = self._kept_trunk, next(self._eval_order, ())
        if kept is not None and kept.holds(places):
            return kept.output(places, self.device)
        output = self.model.trunk_output(self._mb_views)[:, 0]
        if kept is not None:
            kept.keep(places, output)
        return output

    def _make_empty_loss(self) -> Any:
        return _NO_LOSS

    def criterion(self) -> Tensor:
        if not self.is_training:  # a discovered category is no label
            return torch.zeros(1, device=self.device)
        return self.weighed_terms() if self._shared_step is None else self._shared_loss

    def weighed_terms(self) -> Tensor:
        """Weighed sum of the loss terms of the batch, each of which is looked at and kept."""
        terms = (self.supervised_losses if self.supervised else self.losses)(self.batch)
        loss = self.recipe.total(terms)
        self.terms = {name: term.detach() for name, term in terms.items()}
        self.finite.see(self.terms, loss, self.clock.train_exp_iterations)
        return loss

    def _after_training_iteration(self, **kwargs: Any) -> None:
        super()._after_training_iteration(**kwargs)
        if self.keeper is not None:
            self.keeper.after_step(self)
        self.batch = self.mb_output = None  # the graph goes while it is at hand
        self.loss = self.loss.detach()

    def backward(self) -> None:
        self.staged.backward(self.loss, self.retain_graph)

    def optimizer_step(self) -> None:
        self.staged.clip(self.recipe)
        self.staged.step()
