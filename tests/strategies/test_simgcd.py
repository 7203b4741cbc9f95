"""What SimGCD's specification says of the strategy, in one mixed stage and in a stream."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F
from avalanche.training.plugins import SupervisedPlugin

from cgcd.discovery import novel_directions
from cgcd.engine import run_stages
from cgcd.losses import old_logit_distillation
from cgcd.vocabulary import UNLABELED, InputError
from strategies import SimGCD
from strategies.simgcd import BASE, CONTINUAL

DISTILLING = {**CONTINUAL.weights, "old_logit_distillation": 1.0}


class Steps(SupervisedPlugin):
    """Keeps what a function says of the strategy at every step."""

    def __init__(self, note) -> None:
        super().__init__()
        self.note, self.seen = note, []

    def after_training_iteration(self, strategy, **kwargs):
        self.seen.append(self.note(strategy))


def distilling(recipe=CONTINUAL, weight=1.0):
    return replace(recipe, weights={**DISTILLING, "old_logit_distillation": weight})


@pytest.fixture(scope="module")
def build(quick):
    return quick(SimGCD)


def test_the_recipe_is_that_of_the_authors_commands():
    assert BASE.weights == {  # simgcd.md 3 with epsilon = 2, the default
        "self_distillation": 0.65,
        "mean_entropy": 0.65 * 2,
        "cross_entropy": 0.35,
        "contrastive": 0.65,
        "supervised_contrastive": 0.35,
    }
    assert (BASE.epochs, BASE.batch_size, BASE.clip_norm) == (200, 128, None)
    assert BASE.optimizer.func is torch.optim.SGD
    assert BASE.optimizer.keywords == {"lr": 0.1, "momentum": 0.9, "weight_decay": 5e-5}
    assert 0.1 * BASE.factor(0) == 0.1
    assert 0.1 * BASE.factor(100) == pytest.approx(0.05005)
    assert SimGCD.settings == {"single_stage", "continual"}


def test_a_mixed_stage_is_learned(build, blob_single_stage):
    strategy = build(epochs=(15, 1), teacher_temperature_epochs=5)
    (row,) = run_stages(strategy, blob_single_stage()).rows
    assert row["stage/num_classes"] == 7 and row["stage/num_known"] == 4
    assert row["unlabeled/accuracy/all"] > 0.9 and row["unlabeled/accuracy/novel"] > 0.8


def test_a_mixed_stage_sees_half_labeled_batches_and_all_terms(build, blob_single_stage):
    steps = Steps(
        lambda s: (set(s.terms), (s.mb_y != UNLABELED).float().mean().item(), len(s.mb_y))
    )
    strategy = build(epochs=(6, 1), plugins=[steps])
    (stage,) = blob_single_stage().train_stream
    strategy.train(stage)
    assert len(steps.seen) == 6 * (len(stage.dataset) // 16)
    assert all(terms == BASE.weights.keys() for terms, _, _ in steps.seen)
    shares = torch.tensor([share for _, share, _ in steps.seen])
    assert shares.mean().item() == pytest.approx(0.5, abs=0.05)
    assert (stage.labels != UNLABELED).mean() < 0.35  # in the stage itself they are fewer


def test_fresh_rows_have_the_length_of_a_linear_layer(blob_single_stage, blob_model, quick):
    model = blob_model()
    strategy = quick(SimGCD)(model, epochs=(1, 1))
    strategy.stage_index = 0
    strategy.num_base = strategy.num_known = 4
    strategy.begin_stage(blob_single_stage().train_stream[0])
    lengths = model.head.directions.detach().norm(dim=-1)
    assert lengths.shape == (7,)
    assert lengths.mean().item() == pytest.approx(3**-0.5, abs=0.08)


def test_the_head_has_four_decayed_tensors_and_three_biases(blob_model):
    head = [
        {name for name, _ in group["params"] if name.startswith(("head.", "projection."))}
        for group in SimGCD(model=blob_model()).parameter_groups(blob_model())
    ]
    assert head[0] == {"head.directions"} | {f"projection.{i}.weight" for i in (0, 2, 4)}
    assert head[1] == {f"projection.{i}.bias" for i in (0, 2, 4)}


@pytest.mark.parametrize("new_rows", ["kmeans", "random"])
def test_new_rows_of_a_later_stage(build, blobs, new_rows):
    strategy, scenario = build(new_rows=new_rows), blobs()
    strategy.train(scenario.train_stream[0])
    before = strategy.model.head.directions.detach().clone()
    stage = scenario.train_stream[1]
    wanted = novel_directions(strategy.stage_outputs(stage).features, before, 1, 0, 2)
    strategy.stage_index, strategy.num_known = 1, 4
    strategy.begin_stage(stage)
    rows = strategy.model.head.directions.detach()
    assert torch.equal(rows[:4], before)
    close = torch.allclose(F.normalize(rows[4:], dim=-1), wanted, atol=1e-6)
    assert close is (new_rows == "kmeans")


def test_terms_of_later_stages_and_the_old_logits(build, blobs):
    recipe = distilling(build().continual)
    found = []

    def note(strategy):
        if strategy.stage_index == 0:
            return None
        assert strategy.terms.keys() == DISTILLING.keys()
        teacher = strategy.teacher
        assert teacher.head.num_classes == strategy.num_known
        found.append(strategy.terms["old_logit_distillation"].item())
        return strategy.batch

    steps = Steps(note)
    strategy = build(continual=recipe, old_logit_distillation=True, plugins=[steps], epochs=(3, 2))
    for stage in blobs().train_stream:
        strategy.train(stage)
    assert found[0] == pytest.approx(0, abs=1e-6)  # the student still is the teacher
    assert max(found) > 1e-4
    views = steps.seen[-1]
    by_hand = old_logit_distillation(
        views.out.logits, strategy.teacher.head(strategy.teacher.features(views.trunk)), 0.2
    )
    assert strategy.losses(views)["old_logit_distillation"] == by_hand


def test_old_logit_distillation_holds_the_known_classes(build, blobs):
    def drift(**settings):
        strategy, scenario = build(epochs=(10, 10), new_rows="random", **settings), blobs()
        strategy.train(scenario.train_stream[0])
        before = strategy.model.snapshot()
        strategy.train(scenario.train_stream[1])
        trunk, _ = next(strategy.trunk_outputs(scenario.train_stream[1].dataset))
        now = strategy.model.head(strategy.model.backbone.tail(trunk))
        return old_logit_distillation(now, before.logits(trunk[:, None])[:, 0]).item()

    held = distilling(build(epochs=(10, 10)).continual, weight=10.0)
    assert drift(continual=held, old_logit_distillation=True) < drift() / 2


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"new_rows": "zero"}, "new_rows is 'zero'; wanted 'kmeans' or 'random'"),
        ({"old_logit_temperature": -1.0}, "old_logit_temperature is -1.0"),
        ({"kmeans_starts": 0}, "kmeans_starts is 0"),
        ({"old_logit_distillation": True}, "wanted both or neither"),
        ({"continual": distilling()}, "wanted both or neither"),
    ],
)
def test_settings_that_cannot_be_used_are_refused_at_the_door(build, settings, message):
    with pytest.raises(InputError, match=message):
        build(**settings)
