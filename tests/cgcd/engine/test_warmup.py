"""The warm-up learns, is cached, and is the only time that batch-norm statistics move."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn

from cgcd.engine import WarmUp
from cgcd.engine.seeding import current_draw, isolated_randomness, uniforms
from cgcd.engine.warmup import warm_up
from cgcd.stages import stage_dataset
from cgcd.vocabulary import UNLABELED, InputError

CPU = torch.device("cpu")


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("CGCD_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def net(dropout: float = 0.0) -> nn.Sequential:
    return nn.Sequential(
        nn.Linear(16, 24), nn.BatchNorm1d(24), nn.ReLU(), nn.Dropout(dropout), nn.Linear(24, 12)
    )


def build(blob_model, dropout: float = 0.0):
    with isolated_randomness(7):
        model = blob_model(backbone=net(dropout))
    model.head.grow(4, generator=torch.Generator().manual_seed(0))
    return model


def state(model) -> dict[str, torch.Tensor]:
    return {k: v.clone() for k, v in model.state_dict().items()}


def same(first, second) -> bool:
    return all(torch.equal(v, second[k]) for k, v in first.items())


def warmed(blob_model, dataset, recipe, seed=0, dropout=0.0):
    model = build(blob_model, dropout)
    report = warm_up(model, dataset, recipe, seed=seed, device=CPU)
    return model, report


def accuracy(model, stage) -> float:
    model.eval()
    with torch.no_grad():
        images = torch.stack([sample[0] for sample in stage.dataset.eval()])
        return (model(images).argmax(-1).numpy() == stage.labels).mean()


def test_it_learns_and_reports(blob_model, blobs):
    stage = blobs(spread=1.0).train_stream[0]
    untrained = accuracy(build(blob_model), stage)
    model, report = warmed(blob_model, stage.dataset.train(), WarmUp(steps=40, batch_size=32))
    assert accuracy(model, stage) > max(0.9, untrained + 0.3)
    assert report["steps"] == 40 and not report["cached"] and report["loss"] > 0


def test_statistics_move_only_here_and_the_freeze_comes_back(blob_model, blobs, quick_happy):
    scenario = blobs()
    strategy = quick_happy(build_bare(blob_model), warm_up=WarmUp(steps=4, batch_size=16))
    start = state(strategy.model.backbone)
    frozen = [p.requires_grad for p in strategy.model.parameters()]
    strategy.train(scenario.train_stream[0])
    after = state(strategy.model.backbone)
    assert not torch.equal(after["trunk.1.running_mean"], start["trunk.1.running_mean"])
    assert not torch.equal(after["trunk.0.weight"], start["trunk.0.weight"])
    assert [p.requires_grad for p in strategy.model.parameters()] == frozen
    assert not strategy.model.backbone.warming
    strategy.train(scenario.train_stream[1])
    later = state(strategy.model.backbone)
    trunk = [name for name in later if name.startswith("trunk")]
    assert trunk and all(torch.equal(later[name], after[name]) for name in trunk)
    assert strategy.report["warm_up"]["steps"] == 4


def build_bare(blob_model):
    with isolated_randomness(7):
        return blob_model(backbone=net())


def test_a_hit_gives_the_bits_of_a_miss(blob_model, blobs, cache):
    data, recipe = blobs().train_stream[0].dataset.train(), WarmUp(steps=3, batch_size=16)
    first, report = warmed(blob_model, data, recipe)
    again, hit = warmed(blob_model, data, recipe)
    bare, miss = warmed(blob_model, data, replace(recipe, cache=False))
    assert (report["cached"], hit["cached"], miss["cached"]) == (False, True, False)
    assert same(state(first), state(again)) and same(state(first), state(bare))
    assert len(list((cache / "warm_up").iterdir())) == 1  # and no temporary file


def test_training_goes_on_alike_after_hit_and_miss(blob_model, blobs, quick_happy):
    """Dropout in the tail draws from the global generator, which a miss must not have moved."""

    def run():
        with isolated_randomness(7):
            tail = nn.Sequential(nn.Dropout(0.5), nn.Linear(24, 12))
            model = blob_model(backbone=nn.Sequential(nn.Linear(16, 24), nn.ReLU(), tail))
        strategy = quick_happy(model, warm_up=WarmUp(steps=3, batch_size=16))
        strategy.train(blobs().train_stream[0])
        return state(strategy.model), strategy.report["warm_up"]["cached"]

    (first, miss), (second, hit) = run(), run()
    assert (miss, hit) == (False, True) and same(first, second)


def noisy_views(sample):
    draw = current_draw()
    noise = [uniforms(draw, sample.id, view, 16) for view in range(draw.num_views)]
    return sample.image + torch.tensor(np.stack(noise), dtype=torch.float32)


def vectors(stage, labels, shift=0.0):
    """The stage's images with other labels; those without one are moved by `shift`."""
    images = torch.stack([sample[0] for sample in stage.dataset.eval()])
    images[torch.tensor(labels) < 0] += shift
    rows = np.arange(len(labels))
    return stage_dataset(
        images,
        rows,
        labels,
        train_transform=noisy_views,
        eval_transform=lambda sample: sample.image,
    ).train()


