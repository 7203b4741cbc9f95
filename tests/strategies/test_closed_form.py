"""What closed-form strategies promise besides: no later step, and nothing old is touched."""

from __future__ import annotations

from functools import partial
from types import SimpleNamespace

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from avalanche.benchmarks import nc_benchmark
from torch.utils.data import TensorDataset

from cgcd.cli.parts import _checked_steps
from cgcd.engine import run_stages
from cgcd.models import RidgeRegression
from cgcd.vocabulary import InputError
from strategies import NMC, VBCGCD, Analytic, Gaussian

KINDS = ["nmc", "gaussian", "tied", "fecam", "analytic"]


@pytest.fixture(scope="module", params=KINDS)
def build(request, quick_closed_form):
    return {
        "nmc": quick_closed_form(NMC),
        "gaussian": partial(quick_closed_form(Gaussian), num_components=16),
        "tied": partial(quick_closed_form(Gaussian), covariance="tied"),
        "fecam": partial(quick_closed_form(Gaussian), covariance="fecam"),
        "analytic": partial(quick_closed_form(Analytic), num_features=100, penalty=0.1),
    }[request.param]


def parameters(strategy):
    return {name: p.detach().clone() for name, p in strategy.model.named_parameters()}


def test_no_step_after_the_base_stage(build, blobs):
    scenario, strategy = blobs(), build()
    strategy.train(scenario.train_stream[0])
    iterations, before = strategy.clock.train_iterations, parameters(strategy)
    kept = {
        name: value.clone()
        for name, value in strategy.classifier.state_dict().items()
        if name in ("means", "factors", "tied_factor")
    }
    for stage in scenario.train_stream[1:]:
        strategy.train(stage)
    assert strategy.clock.train_iterations == iterations
    after = parameters(strategy)
    assert torch.equal(after.pop("head.directions")[:4], before.pop("head.directions"))
    assert all(torch.equal(after[name], before[name]) for name in before)
    now = strategy.classifier.state_dict()  # what was stored of a class keeps its bits
    assert all(torch.equal(now[name][: len(value)], value) for name, value in kept.items())


def test_a_stage_without_a_step_may_be_smaller_than_a_batch(build, blobs):
    scenario = blobs()
    base, *later = [len(stage.dataset) for stage in scenario.train_stream]
    assert min(later) < base
    assert _checked_steps(build(batch_size=base), scenario) == 3
    assert _checked_steps(build(batch_size=10**6, tune_base=False), scenario) == 0
    refused = r"stage 0 holds .* lower strategy.base.batch_size, or set strategy.tune_base=false"
    with pytest.raises(InputError, match=refused):
        _checked_steps(build(batch_size=10**6), scenario)


def test_classes_of_one_sample_tell_no_width(build):
    rows, labels = torch.eye(6, 16), torch.arange(6)
    data = TensorDataset(rows, labels)
    data.targets = labels.tolist()
    stock = nc_benchmark(data, data, n_experiences=2, task_labels=False, shuffle=False)
    strategy = build(tune_base=False)
    if isinstance(strategy, NMC):
        strategy.train(stock.train_stream[0])
        assert strategy.classifier.num_classes == 3
        return
    with pytest.raises(InputError, match="each of the 3 known ones has one labeled sample"):
        strategy.train(stock.train_stream[0])


def test_features_as_they_come(build, blobs):
    strategy = build(tune_base=False)
    start = {n: p for n, p in parameters(strategy).items() if not n.startswith("head")}
    result = run_stages(strategy, blobs())
    now = parameters(strategy)
    assert strategy.clock.train_iterations == 0
    assert all(torch.equal(now[name], value) for name, value in start.items())
    assert result.rows[0]["accuracy/all"] > 0.9


def test_all_blobs_are_found(build, blobs):
    result = run_stages(build(epochs=(15, 0)), blobs())
    assert result.rows[2]["stage/found"] == 7
    assert min(row["accuracy/all"] for row in result.rows) > 0.9
    assert [fact["stage"] for fact in result.facts["relabeled"]] == [1, 2]


@pytest.mark.parametrize("proposal", ["cluster_all", "reject", "farthest"])
def test_other_proposals(quick_closed_form, blobs, proposal):
    strategy = quick_closed_form(Gaussian)(proposal=proposal, epochs=(15, 0), num_components=16)
    result = run_stages(strategy, blobs())
    assert result.rows[2]["accuracy/all"] > 0.75
    assert torch.isfinite(strategy.rejection.threshold) == (proposal == "reject")


