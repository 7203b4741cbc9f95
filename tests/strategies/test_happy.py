"""What Happy's specification says of the strategy; the losses have tests of their own."""

from __future__ import annotations

from dataclasses import replace
from functools import partial

import pytest
import torch
import torch.nn.functional as F
from avalanche.training.plugins import SupervisedPlugin

from cgcd.discovery import novel_directions
from cgcd.vocabulary import InputError
from strategies import Happy
from strategies.happy import BASE, CONTINUAL


class Look(SupervisedPlugin):
    """Calls a function before the first step and after every step of a stage."""

    def __init__(self, at_start=None, at_step=None) -> None:
        super().__init__()
        self.at_start, self.at_step = at_start, at_step

    def before_training_exp(self, strategy, **kwargs):
        if self.at_start:
            self.at_start(strategy)

    def after_training_iteration(self, strategy, **kwargs):
        if self.at_step:
            self.at_step(strategy)


def test_the_recipes_name_the_terms_and_weights_of_the_authors_code():
    assert BASE.weights == {  # happy.md 3.2 with w_me = 1
        "self_distillation": 0.65,
        "mean_entropy": 0.65,
        "cross_entropy": 0.35,
        "contrastive": 0.65,
        "supervised_contrastive": 0.35,
    }
    assert set(CONTINUAL.weights.values()) == {1.0}  # happy.md 3.3
    assert (BASE.epochs, BASE.batch_size) == (100, 128)
    assert (CONTINUAL.epochs, CONTINUAL.batch_size) == (30, 128)
    for recipe, lr in ((BASE, 0.1), (CONTINUAL, 0.01)):
        assert recipe.optimizer.func is torch.optim.SGD
        assert recipe.optimizer.keywords == {"lr": lr, "momentum": 0.9, "weight_decay": 5e-5}
        assert recipe.clip_norm is None


def test_learning_rates_of_the_continual_recipe():
    rates = [0.01 * CONTINUAL.factor(epoch) for epoch in range(30)]
    assert rates[0] == 0.01
    assert rates[1] == pytest.approx(0.0099726, abs=5e-8)
    assert rates[15] == pytest.approx(0.005005, abs=5e-7)
    assert rates[29] == pytest.approx(3.736e-5, abs=5e-9)
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=0.01)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, 30, eta_min=0.01 * 1e-3)
    for rate in rates:
        assert optimizer.param_groups[0]["lr"] == pytest.approx(rate, rel=1e-9)
        optimizer.step()
        schedule.step()


def test_terms_of_base_and_continual_stages(quick_happy, blobs):
    terms = {}
    look = Look(at_step=lambda s: terms.setdefault(s.stage_index, dict(s.terms)))
    strategy = quick_happy(plugins=[look])
    for stage in blobs().train_stream:
        strategy.train(stage)
    assert terms[0].keys() == BASE.weights.keys() and len(terms[0]) == 5
    for stage in (1, 2):
        assert terms[stage].keys() == CONTINUAL.weights.keys() and len(terms[stage]) == 7
    assert terms[1]["within_novel"] == 0  # one novel class
    assert terms[1]["feature_distillation"] == pytest.approx(0, abs=1e-6)  # student is the teacher


def test_total_is_the_weighted_sum(quick_happy, blobs):
    sums = []

    def add(strategy):
        weights = strategy.recipe.weights
        total = sum(weights[name] * term for name, term in strategy.terms.items())
        sums.append((strategy.loss.item(), total.item()))

    strategy = quick_happy(plugins=[Look(at_step=add)])
    for stage in blobs().train_stream[:2]:
        strategy.train(stage)
    assert len(sums) > 8
    for loss, total in sums:
        assert loss == pytest.approx(total, rel=1e-6)


def test_memory_holds_every_class_and_never_changes_a_row(quick_happy, blobs):
    strategy, rows, radius = quick_happy(), [], []
    for stage in blobs().train_stream:
        strategy.train(stage)
        rows.append(strategy.memory.means.clone())
        radius.append(strategy.memory.radius.item())
    assert [len(r) for r in rows] == [4, 5, 7]
    assert torch.equal(rows[1][:4], rows[0]) and torch.equal(rows[2][:5], rows[1])
    assert radius[0] > 0 and len(set(radius)) == 1
    torch.testing.assert_close(rows[2].norm(dim=-1), torch.ones(7))


def test_memory_of_a_stage_by_hand(quick_happy, blobs):
    strategy, scenario = quick_happy(epochs=(15, 10)), blobs()
    base, novel = scenario.train_stream[:2]
    for index, stage in enumerate((base, novel)):
        strategy.train(stage)
        strategy.model.eval()
        with torch.no_grad():
            images = torch.stack([sample[0] for sample in stage.dataset.eval()])
            features = F.normalize(strategy.model.backbone(images), dim=-1)
            classes = strategy.model(images).argmax(-1)
        if index == 0:
            classes = torch.tensor(stage.labels)
            groups = [features[classes == row] for row in range(4)]
            squares = [(g.var(0, correction=0).sum() / g.shape[1]).item() for g in groups]
            assert strategy.memory.radius.item() == pytest.approx(
                (sum(squares) / 4) ** 0.5, rel=1e-4
            )
        row = 0 if index == 0 else 4
        wanted = F.normalize(features[classes == row].mean(0), dim=0)
        torch.testing.assert_close(strategy.memory.means[row], wanted)


