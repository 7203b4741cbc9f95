"""Happy's continual step beside the same step with three passes through the backbone.

    python tests/benchmarks/three_pass_step.py [--rounds N] [--steps N] [--pixels N]
    python tests/benchmarks/three_pass_step.py --device cuda --precision bf16 [--compile]

The released code runs the whole backbone for the student, again for the features that distillation
compares, and a third time for the teacher of the previous stage, without gradient. Ours runs the
frozen trunk once. Both take the same batches, losses, optimizer, threads and frozen parts, on which
nobody needs a gradient; the losses of both on one batch are compared first. An epoch of each takes
turns. Random weights, 12 blocks of which the last is trained; on a CPU ViT-S (width 384), batch
16 x 2 views of 96 pixels, one thread and seconds of the processor; on an accelerator ViT-B, batch
128 x 2 of 224 pixels and seconds of the clock. The three passes are always in float32.

Last, the rate of the trunk alone, from its counted operations, as a share of what a product of
large square matrices reaches in the same precision on the same machine.
"""

from __future__ import annotations

import argparse
import copy
from collections.abc import Iterator, Mapping
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
import torch
from _timing import Row, faster, hand_over
from _turns import BareLoop, Turns, clock
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

from cgcd.engine import Batch
from cgcd.losses import (
    cosine_cross_entropy,
    feature_distillation,
    group_entropy,
    info_nce,
    self_distillation,
)
from cgcd.models import GCDModel
from cgcd.models.execution import set_forward
from cgcd.stages import Sample, Stage, stage_dataset
from cgcd.vocabulary import UNLABELED, GCDOutput
from strategies import Happy
from strategies.happy import BASE, CONTINUAL

KNOWN, NOVEL = 2, 2
BARS = {"cpu": 2.4, "cuda": 6.0}
TRUNK_SHARE = 50.0  # percent of the matrix rate


def two_views(sample: Sample) -> Tensor:
    """The image and its mirror, (2, C, H, W)."""
    image = torch.as_tensor(sample.image)
    return torch.stack([image, image.flip(-1)])


class ThreePasses(BareLoop):
    """The released step: the whole backbone for every one of its three uses, in float32."""

    def __init__(self, strategy: Any, batches: Any) -> None:
        super().__init__(strategy, batches)
        self.student = self.model.backbone
        self.head, self.projection = self.model.head, self.model.projection
        self.teacher = copy.deepcopy(strategy.teacher.tail)
        self.student.compute_in("fp32")
        set_forward(self.teacher, "fp32", compiled=False)
        self.difference = self._difference(strategy)

    @torch.no_grad()
    def _difference(self, strategy: Happy) -> float:
        """Largest difference of a loss term from the strategy's own, on one batch."""
        views, labels, ids = next(iter(self.batches()))
        for happy in (self.twin, strategy):
            happy.draws.manual_seed(0)
        trunk = strategy.model.trunk_output(views)
        own = strategy.losses(Batch(trunk, strategy.model.from_trunk(trunk), labels, ids))
        ours = self.losses(views, labels, ids)
        return max(abs(float(own[name] - ours[name])) for name in own.keys() | ours.keys())

    def losses(self, views: Tensor, labels: Tensor, ids: Tensor) -> Mapping[str, Tensor]:
        happy, images, shape = self.twin, views.flatten(0, 1), views.shape[:2]
        features = self.student(images).unflatten(0, shape)
        out = GCDOutput(features, self.projection(features), self.head(features))
        replayed = happy.memory.sample(
            shape.numel(), happy.draws, happy.hardness_temperature, happy.radius_scale
        )
        again = self.student(images)
        with torch.no_grad():
            before = self.teacher(self.student.trunk(images))
        return {
            "self_distillation": self_distillation(
                out.logits, happy.teacher_temperature, happy.student_temperature
            ),
            **group_entropy(out.logits, happy.num_known, happy.student_temperature)._asdict(),
            "contrastive": info_nce(out.projections),
            "prototype_replay": cosine_cross_entropy(
                self.head(replayed.features), replayed.classes, happy.student_temperature
            ),
            "feature_distillation": feature_distillation(again, before),
        }


class Prepared(Turns):
    """Turns whose batches lie on the device before the first step, for both sides alike."""

    bare: ThreePasses

    def __init__(self, batches: list[list[Tensor]], **more: Any) -> None:
        super().__init__(lambda strategy: ThreePasses(strategy, self.prepared), **more)
        self.batches = batches

    def prepared(self) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
        for views, labels, ids, _ in self.batches:
            yield views, labels, ids

    def before_training_exp(self, strategy: Any, **kwargs: Any) -> None:
        if strategy.stage_index == self.stage:
            strategy.dataloader = self.batches