@pytest.mark.parametrize("changed", [None, "seed", "recipe", "labels", "images", "dropout"])
def test_whatever_matters_changes_the_key(blob_model, blobs, changed):
    recipe, stage = WarmUp(steps=2, batch_size=16), blobs().train_stream[0]
    warmed(blob_model, vectors(stage, stage.labels), recipe)
    other = blobs(seed=1 if changed == "images" else 0).train_stream[0]
    labels = stage.labels.copy()
    labels[0] = (labels[0] + 1) % 4 if changed == "labels" else labels[0]
    _, report = warmed(
        blob_model,
        vectors(other, labels),
        replace(recipe, lr=1e-3) if changed == "recipe" else recipe,
        seed=1 if changed == "seed" else 0,
        dropout=0.5 if changed == "dropout" else 0.0,
    )
    assert report["cached"] == (changed is None)


def test_unlabeled_samples_are_left_out(blob_model, blobs):
    """A mixed stage: only what shows a label is learned from."""
    stage, recipe = blobs().train_stream[0], WarmUp(steps=12, batch_size=16, cache=False)
    labels = np.where(np.arange(len(stage.labels)) % 3 == 0, UNLABELED, stage.labels)
    first, _ = warmed(blob_model, vectors(stage, labels), recipe)
    moved, _ = warmed(blob_model, vectors(stage, labels, shift=5.0), recipe)
    assert same(state(first), state(moved))


def test_schedule_rises_and_falls():
    recipe = WarmUp(steps=20)
    factors = [recipe.factor(step) for step in range(20)]
    assert factors[:3] == [0.5, 1.0, 1.0] and factors[-1] < 0.01
    assert factors[2:] == sorted(factors[2:], reverse=True)


def test_bad_recipes():
    with pytest.raises(InputError, match="warm_up has steps=0"):
        WarmUp(steps=0)
    with pytest.raises(InputError, match=r"warm_up.weights names .*; wanted exactly"):
        WarmUp(weights={"cross_entropy": 1.0, "contrast": 1.0})


def test_pretrained_backbones_are_not_warmed_up(quick_happy, blob_model, blobs):
    def reported(pretrained, **settings):
        model = blob_model()
        model.backbone.pretrained = pretrained
        recipe = WarmUp(steps=2, batch_size=16, cache=False, **settings)
        strategy = quick_happy(model, epochs=(1, 1), warm_up=recipe)
        strategy.train(blobs().train_stream[0])
        return "warm_up" in strategy.report

    assert reported(False) and not reported(True) and reported(True, even_if_pretrained=True)
