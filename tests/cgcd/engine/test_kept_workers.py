"""Processes that read samples: what they give is what one process gives, and they stay."""

from __future__ import annotations

import os
from typing import Any

import numpy as np
import torch
from torch.utils.data import BatchSampler, DataLoader

from cgcd.engine import half_labeled
from cgcd.engine.batches import pass_batches, training_batches
from cgcd.engine.kept_workers import KeptWorkers, PassSamples, TrainingSamples
from cgcd.engine.loading import DrawnViews, EpochBatches
from cgcd.engine.seeding import Draw, current_draw
from cgcd.stages import Sample, stage_dataset

LABELS = np.where(np.arange(12) % 3, -1, np.arange(12) % 2)
CPU = torch.device("cpu")


class Drawn:
    """Says who made it, of what, and under which draw."""

    def __call__(self, sample: Sample) -> torch.Tensor:
        draw = current_draw()
        facts = [os.getpid(), sample.image, sample.id, draw.stage, draw.epoch, draw.repeat]
        return torch.tensor([facts] * draw.num_views)


class Plain:
    """Says who made it and of what."""

    def __call__(self, sample: Sample) -> torch.Tensor:
        return torch.tensor([os.getpid(), sample.image, sample.id])


def stages() -> list[Any]:
    images, views = [7 * number for number in range(40)], (Drawn(), Plain())
    return [
        stage_dataset(images, rows, LABELS, train_transform=views[0], eval_transform=views[1])
        for rows in (np.arange(12), np.arange(39, 27, -1))
    ]


def read(batches: Any) -> tuple[list[list[torch.Tensor]], set[int]]:
    """Batches without the process, and the processes."""
    found = [list(batch) for batch in batches]
    makers = {pid for batch in found for pid in batch[0][..., 0].flatten().tolist()}
    return [[batch[0][..., 1:], *batch[1:]] for batch in found], makers


def assert_equal(one: list[list[torch.Tensor]], other: list[list[torch.Tensor]]) -> None:
    for ours, theirs in zip(one, other, strict=True):
        assert all(torch.equal(*pair) for pair in zip(ours, theirs, strict=True))


def test_they_give_what_one_process_gives_and_stay_over_the_stages() -> None:
    workers, seen = KeptWorkers(2, False), []
    for number, data in enumerate(stages()):
        batches = EpochBatches(LABELS, 5, Draw(seed=1, stage=number), half_labeled, False)
        made = training_batches(
            data.train(), batches, device=CPU, workers=workers, generator=torch.Generator()
        )
        assert isinstance(made, TrainingSamples) and len(made) == 3
        for batches.epoch in (0, 4):
            ours, makers = read(made)
            assert_equal(
                ours,
                read(DataLoader(DrawnViews(data.train(), batches.draw), batch_sampler=batches))[0],
            )
            seen.append(makers)
        order = BatchSampler(range(12), 5, drop_last=False)
        passed = pass_batches(
            data.eval(), order, device=CPU, workers=workers, generator=torch.Generator()
        )
        assert isinstance(passed, PassSamples) and len(passed) == 3
        ours, makers = read(passed)
        assert_equal(ours, read(DataLoader(data.eval(), batch_sampler=order))[0])
        seen.append(makers)
    assert all(len(makers) == 2 and os.getpid() not in makers for makers in seen)
    assert seen[0] == seen[1] != seen[2] == seen[3] == seen[4] == seen[5]  # one view more, once


def test_who_breaks_off_or_asks_in_between_disturbs_nobody() -> None:
    workers, data = KeptWorkers(1, False), stages()[0].eval()
    order = BatchSampler(range(12), 2, drop_last=False)

    def passed() -> Any:
        return pass_batches(data, order, device=CPU, workers=workers, generator=torch.Generator())

    whole, makers = read(passed())
    first = iter(passed())
    outer = [next(first)]
    between, others = read(passed())
    assert_equal(between, whole)
    assert others.isdisjoint(makers)
    del first
    assert outer[0][0][0, 0].item() in makers
    again, kept = read(passed())
    assert_equal(again, whole)
    assert kept == makers


def test_without_processes_nobody_is_asked() -> None:
    data = stages()[0].eval()
    made = pass_batches(
        data,
        BatchSampler(range(12), 5, drop_last=False),
        device=CPU,
        workers=KeptWorkers(0, False),
        generator=torch.Generator(),
    )
    assert isinstance(made, DataLoader) and read(made)[1] == {os.getpid()}
