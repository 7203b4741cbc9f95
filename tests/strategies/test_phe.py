"""PHE's own rules: the mask, centers after training, optimizer groups, the separation."""

from __future__ import annotations

import csv
from dataclasses import replace
from functools import partial

import numpy as np
import pytest
import torch

from cgcd.engine import run_stages
from cgcd.losses import class_scores, prototype_similarity
from cgcd.memory import pack
from cgcd.vocabulary import InputError
from strategies import PHE, phe

QUICK = {"hash_hidden": 32, "hash_bottleneck": 32, "observe_batch_size": 32}


@pytest.fixture(scope="module")
def build(blob_model):
    def build(epochs: int = 1, batch_size: int = 16, lr: float = 1e-3, **kwargs) -> PHE:
        optimizer = partial(torch.optim.AdamW, lr=lr, weight_decay=0.05)
        base = replace(phe.BASE, epochs=epochs, batch_size=batch_size, optimizer=optimizer)
        return PHE(model=blob_model(), base=base, **{**QUICK, **kwargs})

    return build


@pytest.fixture(scope="module")
def trained(build, blob_stream):
    """After a stream of six known, well-separated blobs."""
    strategy = build(80, 64, 1e-2, backbone_lr=1e-2, code_length=24, separation=8, hash_hidden=64)
    return strategy, run_stages(strategy, blob_stream(num_base=6, num_novel=0, spread=0.05))


def test_training_drops_a_tenth_of_the_similarities(build, blob_stream, monkeypatch):
    kept = []

    def watched(similarities, num_classes):
        kept.append((similarities != 0).float().mean().item())  # a similarity is at least log 3/2
        return class_scores(similarities, num_classes)

    monkeypatch.setattr(phe, "class_scores", watched)
    build(epochs=4).train(blob_stream().train_stream[0])
    assert np.mean(kept) == pytest.approx(0.9, abs=0.01) and max(kept) < 1


def test_prediction_scales_every_similarity_by_what_training_keeps(trained):
    strategy, _ = trained
    trunk = strategy.model.backbone.trunk(torch.randn(5, 16))
    with torch.no_grad():
        features = strategy.feature(strategy.model.backbone.tail(trunk))
        near = 0.9 * prototype_similarity(features, strategy.prototypes.rows).reshape(5, 6, 10)
        own = near.sum(-1)
        others = near.sum((1, 2))[:, None] - own
        torch.testing.assert_close(strategy.predict(trunk), own - 0.5 * others)


def test_centers_are_taken_once_in_eval_mode(trained):
    strategy, _ = trained
    with torch.no_grad():
        means = strategy.prototypes.rows.reshape(6, 10, -1).mean(1)
        assert torch.equal(strategy.centers.rows, strategy.hash.eval()(means))
        statistics = strategy.hash.trunk[5].running_mean.clone()
        in_training = strategy.hash.train()(means)
        strategy.hash.trunk[5].running_mean.copy_(statistics)
        strategy.hash.eval()
    assert not torch.allclose(strategy.centers.rows, in_training)


def test_optimizer_groups(build, blob_stream):
    strategy = build(backbone_lr=1e-4, feature_weight_decay=1e-3)
    strategy.train(blob_stream().train_stream[0])
    found = {}
    for group in strategy.optimizer.param_groups:
        for parameter in group["params"]:
            found[id(parameter)] = (group["initial_lr"], group["weight_decay"])
    for name, parameter in strategy.model.named_parameters():
        expected = {
            "backbone": (1e-4, 1e-3),
            "extras.feature": (1e-3, 1e-3),
            "extras.hash": (1e-3, 0.05),
            "extras.prototypes": (1e-3, 0.05),
        }
        front = next((front for front in expected if name.startswith(front)), None)
        if front is not None and parameter.requires_grad:
            assert found.pop(id(parameter)) == pytest.approx(expected[front]), name
    assert not found  # the shared heads take no part


def test_ignored_centers_name_nobody(build, blob_stream, tmp_path):
    last = run_stages(build(known_centers="ignored"), blob_stream(), tmp_path).rows[-1]
    with (tmp_path / "predictions" / "stream.csv").open() as file:
        rows = list(csv.DictReader(file))
    ids = [int(row["category"]) for row in rows]
    assert min(ids) == 8 and rows[0]["opened"] == "1" and len(set(ids)) == last["stream/created"]
    assert not any(key.startswith("identity/") for key in last)


def test_a_code_of_a_center_is_its_class(trained):
    """Invariant 2 of the specification, through trained centers."""
    strategy, _ = trained
    words = pack(strategy.centers.rows > 0)
    first = [words.tolist().index(word) for word in words.tolist()]
    for book in (strategy.new_book(), strategy.book):
        answer = book.observe(words)
        assert answer.ids.tolist() == first and not answer.is_new.any()
        assert (answer.distance == 0).all()


def test_a_stream_of_known_classes_is_answered_without_a_category(trained):
    """Invariant 7 of the specification."""
    strategy, result = trained
    last = result.rows[-1]
    assert strategy.book.duplicates() == 0
    assert last["strict/all"] == last["greedy/all"] == last["identity/known"] == 1
    assert last["stream/created"] == 0 and "strict/novel" not in last


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"separation": 3.5}, "separation is 3.5; wanted a whole number"),
        ({"separation": None}, "separation is None; wanted a whole number"),
        ({"separation": True}, "separation is True; wanted a whole number"),
        ({"separation": float("nan")}, "separation is nan; wanted a whole number"),
        ({"separation": 13}, "wanted a whole number of 0 to 12 bits"),
        ({"separation": "total_classes", "total_classes": 0}, "total_classes is 0; wanted"),
        ({"separation": "total_classes", "total_classes": 2.5}, "total_classes is 2.5; wanted"),
        ({"separation": "total_classes"}, "needs that number"),
        ({"batch_size": 1}, "batch norm needs at least 2 samples"),
    ],
)
def test_bad_arguments(build, given, message):
    with pytest.raises(InputError, match=message):
        build(**given)


def test_one_known_class_is_refused(build, blob_stream):
    with pytest.raises(InputError, match="one known class"):
        build().train(blob_stream(num_base=1).train_stream[0])


@pytest.mark.parametrize(("code_length", "active"), [(12, True), (64, False)])
def test_a_separation_of_nothing_is_told(build, blob_stream, caplog, code_length, active):
    strategy = build(code_length=code_length)
    strategy.train(blob_stream().train_stream[0])
    codes = strategy.report["codes"]
    assert (codes["separation"] > 0) == active == codes["separation_loss"].startswith("active")
    warned = [r for r in caplog.records if "strategy.separation=<bits>" in r.getMessage()]
    assert len(warned) == (not active)
    if not active:
        assert codes["radius"] == 1 and "the radius is 1" in warned[0].getMessage()
