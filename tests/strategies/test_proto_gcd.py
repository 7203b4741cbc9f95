"""What ProtoGCD's specification says of the strategy, and our continual form of it."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F
from avalanche.training.plugins import SupervisedPlugin

from cgcd.engine import run_stages
from cgcd.losses import adaptive_pseudo_labels
from cgcd.vocabulary import UNLABELED, InputError
from strategies import ProtoGCD
from strategies.proto_gcd import BASE, CONTINUAL

WITHOUT = {k: w for k, w in CONTINUAL.weights.items() if k != "feature_distillation"}


class Steps(SupervisedPlugin):
    """Keeps what a function says of the strategy at every step."""

    def __init__(self, note) -> None:
        super().__init__()
        self.note, self.seen = note, []

    def after_training_iteration(self, strategy, **kwargs):
        self.seen.append(self.note(strategy))


@pytest.fixture(scope="module")
def build(quick):
    return quick(ProtoGCD)


def test_the_recipe_is_that_of_the_authors_command():
    assert BASE.weights == {  # protogcd.md 3.1 with w_sep = 0.1
        "pseudo_labels": 0.65,
        "mean_entropy": 0.65 * 2,
        "separation": pytest.approx(0.65 * 0.1),
        "cross_entropy": 0.35,
        "contrastive": 0.65,
        "supervised_contrastive": 0.35,
    }
    assert (BASE.epochs, BASE.batch_size, BASE.clip_norm) == (200, 128, None)
    assert BASE.optimizer.keywords == {"lr": 0.1, "momentum": 0.9, "weight_decay": 5e-5}
    assert ProtoGCD.settings == {"single_stage", "continual"}


def test_a_mixed_stage_is_learned(build, blob_single_stage):
    strategy = build(epochs=(15, 1), ramp_epochs=8)
    (row,) = run_stages(strategy, blob_single_stage()).rows
    assert row["stage/num_classes"] == 7 and row["stage/num_known"] == 4
    assert row["unlabeled/accuracy/all"] > 0.9 and row["unlabeled/accuracy/novel"] > 0.8
    assert len(strategy.memory) == 7


def test_the_share_of_hard_labels_of_each_setting(build, blobs, monkeypatch):
    used = []

    def noted(logits, share, teacher, student):
        used.append((share, teacher, student))
        return adaptive_pseudo_labels(logits, share, teacher, student)

    monkeypatch.setattr("strategies.proto_gcd.adaptive_pseudo_labels", noted)
    strategy = build(epochs=(4, 3), ramp_epochs=3, continual_ramp_epochs=2)
    for stage in blobs().train_stream[:2]:
        strategy.train(stage)
    steps, later = 96 // 16, 48 // 16
    assert [share for share, _, _ in used[: 4 * steps : steps]] == [0.0, 0.5, 1.0, 1.0]
    assert [share for share, _, _ in used[4 * steps :: later]] == [0.0, 1.0, 1.0]
    assert {(teacher, student) for _, teacher, student in used} == {(0.05, 0.1)}


def test_a_ramp_beyond_the_run_is_allowed(build, blobs):
    strategy = build(epochs=(2, 1), ramp_epochs=1000)
    strategy.train(blobs().train_stream[0])
    assert strategy.hard_ratio == pytest.approx(2 / 999)


def test_hidden_labels_play_no_part_and_shown_ones_do_not_steer_pseudo_labels(
    build, blob_single_stage
):
    steps = Steps(lambda strategy: strategy.batch)
    strategy = build(epochs=(1, 1), plugins=[steps])
    strategy.train(blob_single_stage().train_stream[0])
    batch = steps.seen[-1]
    none = replace(batch, labels=torch.full_like(batch.labels, UNLABELED))
    seen, hidden = strategy.losses(batch), strategy.losses(none)
    assert hidden["cross_entropy"] == 0 and hidden["supervised_contrastive"] == 0
    for name in ("pseudo_labels", "mean_entropy", "separation", "contrastive"):
        assert seen[name] == hidden[name]
    assert seen["cross_entropy"] > 0


def test_terms_of_a_stream_and_what_they_reach(build, blobs):
    reached = {}

    def note(strategy):
        reached.setdefault(strategy.stage_index, set(strategy.terms))
        return strategy.batch

    steps = Steps(note)
    strategy = build(plugins=[steps])
    for stage in blobs().train_stream[:2]:
        strategy.train(stage)
    assert reached == {0: set(BASE.weights), 1: set(CONTINUAL.weights)}
    terms = strategy.losses(steps.seen[-1])
    learning = {n: p for n, p in strategy.model.named_parameters() if p.requires_grad}
    for name in ("prototype_replay", "separation"):  # data of no image: the prototypes alone
        gradients = torch.autograd.grad(
            terms[name], list(learning.values()), retain_graph=True, allow_unused=True
        )
        touched = [n for n, g in zip(learning, gradients, strict=True) if g is not None]
        assert touched == ["head.directions"]


def test_memory_keeps_a_mean_of_every_class(build, blobs):
    strategy, rows = build(), []
    for stage in blobs().train_stream:
        strategy.train(stage)
        rows.append(strategy.memory.means.clone())
    assert [len(r) for r in rows] == [4, 5, 7]
    assert torch.equal(rows[1][:4], rows[0]) and torch.equal(rows[2][:5], rows[1])
    torch.testing.assert_close(rows[2].norm(dim=-1), torch.ones(7))


def test_feature_distillation_is_a_choice(build, blobs):
    on = build()
    off = build(feature_distillation=False, continual=replace(build().continual, weights=WITHOUT))
    moved = []
    for strategy in (on, off):
        scenario = blobs()
        strategy.train(scenario.train_stream[0])
        before = strategy.stage_outputs(scenario.train_stream[0]).features
        strategy.train(scenario.train_stream[1])
        after = strategy.stage_outputs(scenario.train_stream[0]).features
        moved.append((F.normalize(after, dim=-1) - F.normalize(before, dim=-1)).norm().item())
    assert "feature_distillation" in on.terms and "feature_distillation" not in off.terms
    assert moved[0] < moved[1]


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"teacher_temperature": 0.0}, "teacher_temperature is 0.0"),
        ({"separation_temperature": 0.0}, "separation_temperature is 0.0"),
        ({"radius_scale": -1.0}, "radius_scale is -1.0"),
        ({"hard_ratio_end": 1.5}, r"wanted \[0, 1\]"),
        ({"continual_ramp_epochs": -1}, "ramp_epochs is -1"),
        ({"feature_distillation": False}, "wanted both or neither"),
    ],
)
def test_settings_that_cannot_be_used_are_refused_at_the_door(build, settings, message):
    with pytest.raises(InputError, match=message):
        build(**settings)
