"""Recipes, parameter groups and the one optimizer of a run."""

from __future__ import annotations

from functools import partial

import pytest
import torch

from cgcd.engine import Recipe, parameter_groups
from cgcd.engine.optimization import StagedOptimizer
from cgcd.vocabulary import InputError

SGD = partial(torch.optim.SGD, lr=0.1, momentum=0.9, weight_decay=0.01)


def recipe(**changes) -> Recipe:
    return Recipe(**{"epochs": 4, "batch_size": 2, "optimizer": SGD, **changes})


def test_schedules():
    cosine = recipe(floor=0.1)
    assert cosine.factor(0) == 1 and cosine.factor(2) == pytest.approx(0.55)
    assert cosine.factor(4) == pytest.approx(0.1)
    assert [recipe(schedule="constant").factor(e) for e in range(4)] == [1.0] * 4


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"epochs": 0}, "epochs is 0"),
        ({"batch_size": 0}, "batch_size is 0"),
        ({"schedule": "step"}, "schedule is 'step'; wanted cosine, constant or"),
        ({"optimizer": torch.optim.SGD([torch.zeros(1)])}, "no partial; add _partial_: true"),
    ],
)
def test_bad_recipes(changes, message):
    with pytest.raises(InputError, match=message):
        recipe(**changes)


def test_total_weighs_by_name():
    terms = {"a": torch.tensor(2.0), "b": torch.tensor(3.0)}
    assert recipe(weights={"b": 10.0, "a": 1.0}).total(terms).item() == 32
    with pytest.raises(InputError, match=r"no weight for \['b'\], no term for \['c'\]"):
        recipe(weights={"a": 1.0, "c": 1.0}).total(terms)


def test_biases_and_vectors_are_not_decayed_and_frozen_ones_not_held(blob_model):
    model = blob_model()
    decayed, plain = parameter_groups(model)
    assert plain["weight_decay"] == 0
    assert {n for n, _ in plain["params"]} == {
        "backbone.tail.net.2.bias",
        "projection.0.bias",
        "projection.2.bias",
        "projection.4.bias",
    }
    assert "head.directions" in {n for n, _ in decayed["params"]}
    assert not any("trunk" in n for n, _ in [*decayed["params"], *plain["params"]])


def stepped(staged: StagedOptimizer, model) -> None:
    staged.optimizer.zero_grad()
    (model(torch.ones(2, 16)).sum() + model.projection(torch.ones(2, 24)).sum()).backward()
    staged.optimizer.step()


def test_a_new_stage_finds_the_optimizer_as_new(blob_model):
    model = blob_model()
    model.head.grow(2)
    staged = StagedOptimizer(model, recipe(), parameter_groups(model))
    optimizer = staged.optimizer
    staged.begin(model, recipe())
    for _ in range(3):
        stepped(staged, model)
        staged.scheduler.step()
    assert optimizer.state and optimizer.param_groups[0]["lr"] < 0.1

    model.head.grow(5)
    other = recipe(optimizer=partial(torch.optim.SGD, lr=0.02, nesterov=True, momentum=0.5))
    staged.begin(model, other)
    assert staged.optimizer is optimizer and not optimizer.state
    for group, decay in zip(optimizer.param_groups, (0, 0.0), strict=True):
        assert (group["lr"], group["initial_lr"], group["momentum"]) == (0.02, 0.02, 0.5)
        assert group["nesterov"] and group["weight_decay"] == decay
    assert any(p is model.head.directions for p in optimizer.param_groups[0]["params"])
    before = model.head.directions.detach().clone()
    stepped(staged, model)
    assert not torch.equal(model.head.directions[2:], before[2:])
    staged.scheduler.step()
    assert optimizer.param_groups[0]["lr"] == pytest.approx(0.02 * other.factor(1))


def test_begin_equals_a_fresh_optimizer(blob_model):
    ends = []
    for fresh in (False, True):
        model = blob_model()
        model.head.grow(3, generator=torch.Generator().manual_seed(0))
        staged = StagedOptimizer(model, recipe(), parameter_groups(model))
        if not fresh:  # a stage without any change of weights, but with momentum left behind
            start = {k: v.clone() for k, v in model.state_dict().items()}
            staged.begin(model, recipe())
            stepped(staged, model)
            model.load_state_dict(start)
        staged.begin(model, recipe())
        for _ in range(2):
            stepped(staged, model)
        ends.append(torch.cat([p.detach().flatten() for p in model.parameters()]))
    assert torch.equal(*ends)


def test_gradients_are_clipped_only_where_asked(blob_model):
    model = blob_model()
    staged = StagedOptimizer(model, recipe(), parameter_groups(model))
    weight = model.projection[0].weight
    weight.grad = torch.full_like(weight, 3.0)
    staged.clip(recipe())
    assert weight.grad[0, 0] == 3
    staged.clip(recipe(clip_norm=1.0))
    assert weight.grad.norm().item() == pytest.approx(1, abs=1e-4)