def test_a_number_of_classes_that_is_estimated(build, blobs):
    result = run_stages(build(num_novel="estimate", max_novel=4), blobs(num_novel=None))
    grown = np.diff([row["stage/num_classes"] for row in result.rows])
    assert grown.tolist() == [count["estimated"] for count in result.facts["counts"]]


def test_the_analytic_head_is_that_of_all_samples_at_once(quick_closed_form, blobs):
    strategy = quick_closed_form(Analytic)(num_features=100, penalty=0.1)
    seen, old = [], []
    made = strategy.stage_outputs

    def outputs(stage):
        seen.append(made(stage))
        return seen[-1]

    strategy.stage_outputs = outputs
    rule = strategy.discovered
    strategy.discovered = lambda features: old.append(rule(features)[0]) or (old[-1], old[-1] < 0)
    run_stages(strategy, blobs())
    labels = [seen[0].labels, *old]
    kept = [seen[0].labels >= 0, old[0] >= 4, old[1] >= 5]
    features = torch.cat([s.features[k] for s, k in zip(seen, kept, strict=True)])
    labels = torch.cat([y[k] for y, k in zip(labels, kept, strict=True)])
    order = torch.randperm(len(labels), generator=torch.Generator().manual_seed(0))
    ridge = strategy.classifier
    whole = RidgeRegression(100, float(ridge.regression.penalty))
    whole.grow(7)
    whole.add(ridge.random(features[order]), labels[order])
    assert torch.allclose(ridge.regression.weights, whole.weights, atol=1e-9, rtol=0)


def test_given_labels_are_used_as_they_are(build):
    generator = torch.Generator().manual_seed(0)
    labels = torch.arange(6).repeat_interleave(30)
    corners = 3 * torch.randn(6, 16, generator=generator)
    rows = corners[labels] + torch.randn(180, 16, generator=generator)
    data = TensorDataset(rows, labels)
    data.targets = labels.tolist()
    stock = nc_benchmark(data, data, n_experiences=3, task_labels=False, shuffle=False)
    strategy = build(stock_labels="use", epochs=(5, 0))
    for experience in stock.train_stream:
        strategy.train(experience)
    strategy.model.eval()
    with torch.no_grad():
        answers = strategy.predict(strategy.model.backbone.trunk(rows)).argmax(1)
    assert (answers == labels).double().mean() > 0.9  # no matching: rows are the labels


def test_confident_samples_of_known_classes_move_means_only_where_asked(quick_closed_form, blobs):
    scenario, counts = blobs(), []
    for weight in (0.0, 1.0):
        strategy = quick_closed_form(NMC)(update_known=weight)
        strategy.train(scenario.train_stream[0])
        strategy.train(scenario.train_stream[1])
        counts.append(strategy.classifier.statistics.counts[:4])
    assert (counts[0] == 24).all()
    assert 6 <= float((counts[1] - counts[0]).sum()) <= 14  # half of the 24 that came back


def test_the_answers_of_nmc_are_the_nearest_means(quick_closed_form, blobs):
    scenario, strategy = blobs(), quick_closed_form(NMC)()
    strategy.train(scenario.train_stream[0])
    seen = strategy.stage_outputs(scenario.train_stream[0])
    rows = F.normalize(seen.features.double(), dim=1)
    means = F.normalize(torch.stack([rows[seen.labels == c].mean(0) for c in range(4)]), dim=1)
    torch.testing.assert_close(strategy.classifier.centers, means)
    torch.testing.assert_close(
        F.normalize(strategy.model.head.directions.double(), dim=1), means, atol=1e-6, rtol=0
    )


@pytest.mark.parametrize(
    "made, kwargs, message",
    [
        (NMC, {"continual": SimpleNamespace()}, "strategy.continual=null"),
        (NMC, {"proposal": "all"}, "proposal is 'all'"),
        (NMC, {"relabel_rounds": 9}, "relabel_rounds is 9"),
        (NMC, {"update_known": 2.0}, "update_known 2.0"),
        (NMC, {"definition": "nearest"}, "definition is 'nearest'"),
        (NMC, {"score_temperature": 0.0}, "score_temperature is 0"),
        (Gaussian, {"covariance": "full"}, "covariance is 'full'"),
        (Gaussian, {"blend": -1.0}, "blend is -1"),
        (Analytic, {"penalty": 0.0}, "penalty is 0"),
        (VBCGCD, {"update_known": 0.5}, "strategy.update_known=0 or strategy.fit=closed"),
    ],
)
def test_bad_arguments_are_named(quick_closed_form, made, kwargs, message):
    with pytest.raises((InputError, ValueError), match=message):
        quick_closed_form(made)(**kwargs)
