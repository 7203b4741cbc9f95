"""What the framework costs a training step on embeddings, beside a bare PyTorch loop.

    python tests/benchmarks/embedding_step.py [--processes N] [--blocks N] [--steps N]

Two strategies train on random vectors of width 768 at batch 256, two views each: Happy's base stage
on an adapter, and one linear term on a tiny one, whose step is the cheaper to compare.
A step of the strategy, callbacks, loss terms and console logger included, and one of a bare loop
with the same model, losses, optimizer and gather take turns on one thread. A process gives the
median difference over its blocks of steps, which are the strategy's epochs, in µs a step of process
CPU time; several processes are asked, for where a process's memory happens to lie makes one of the
two sides up to a hundredth quicker.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from collections.abc import Iterator, Mapping
from functools import partial

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


CASES: dict[str, tuple[type[DiscoveryStrategy], Mapping[str, float], int]] = {
    "Happy": (Happy, happy.BASE.weights, 256),
    "one term": (Linear, {"linear": 1.0}, 16),
}
"""Strategy, weights of its loss terms, and hidden width of the adapter."""


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


def in_a_process(name: str, blocks: int, steps: int) -> tuple[float, float]:
    """Seconds of a step of the bare loop, and what the framework's takes more, by median."""
    command = [sys.executable, __file__, "--of", name, "--blocks", str(blocks)]
    done = subprocess.run(
        [*command, "--steps", str(steps)], stdout=subprocess.PIPE, text=True, check=True
    )
    loop, more = json.loads(done.stdout.splitlines()[-1])
    return loop, more


def here(name: str, blocks: int, steps: int) -> tuple[float, float]:
    """What `in_a_process` gives, measured in this one."""
    torch.set_num_threads(1)
    keep_freed_memory()
    kind, weights, hidden = CASES[name]
    optimizer = partial(torch.optim.SGD, lr=1e-3, momentum=0.9, weight_decay=5e-5)
    recipe = Recipe(epochs=blocks, batch_size=BATCH, optimizer=optimizer, weights=weights)
    turns = measured(kind, recipe, hidden, steps)
    ours, loop = np.asarray(turns.framework), np.asarray(turns.loop)
    return float(np.median(loop)), float(np.median(ours - loop))


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--processes", type=int, default=5)
    parser.add_argument("--blocks", type=int, default=20)
    parser.add_argument("--steps", type=int, default=32)
    parser.add_argument("--of", choices=CASES, help="measure one in this process")
    given = parser.parse_args()
    sizes = given.blocks, given.steps
    if given.of:
        print(json.dumps(here(given.of, *sizes)))
        return
    for name in CASES:
        found = [in_a_process(name, *sizes) for _ in range(given.processes)]
        row = overhead(
            f"step on embeddings, {name}, batch {BATCH}",
            [loop + more for loop, more in found],
            [loop for loop, _ in found],
            "bare loop",
            unit="µs",
            scale="µs",
            bar=MOST,
        )
        print(hand_over(row), flush=True)


if __name__ == "__main__":
    main()
