"""What the framework costs a step of the digits ViT, beside a bare PyTorch loop.

    python tests/benchmarks/framework_step.py [--rounds N] [--batch N]

Happy's base stage on the digits of `cgcd run model=vit_digits`, with its views, console and
TensorBoard. An epoch of it and an epoch of a bare loop take turns, products on one thread: the same
images under the same random views, then the same model, losses and optimizer. The strategy makes
the next batch in a second thread, the bare loop each before its step. By the clock, on an idle
machine, and, with no bar, in seconds of the processor, where the two threads slow each other down;
medians over the epochs. Memory is kept as every command keeps it.
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Iterator
from itertools import count
from pathlib import Path

import numpy as np
import torch
from _timing import Row, hand_over, overhead
from _turns import BareLoop, Turns
from torch import Tensor

from cgcd.cli.configs import compose_run
from cgcd.cli.freed_memory import keep_freed_memory
from cgcd.cli.parts import Parts
from cgcd.engine.seeding import Draw
from scenarios.digits import read_digits
from scenarios.views import PilImages, RandomAffine, RandomCrop, TrainViews

MOST = 3.0  # percent


def measured(batch: int, rounds: int, folder: Path) -> list[Row]:
    config, _ = compose_run(
        [
            "model=vit_digits",
            "torch_threads=1",
            "baselines=false",
            "analysis=false",
            "strategy.warm_up=null",
            f"strategy.base.batch_size={batch}",
            f"strategy.base.epochs={rounds + 1}",
        ]
    )
    parts = Parts.build(config, folder)
    stage = parts.scenario.train_stream[0]
    images = PilImages(np.asarray(read_digits().train_images))
    view = TrainViews(parts.model.inputs, (RandomAffine(), RandomCrop()))
    rows, labels = torch.tensor(list(stage.dataset.sample_id)), torch.from_numpy(stage.labels)
    epochs = count()

    def batches() -> Iterator[tuple[Tensor, Tensor, Tensor]]:
        epoch = next(epochs)
        order = torch.randperm(len(rows), generator=torch.Generator().manual_seed(epoch))
        for places in order[: len(rows) // batch * batch].split(batch):
            ids = rows[places]
            pixels = [images.resized(i, view.spec) for i in ids.tolist()]
            draw, again = Draw(epoch=epoch), [0] * batch
            views = view.drawn(pixels, ids.tolist(), draw, again, places.device)
            yield views, labels[places], ids

    turns = Turns(lambda strategy: BareLoop(strategy, batches))
    parts.strategy.plugins.append(turns)
    parts.strategy.train(stage)
    name = f"step of the digits ViT, batch {batch} x 2"
    return [
        overhead(
            name,
            turns.framework_elapsed,
            turns.loop_elapsed,
            "bare loop",
            unit="%",
            bar=MOST,
        ),
        overhead(
            f"{name}, seconds of the processor", turns.framework, turns.loop, "bare loop", unit="%"
        ),
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--rounds", type=int, default=12, help="epochs of 15 steps")
    parser.add_argument("--batch", type=int, default=32)
    given = parser.parse_args()
    keep_freed_memory()
    with tempfile.TemporaryDirectory() as folder:
        for row in measured(given.batch, given.rounds, Path(folder)):
            print(hand_over(row), flush=True)


if __name__ == "__main__":
    main()