def measured(given: argparse.Namespace) -> tuple[Prepared, Happy]:
    """A base stage of one epoch, then `rounds` epochs of the continual stage beside the loop."""
    device, count = torch.device(given.device), given.batch * given.steps
    torch.manual_seed(0)
    model = GCDModel(given.backbone, input_size=given.pixels)
    model.backbone.compute_in(given.precision, compiled=given.compile)
    images = np.random.default_rng(0).standard_normal(
        (max(count, 2 * KNOWN), *model.inputs.shape), dtype=np.float32
    )
    rows = np.arange(len(images))

    def stage(index: int, labels: np.ndarray, num_novel: int | None) -> Stage:
        dataset = stage_dataset(
            images,
            rows[: len(labels)],
            labels,
            train_transform=two_views,
            eval_transform=lambda sample: torch.as_tensor(sample.image),
        )
        return Stage(dataset, index, num_novel)

    labels, tasks = (torch.full((given.batch,), value) for value in (UNLABELED, 0))
    batches = []
    for first in range(0, count, given.batch):
        ids = torch.arange(first, first + given.batch)
        views = torch.stack([two_views(Sample(images[i], i)) for i in ids.tolist()])
        batches.append([part.to(device) for part in (views, labels, ids, tasks)])
    turns = Prepared(batches, stage=1)
    optimizer = partial(torch.optim.SGD, lr=1e-3, momentum=0.9, weight_decay=5e-5)
    strategy = Happy(
        model=model,
        base=replace(BASE, epochs=1, batch_size=2 * KNOWN, optimizer=optimizer),
        continual=replace(
            CONTINUAL, epochs=given.rounds + 1, batch_size=given.batch, optimizer=optimizer
        ),
        eval_batch_size=given.batch,
        device=device,
        plugins=[turns],
    )
    strategy.train(stage(0, np.arange(2 * KNOWN) % KNOWN, None))
    strategy.train(stage(1, np.full(count, UNLABELED), NOVEL))
    return turns, strategy


def trunk_rate(strategy: Happy, views: Tensor, rounds: int) -> list[float]:
    """Operations a second of the trunk on a batch, one a round; a product and a sum are two."""
    counter = FlopCounterMode(display=False)
    with counter:
        strategy.model.trunk_output(views)
    return [
        counter.get_total_flops() / seconds
        for seconds in timed(lambda: strategy.model.trunk_output(views), views.device, rounds)
    ]


def matrix_rate(device: torch.device, dtype: torch.dtype, rounds: int) -> list[float]:
    """The same of a product of two square matrices."""
    side = 8192 if device.type == "cuda" else 1024
    a, b = (torch.randn(side, side, device=device, dtype=dtype) for _ in range(2))
    return [2 * side**3 / seconds for seconds in timed(lambda: a @ b, device, rounds)]


def timed(run: Any, device: torch.device, rounds: int, calls: int = 3) -> list[float]:
    """Seconds a call, one a round, after a call that does not count."""
    run()
    found = []
    for _ in range(rounds):
        started = clock(device)
        for _ in range(calls):
            run()
        found.append((clock(device) - started) / calls)
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--steps", type=int, default=2, help="of a round")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--precision", default="fp32", choices=["fp32", "bf16"])
    parser.add_argument("--compile", action="store_true", help="ours, not the three passes")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--backbone", help="of timm, with 12 blocks")
    parser.add_argument("--batch", type=int)
    parser.add_argument("--pixels", type=int)
    given = parser.parse_args()
    small = given.device == "cpu"
    given.backbone = given.backbone or f"vit_{'small' if small else 'base'}_patch16_224"
    given.batch = given.batch or (16 if small else 128)
    given.pixels = given.pixels or (96 if small else 224)
    torch.set_num_threads(given.threads)

    turns, strategy = measured(given)
    case = f"{given.backbone}, batch {given.batch} x 2, {given.pixels} px, {given.device}"
    how = f"{case}, {given.precision}{', compiled' * given.compile}"
    print(f"{case}; largest difference of a loss term {turns.bare.difference:.1e}")
    row = faster(
        f"Happy step, {how}",
        turns.framework,
        turns.loop,
        "three passes, fp32",
        bar=BARS[torch.device(given.device).type],
    )
    print(hand_over(row), flush=True)
    views = next(iter(turns.bare.batches()))[0]
    dtype = torch.bfloat16 if given.precision == "bf16" else torch.float32
    trunk = trunk_rate(strategy, views, given.rounds)
    matrix = matrix_rate(views.device, dtype, given.rounds)
    share = Row(
        f"trunk, {how}",
        (100 * np.array(trunk) / np.median(matrix)).tolist(),
        "%",
        *(f"{np.median(rate) / 1e12:.3g} Tflop/s" for rate in (trunk, matrix)),
        "product of large matrices",
        TRUNK_SHARE if not small and given.precision == "bf16" else None,
        at_least=True,
    )
    print(hand_over(share))


if __name__ == "__main__":
    main()