def test_a_class_that_nothing_is_predicted_as_keeps_its_direction(quick_happy, blobs):
    strategy, scenario = quick_happy(), blobs()
    strategy.train(scenario.train_stream[0])
    outputs = strategy.stage_outputs

    def never_the_last(stage):
        out = outputs(stage)
        out.logits[:, -1] = -1.0
        return out

    strategy.stage_outputs = never_the_last
    strategy.train(scenario.train_stream[1])
    direction = F.normalize(strategy.model.head.directions[4].detach(), dim=0)
    torch.testing.assert_close(strategy.memory.means[4], direction)


def test_growth_keeps_old_rows_and_points_new_ones_to_clusters(quick_happy, blobs):
    strategy, scenario, seen = quick_happy(), blobs(), {}
    strategy.train(scenario.train_stream[0])
    before = strategy.model.head.directions.detach().clone()
    projection = [p.detach().clone() for p in strategy.model.projection.parameters()]
    features = strategy.stage_outputs(scenario.train_stream[1]).features
    wanted = novel_directions(features, before, 1, seed=0, num_starts=2)

    def look(s):
        seen["rows"] = s.model.head.directions.detach().clone()
        seen["projection"] = [p.detach().clone() for p in s.model.projection.parameters()]

    strategy.plugins.append(Look(at_start=look))
    strategy.train(scenario.train_stream[1])
    assert torch.equal(seen["rows"][:4], before)
    torch.testing.assert_close(F.normalize(seen["rows"][4:], dim=-1), wanted)
    assert not torch.equal(seen["projection"][0], projection[0])  # drawn anew, as in the code
    assert all((p == 0).all() for p in seen["projection"][1::2])


def test_the_teacher_is_the_previous_model_and_stays(quick_happy, blobs):
    strategy, scenario = quick_happy(), blobs()
    strategy.train(scenario.train_stream[0])
    tail = {k: v.clone() for k, v in strategy.model.backbone.tail.state_dict().items()}
    head = strategy.model.head.directions.detach().clone()
    strategy.train(scenario.train_stream[1])
    teacher = strategy.teacher
    assert all(torch.equal(v, tail[k]) for k, v in teacher.tail.state_dict().items())
    assert torch.equal(teacher.head.directions, head)
    assert not teacher.training and not any(p.requires_grad for p in teacher.parameters())
    now = strategy.model.backbone.tail.state_dict()
    assert any(not torch.equal(v, tail[k]) for k, v in now.items())


def test_prototype_replay_teaches_the_head_alone(quick_happy, blobs):
    strategy, scenario, checked = quick_happy(), blobs(), []
    losses = strategy.losses

    def look(batch):
        terms = losses(batch)
        if "prototype_replay" in terms:
            parameters = list(strategy.model.parameters())
            learning = [p for p in parameters if p.requires_grad]
            gradients = torch.autograd.grad(
                terms["prototype_replay"], learning, retain_graph=True, allow_unused=True
            )
            reached = [p for p, g in zip(learning, gradients, strict=True) if g is not None]
            checked.append(len(reached) == 1 and reached[0] is strategy.model.head.directions)
        return terms

    strategy.losses = look
    for stage in scenario.train_stream[:2]:
        strategy.train(stage)
    assert checked and all(checked)


def test_names_of_weights_and_terms_must_agree(quick_happy, blobs):
    strategy = quick_happy()
    weights = {**strategy.base.weights, "entropy": 1.0}
    del weights["mean_entropy"]
    strategy.base = replace(strategy.base, weights=weights)
    with pytest.raises(
        InputError, match=r"no weight for \['mean_entropy'\], no term for \['entropy'\]"
    ):
        strategy.train(blobs().train_stream[0])


def test_the_same_optimizer_class_in_both_recipes(quick_happy, blobs):
    strategy = quick_happy()
    strategy.continual = replace(strategy.continual, optimizer=partial(torch.optim.AdamW, lr=0.01))
    scenario = blobs()
    strategy.train(scenario.train_stream[0])
    with pytest.raises(InputError, match="base recipe uses SGD and the continual one AdamW"):
        strategy.train(scenario.train_stream[1])


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"num_novel": "guess"}, "num_novel is 'guess'; wanted 'given', 'estimate' or a number"),
        ({"num_novel": 0}, "num_novel is 0"),
        ({"seed": -1}, "seed is -1"),
    ],
)
def test_bad_arguments(blob_model, settings, message):
    with pytest.raises(InputError, match=message):
        Happy(model=blob_model(), **settings)


def test_base_labels_without_gaps(quick_happy, blobs):
    scenario = blobs()
    stage = scenario.train_stream[1]
    with pytest.raises(InputError, match=r"wanted 0 .. K-1 without gaps"):
        quick_happy().train(stage)  # an unlabeled stage first


@pytest.mark.parametrize(
    "settings",
    [
        {"kmeans_starts": 0},
        {"student_temperature": 0.0},
        {"hardness_temperature": -1.0},
        {"eval_batch_size": 0},
        {"plugins": [1]},
    ],
)
def test_settings_that_cannot_be_used_are_refused_at_the_door(quick_happy, settings):
    with pytest.raises(InputError, match=f"{next(iter(settings))} (is|holds)"):
        quick_happy(**settings)
