"""Happy with an analytic memory branch: it trains as without, and the branch answers."""

from __future__ import annotations

import pytest
import torch

from cgcd.models import MemoryBranch, RidgeRegression
from cgcd.vocabulary import InputError

SIZE = 60


@pytest.fixture(scope="module")
def trained(quick_happy, blobs):
    """Three stages of Happy, with the branch and without."""
    both = []
    for settings in ({}, {"memory_branch": "analytic", "memory_features": SIZE}):
        strategy = quick_happy(**settings)
        for stage in blobs().train_stream:
            strategy.train(stage)
        both.append(strategy)
    return both


def test_training_is_the_same_bit_for_bit(trained):
    plain, branched = trained
    others = dict(branched.model.named_parameters())
    assert all(torch.equal(p, others[name]) for name, p in plain.model.named_parameters())


def test_it_is_the_ridge_solution_of_all_it_took_in(quick_happy, blobs):
    strategy, taken = quick_happy(memory_branch="analytic", memory_features=SIZE), []
    branch = strategy.branch
    learn = branch.learn

    def noted(features, labels, num_classes):
        fresh = labels >= branch.num_classes
        taken.append((features[fresh], labels[fresh]))
        learn(features, labels, num_classes)

    branch.learn = noted
    for stage in blobs().train_stream:
        strategy.train(stage)
    features, labels = (torch.cat(part).flip(0) for part in zip(*taken, strict=True))
    whole = RidgeRegression(SIZE, penalty=float(branch.head.regression.penalty))
    whole.grow(7)
    whole.add(branch.head.random(features), labels)
    torch.testing.assert_close(branch.head.regression.weights, whole.weights, rtol=0, atol=1e-9)


def test_the_tail_is_that_of_the_base_stage(quick_happy, blobs):
    strategy, scenario = quick_happy(memory_branch="analytic", memory_features=SIZE), blobs()
    strategy.train(scenario.train_stream[0])
    base = {k: v.clone() for k, v in strategy.model.backbone.tail.state_dict().items()}
    strategy.train(scenario.train_stream[1])
    kept, now = strategy.branch.tail.state_dict(), strategy.model.backbone.tail.state_dict()
    assert all(torch.equal(kept[k], v) for k, v in base.items())
    assert not all(torch.equal(now[k], v) for k, v in base.items())


def test_the_branch_answers(trained, blobs):
    _, strategy = trained
    images = torch.stack([s[0] for stage in blobs().test_stream for s in stage.dataset.eval()])
    with torch.no_grad():
        trunk = strategy.model.backbone.trunk(images)
        answers = strategy.predict(trunk)
    assert torch.equal(answers.argmax(1), strategy.branch(trunk).argmax(1))
    assert answers.shape == (len(images), 7) and answers.isfinite().all()


def test_a_class_without_a_sample_is_never_answered():
    branch = MemoryBranch(torch.nn.Identity(), 4, num_features=20)
    features, labels = torch.eye(4).repeat(5, 1), torch.arange(4).repeat(5) % 3
    branch.learn(features, labels, 3)
    branch.learn(features, labels, 4)  # none is new
    assert int(branch(torch.randn(200, 4)).argmax(1).max()) < 3


def test_another_name_is_refused(quick_happy):
    with pytest.raises(InputError, match="memory_branch is 'ridge'; wanted 'analytic' or none"):
        quick_happy(memory_branch="ridge")
