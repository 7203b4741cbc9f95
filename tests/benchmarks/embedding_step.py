"""What the framework costs a training step on embeddings, beside a bare PyTorch loop.

    python tests/benchmarks/embedding_step.py [blocks] [steps]

Two strategies train on random vectors of width 768 at batch 256, two views each: Happy's base stage
on an adapter, and one linear term on a tiny one, whose step is the cheaper to compare.
An epoch of the strategy, callbacks, loss terms and console logger included, and as many steps of a
bare loop with the same model, losses, optimizer and gather take turns on one thread. Prints medians
over the epochs, in µs a step of process CPU time; the overhead is the median of their differences.
"""

from __future__ import annotations

import copy
import sys
import time
from collections.abc import Mapping
from functools import partial
from typing import Any

import numpy as np
import torch
from avalanche.training.plugins import SupervisedPlugin
from torch import Tensor

from cgcd.engine import Batch, DiscoveryStrategy, Recipe, discovery_evaluator
from cgcd.engine.optimization import parameter_groups
from cgcd.models import Adapter, GCDModel
from cgcd.stages import Stage, stage_dataset
from cgcd.tracking.console import ConsoleProgress
from scenarios.features import NoisyViews, VectorView
from strategies import Happy, happy

WIDTH, BATCH, CLASSES = 768, 256, 50


class Linear(DiscoveryStrategy):
    """One term that costs next to nothing."""

    def begin_stage(self, stage: Stage) -> None:
        self.model.head.grow(self.num_labeled_classes(stage), generator=self.generator("head"))

    def losses(self, batch: Batch) -> Mapping[str, Tensor]:
        return {"linear": batch.out.logits.mean()}


class Turns(SupervisedPlugin):
    """After each epoch of the strategy, the same number of steps of a bare loop."""

    def __init__(self, vectors: Tensor, labels: Tensor, warm: int) -> None:
        super().__init__()
        self.vectors, self.labels, self.warm = vectors, labels, warm
        self.framework: list[float] = []
        self.bare: list[float] = []

    def before_training_epoch(self, strategy: Any, **kwargs: Any) -> None:
        self.steps = strategy.clock.train_iterations
        self.started = time.process_time()

    def after_training_epoch(self, strategy: Any, **kwargs: Any) -> None:
        now = time.process_time()
        steps = strategy.clock.train_iterations - self.steps
        self.framework.append((now - self.started) / steps)
        if len(self.framework) == 1:
            own = strategy.model
            strategy.model = self.model = copy.deepcopy(own)
            self.twin = copy.copy(strategy)  # the same losses on the copy
            strategy.model = own
            self.optimizer = strategy.recipe.optimizer(
                [
                    {**group, "params": [p for _, p in group["params"]]}
                    for group in parameter_groups(self.model)
                    if group["params"]
                ]
            )
            self.generator = torch.Generator().manual_seed(0)
        started = time.process_time()
        order = torch.randperm(len(self.vectors), generator=self.generator)
        for start in range(0, steps * BATCH, BATCH):
            self.step(order[start : start + BATCH])
        self.bare.append((time.process_time() - started) / steps)

    def step(self, rows: Tensor) -> None:
        views = self.vectors[rows].unsqueeze(1).repeat(1, 2, 1)
        labels = self.labels[rows]
        trunk = self.model.trunk_output(views)
        out = self.model.from_trunk(trunk)
        terms = self.twin.losses(Batch(trunk, out, labels, rows))
        self.optimizer.zero_grad()
        self.twin.recipe.total(terms).backward()
        self.optimizer.step()

    def row(self) -> tuple[float, float, float]:
        ours, bare = np.array([self.framework, self.bare])[:, self.warm :] * 1e6
        return float(np.median(ours)), float(np.median(bare)), float(np.median(ours - bare))


def measured(kind: type[DiscoveryStrategy], base: Recipe, hidden: int, steps: int) -> Turns:
    generator = np.random.default_rng(0)
    vectors = generator.standard_normal((steps * BATCH, WIDTH)).astype(np.float32)
    labels = np.arange(len(vectors)) % CLASSES
    view = VectorView()
    dataset = stage_dataset(
        vectors,
        np.arange(len(vectors)),
        labels,
        train_transform=NoisyViews(view),
        eval_transform=view,
    )
    stage = Stage(dataset, 0, None)
    torch.manual_seed(0)
    model = GCDModel(
        Adapter(WIDTH, hidden),
        tail_units="all",
        projection_hidden=hidden,
        projection_dim=64,
    )
    unit = torch.from_numpy(vectors / np.linalg.norm(vectors, axis=1, keepdims=True))
    turns = Turns(unit, torch.from_numpy(labels), warm=2)
    kind(
        model=model,
        base=base,
        continual=base,
        plugins=[turns],
        evaluator=discovery_evaluator(loggers=[ConsoleProgress(terminal=False)]),
    ).train(stage)
    return turns


def main(blocks: int, steps: int) -> None:
    torch.set_num_threads(1)
    optimizer = partial(torch.optim.SGD, lr=1e-3, momentum=0.9, weight_decay=5e-5)
    common: dict[str, Any] = {"epochs": blocks, "batch_size": BATCH, "optimizer": optimizer}
    print(f"batch {BATCH}, width {WIDTH}, {blocks} turns of {steps} steps; µs a step")
    print(f"{'':14}{'framework':>10}{'bare loop':>10}{'overhead':>10}")
    for name, kind, recipe, hidden in (
        ("Happy", Happy, Recipe(**common, weights=happy.BASE.weights), 256),
        ("one term", Linear, Recipe(**common, weights={"linear": 1.0}), 16),
    ):
        ours, bare, overhead = measured(kind, recipe, hidden, steps).row()
        print(f"{name:14}{ours:10.0f}{bare:10.0f}{overhead:10.0f}", flush=True)


if __name__ == "__main__":
    numbers = [int(argument) for argument in sys.argv[1:3]]
    main(*(numbers + [40, 10][len(numbers) :]))
