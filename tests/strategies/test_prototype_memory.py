"""The prototype memory's own rules: its base stage, what it finds by hiding, what it refuses."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from cgcd.discovery import prototype_thresholds
from cgcd.discovery.prototype_thresholds import KnownClasses, Spreads
from cgcd.engine import Baselines, discovery_evaluator, run_stages
from cgcd.vocabulary import InputError
from strategies import NMC, PrototypeMemory, prototype_memory

BASE = replace(prototype_memory.BASE, epochs=2, batch_size=16)


@pytest.fixture
def build(blob_model):
    def build(**kwargs) -> PrototypeMemory:
        return PrototypeMemory(model=blob_model(), **{"base": BASE, "tune_base": False, **kwargs})

    return build


def test_the_base_stage_is_that_of_the_closed_form_strategies(build, blob_model, blob_stream):
    ours, other = build(tune_base=True), NMC(model=blob_model(), base=BASE)
    for strategy in (ours, other):
        strategy.train(blob_stream().train_stream[0])
    pairs = zip(ours.model.backbone.parameters(), other.model.backbone.parameters(), strict=True)
    assert all(torch.equal(one, two) for one, two in pairs)


def test_features_may_stay_as_they_come(build, blob_stream):
    strategy, scenario = build(), blob_stream()
    before = [p.clone() for p in strategy.model.backbone.parameters()]
    strategy.train(scenario.train_stream[0])
    after = strategy.model.backbone.parameters()
    assert all(torch.equal(one, two) for one, two in zip(before, after, strict=True))
    seen = strategy.stage_outputs(scenario.train_stream[0])
    found = strategy.report["thresholds"]
    known = KnownClasses.of(seen.features.numpy(), seen.labels.numpy())
    book = known.book(Spreads(found["known_spread"], found["opened_spread"]), 0.5)
    np.testing.assert_allclose(strategy.new_book().thresholds, book.thresholds)
    assert found["opened"] == pytest.approx(book.join_threshold, abs=1e-4)


def test_the_bound_is_the_most_similar_known_class(build, blob_stream):
    strategy, scenario = build(), blob_stream()
    strategy.train(scenario.train_stream[0])
    inputs = torch.stack([sample[0] for sample in scenario.stream.dataset.eval()])
    everything = strategy.new_book()
    everything._thresholds[:] = -1  # no sample is refused
    trunk = strategy.model.backbone.trunk(inputs)
    ids = everything.observe(strategy.book_rows(strategy.codes(inputs))).ids
    assert strategy.predict(trunk).argmax(-1).tolist() == ids.tolist()


def test_merges_are_told_and_measured(build, blob_stream, monkeypatch):
    monkeypatch.setattr(prototype_thresholds, "_alike", lambda *_: -1.0)  # all are one
    evaluator = discovery_evaluator(Baselines())
    strategy = build(merge_every=10, mature=1, evaluator=evaluator)
    last = run_stages(strategy, blob_stream()).rows[-1]
    lineage = strategy.book.lineage
    assert last["stream/merged"] == len(lineage) > 0
    assert last["stream/created"] == strategy.book.num_created
    assert strategy.report["merges"] == [list(merge) for merge in lineage]
    assert 0 <= last["merged/strict_all"] <= 1 and "floor/leader_strict_all" in last
    assert "stream/merged" not in run_stages(build(), blob_stream()).rows[-1]


def test_diverged_features_answer_nothing(build, blob_stream):
    strategy = build()
    strategy.train(blob_stream().train_stream[0])
    with torch.no_grad():
        next(strategy.model.backbone.tail.parameters()).fill_(torch.nan)
    with pytest.raises(InputError, match="1 of 1 codes hold nan"):
        strategy.observe(torch.ones(16))
    assert strategy.book is None


def test_thresholds_that_find_nothing_are_said(build, blob_stream, monkeypatch, caplog):
    build().train(blob_stream().train_stream[0])
    assert not caplog.records
    monkeypatch.setattr(prototype_thresholds, "hidden_score", lambda *_: 0.0)
    build().train(blob_stream().train_stream[0])
    assert "few categories will be opened" in caplog.text


def test_bad_arguments(build, blob_stream):
    for given, message in (
        ({"blend": 1.5}, "blend is 1.5"),
        ({"merge_every": -1}, "merge_every is -1"),
        ({"mature": 0}, "mature is 0"),
        ({"student_temperature": 0}, "student_temperature is 0"),
    ):
        with pytest.raises(InputError, match=message):
            build(**given)
    for given in ({"num_base": 2}, {"per_class": 3}):
        with pytest.raises(InputError, match="three classes of at least 4"):
            build().train(blob_stream(**given).train_stream[0])
