"""PHE's schedule against the published check values, and batches that keep their last part."""

from __future__ import annotations

from functools import partial

import numpy as np
import pytest
import torch

from cgcd.engine import Recipe, WarmedCosine
from cgcd.engine.loading import EpochBatches
from cgcd.engine.optimization import StagedOptimizer
from cgcd.engine.seeding import Draw
from cgcd.vocabulary import InputError

ADAM = partial(torch.optim.AdamW, lr=1e-3)


@pytest.mark.parametrize(
    ("epoch", "backbone", "others"),
    [
        (0, 1e-4, 1e-4),
        (1, 1e-4, 1e-4),
        (2, 1e-4, 2.8e-4),
        (6, 9.986e-5, 9.985e-4),
        (100, 5.571e-5, 5.128e-4),
        (199, 1.0022e-5, 1.0244e-5),
    ],
)
def test_rates_of_the_released_code(epoch, backbone, others):
    schedule = WarmedCosine()
    assert schedule.rate(1e-4, epoch, 200) == pytest.approx(backbone, rel=1e-4)
    assert schedule.rate(1e-3, epoch, 200) == pytest.approx(others, rel=1e-3)


def test_every_group_has_its_own_rates():
    net = torch.nn.Sequential(torch.nn.Linear(2, 2), torch.nn.Linear(2, 2))
    named = list(net.named_parameters())
    groups = [{"params": named[:2], "lr": 1e-4}, {"params": named[2:]}]
    recipe = Recipe(epochs=20, batch_size=4, optimizer=ADAM, schedule=WarmedCosine())
    staged = StagedOptimizer(net, recipe, groups)
    staged.begin(net, recipe)
    for epoch in range(20):
        rates = [group["lr"] for group in staged.optimizer.param_groups]
        assert rates == pytest.approx([recipe.schedule.rate(lr, epoch, 20) for lr in (1e-4, 1e-3)])
        staged.optimizer.step()
        staged.scheduler.step()


def test_negative_numbers_are_refused():
    with pytest.raises(InputError, match="below 0"):
        WarmedCosine(final_lr=-1.0)


@pytest.mark.parametrize(
    ("count", "drop_last", "sizes"),
    [
        (10, True, [4, 4]),
        (10, False, [4, 4, 2]),
        (9, False, [4, 4]),
        (3, False, [3]),
        (3, True, []),
    ],
)
def test_the_last_batch(count, drop_last, sizes):
    batches = EpochBatches(np.zeros(count), 4, Draw(), drop_last=drop_last)
    assert [len(batch) for batch in batches] == sizes
    assert len(batches) == len(sizes)
    recipe = Recipe(epochs=1, batch_size=4, optimizer=ADAM, drop_last=drop_last)
    assert recipe.steps(count) == len(sizes)
