"""What the framework costs a training step on embeddings, beside a bare PyTorch loop.

    python tests/benchmarks/embedding_step.py [blocks] [steps]

Two strategies train on random vectors of width 768 at batch 256, two views each: Happy's base stage
on an adapter, and one linear term on a tiny one, whose step is the cheaper to compare.
A step of the strategy, callbacks, loss terms and console logger included, and one of a bare loop
with the same model, losses, optimizer and gather take turns on one thread. Prints medians over
blocks of steps, which are the strategy's epochs, in µs a step of process CPU time; the overhead is
the median of their differences.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping
from functools import partial
from typing import Any

import numpy as np
import torch
from _timing import hand_over, overhead
from _turns import BareLoop, Turns
from torch import Tensor

from cgcd.cli.freed_memory import keep_freed_memory
from cgcd.engine import Batch, DiscoveryStrategy, Recipe, discovery_evaluator
from cgcd.models import Adapter, GCDModel
from cgcd.stages import Stage, stage_dataset
from cgcd.tracking.console import ConsoleProgress
from scenarios.features import NoisyViews, VectorView
from strategies import Happy, happy

WIDTH, BATCH, CLASSES = 768, 256, 50
MOST = 150  # µs


class Linear(DiscoveryStrategy):
    """One term that costs next to nothing."""

    def begin_stage(self, stage: Stage) -> None:
        self.model.head.grow(self.num_labeled_classes(stage), generator=self.generator("head"))

    def losses(self, batch: Batch) -> Mapping[str, Tensor]:
        return {"linear": batch.out.logits.mean()}


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
    shown = torch.from_numpy(labels)
    draws = torch.Generator().manual_seed(0)

    def batches() -> Iterator[tuple[Tensor, Tensor, Tensor]]:
        for rows in torch.randperm(len(unit), generator=draws).split(BATCH):
            yield unit[rows].unsqueeze(1).repeat(1, 2, 1), shown[rows], rows

    turns = Turns(lambda strategy: BareLoop(strategy, batches), warm=2, by_step=True)
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
    keep_freed_memory()
    optimizer = partial(torch.optim.SGD, lr=1e-3, momentum=0.9, weight_decay=5e-5)
    common: dict[str, Any] = {"epochs": blocks, "batch_size": BATCH, "optimizer": optimizer}
    print(f"batch {BATCH}, width {WIDTH}, {blocks} blocks of {steps} steps; µs a step")
    print(f"{'':14}{'framework':>10}{'bare loop':>10}{'overhead':>10}")
    for name, kind, recipe, hidden in (
        ("Happy", Happy, Recipe(**common, weights=happy.BASE.weights), 256),
        ("one term", Linear, Recipe(**common, weights={"linear": 1.0}), 16),
    ):
        turns = measured(kind, recipe, hidden, steps)
        row = overhead(
            f"step on embeddings, {name}, batch {BATCH}",
            turns.framework,
            turns.loop,
            "bare loop",
            unit="µs",
            scale="µs",
            bar=MOST,
        )
        ours, bare = (float(np.median(side)) * 1e6 for side in (turns.framework, turns.loop))
        print(f"{name:14}{ours:10.0f}{bare:10.0f}{hand_over(row).median:10.0f}", flush=True)


if __name__ == "__main__":
    numbers = [int(argument) for argument in sys.argv[1:3]]
    main(*(numbers + [100, 32][len(numbers) :]))
