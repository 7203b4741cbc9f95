"""The template of a strategy that answers a stream: learn the known classes once, then never again.

Ids are a function of the codes in their order, be these hash codes or features. So that a code does
not depend on company either, every forward pass outside training has the same number of inputs,
padded where there are fewer.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterator, Sequence
from typing import ClassVar, Generic, Protocol, TypeVar

import numpy as np
import torch
from avalanche.core import BasePlugin
from avalanche.training.plugins import EvaluationPlugin
from torch import Tensor

from cgcd.engine.baselines import Baselines
from cgcd.engine.optimization import Recipe
from cgcd.engine.strategy import DiscoveryStrategy
from cgcd.engine.warmup import WarmUp
from cgcd.memory import Assignment, CategoryBook
from cgcd.models import GCDModel
from cgcd.stages import Stage
from cgcd.vocabulary import GCDOutput, InputError

Book = TypeVar("Book", bound=CategoryBook)


class Leader(Protocol):
    """Leader clustering that nobody trained, the floor beside a method."""

    @property
    def book(self) -> CategoryBook:
        """What it answers from."""

    def rows(self, trunk: Tensor) -> np.ndarray:
        """What its book takes of trunk outputs (B, ...)."""


class OnlineStrategy(DiscoveryStrategy, Generic[Book]):
    """Trains on labeled known classes, then gives each sample of a stream an id, at once, for ever.

    A method fills `begin_stage`, `losses` and `end_stage` (of stage 0, the only one that trains),
    `encode`, `book_rows`, `new_book`, `new_leader` and `predict`, the classifier of the known
    classes alone: it is what the closed-set bound is made of, and what an Avalanche `eval`
    measures.

    Args:
        model: the shared model; what a method adds lies in `model.extras`.
        base: recipe of the labeled stage.
        warm_up: supervised start of a backbone that is not pretrained; None for none.
        seed: of all draws, >= 0.
        eval_batch_size: images a step without gradient that answers nothing.
        observe_batch_size: inputs of every forward pass that answers; fewer are padded. Small: an
            answer comes fast; large: many answers do.
        num_workers: processes that load images.
        stock_labels: see `DiscoveryStrategy`.
        device: where the model lives.
        plugins: Avalanche plugins.
        evaluator: Avalanche evaluation plugin.
        eval_every: epochs between evaluations inside training; -1 for none.

    Attributes:
        book: what the stream is answered from; None until the first sample.
    """

    settings: ClassVar[frozenset[str]] = frozenset({"online"})

    def __init__(
        self,
        *,
        model: GCDModel,
        base: Recipe,
        warm_up: WarmUp | None = None,
        seed: int = 0,
        eval_batch_size: int = 256,
        observe_batch_size: int = 32,
        num_workers: int = 0,
        stock_labels: str = "mask",
        device: str | torch.device = "cpu",
        plugins: Sequence[BasePlugin] | None = None,
        evaluator: EvaluationPlugin | None = None,
        eval_every: int = -1,
    ) -> None:
        if observe_batch_size < 1:
            raise InputError(f"observe_batch_size is {observe_batch_size}; wanted at least 1")
        super().__init__(
            model=model,
            base=base,
            continual=base,
            warm_up=warm_up,
            seed=seed,
            eval_batch_size=eval_batch_size,
            num_workers=num_workers,
            stock_labels=stock_labels,
            device=device,
            plugins=plugins,
            evaluator=evaluator,
            eval_every=eval_every,
        )
        self.observe_batch_size = observe_batch_size
        self.book: Book | None = None

    # ---------------------------------------------------------------- what a method fills

    @abstractmethod
    def encode(self, trunk: Tensor) -> Tensor:
        """Real codes (B, L) of trunk outputs (B, ...)."""

    @abstractmethod
    def book_rows(self, codes: Tensor) -> np.ndarray:
        """What the book takes of real codes (B, L), one row each.

        Raises:
            InputError: if a code is not finite.
        """

    @abstractmethod
    def new_book(self) -> Book:
        """The book at the start of a stream, after training."""

    @abstractmethod
    def new_leader(self, baselines: Baselines) -> Leader:
        """The floor beside the method, at the start of a stream."""

    @abstractmethod
    def predict(self, trunk: Tensor) -> Tensor:
        """Scores (B, K) of the known classes alone, for trunk outputs (B, ...)."""

    def begin_stage(self, stage: Stage) -> None:
        """Give the shared head, which the warm-up trains, a row a known class."""
        if self.stage_index > 0:
            raise InputError(
                f"{type(self).__name__} trains on the labeled stage only; give the stream to "
                "observe(), or to run_stages"
            )
        self.model.head.grow(self.num_labeled_classes(stage), generator=self.generator("head"))

    # ---------------------------------------------------------------- answers

    def observe(self, inputs: Tensor) -> Assignment:
        """Answer one input or a batch in its order, and remember the categories it opens.

        Args:
            inputs: under the evaluation transform, (B, C, H, W) or (B, D), or one without B.

        Raises:
            InputError: before the base stage, or if an input has another shape than the model's,
                or it or its code is not finite.
        """
        rows = self.book_rows(self.codes(inputs))
        if self.book is None:
            self.book = self.new_book()
        return self.book.observe(rows)

    def look_up(self, inputs: Tensor) -> Assignment:
        """As `observe`, but nothing is remembered; -1 for what would open a category."""
        rows = self.book_rows(self.codes(inputs))
        return (self.new_book() if self.book is None else self.book).look_up(rows)

    @torch.no_grad()
    def codes(self, inputs: Tensor) -> Tensor:
        """Real codes (B, L) of inputs as in `observe`; the same alone and in any company."""
        width = len(self.model.inputs.shape)
        batch = inputs if inputs.dim() > width else inputs.unsqueeze(0)
        if tuple(batch.shape[1:]) != self.model.inputs.shape:
            raise InputError(
                f"an input has the shape {tuple(batch.shape[1:])}; the model takes "
                f"{self.model.inputs.shape}: use the evaluation transform of the run"
            )
        if not batch.isfinite().all():
            raise InputError(
                "an input holds nan or an infinite number; leave it out or compute it again"
            )
        return torch.cat(
            [self.encode(trunk)[:count].cpu() for trunk, count in self.fixed_batches(batch)]
        )

    @torch.no_grad()
    def fixed_batches(self, inputs: Tensor) -> Iterator[tuple[Tensor, int]]:
        """Trunk outputs of `observe_batch_size` inputs each, and how many are no padding.

        Raises:
            InputError: before the base stage.
        """
        if self.stage_index < 0:
            raise InputError("there is no class to answer with yet; call train() on stage 0 first")
        self.model.eval()
        size = self.observe_batch_size
        for part in inputs.split(size):
            padding = part.new_zeros(size - len(part), *part.shape[1:])
            full = torch.cat([part, padding]).to(self.device, non_blocking=True)
            yield self.model.backbone.trunk(full), len(part)

    # ---------------------------------------------------------------- the engine's side

    def outputs(self, trunk: Tensor) -> GCDOutput:
        """Features and logits; the shared projection head takes no part."""
        features = self.model.backbone.tail(trunk.flatten(0, 1)).unflatten(0, trunk.shape[:2])
        return GCDOutput(
            features, features.new_empty(*trunk.shape[:2], 0), self.model.head(features)
        )


def finite_codes(codes: Tensor) -> Tensor:
    """Real codes (B, L) as they are.

    Raises:
        InputError: if a value is not finite, for then it says nothing.
    """
    finite = codes.isfinite().all(-1)
    if not finite.all():
        raise InputError(
            f"{int((~finite).sum())} of {len(codes)} codes hold nan or an infinite number: an "
            "input does, or training diverged; mend the input, or train with a lower learning rate"
        )
    return codes
