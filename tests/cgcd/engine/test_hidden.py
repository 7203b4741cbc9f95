"""Scenarios of hidden known classes: who is where, and that nothing else is read."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from cgcd.engine.hidden import _images_and_views, hidden_class_scenario
from cgcd.engine.seeding import Draw, drawing
from cgcd.stages import DiscoveryScenario
from cgcd.vocabulary import UNLABELED, InputError


def ids(stage):
    return np.asarray(list(stage.dataset.sample_id))


def truth_of(outer):
    """Outer row of every labeled sample by its number."""
    stage = outer.train_stream[0]
    return {i: row for i, row in zip(ids(stage), stage.labels, strict=True) if row != UNLABELED}


def rows_of(inner, outer, stage):
    """Inner row of every sample of a stage, from the names of the classes."""
    truth = truth_of(outer)
    row = {name: k for k, name in enumerate(inner.class_names)}
    return np.array([row[outer.class_names[truth[i]]] for i in ids(stage)])


@pytest.fixture(scope="module")
def outer(blobs):
    return blobs(6, (1, 1, 1), per_class=20)


@pytest.fixture(scope="module")
def inner(outer):
    return hidden_class_scenario(outer, fold=0, num_folds=2, seed=3)


def test_a_continual_scenario_stays_one(outer, inner):
    assert inner.setting == "continual" and inner.num_base == 4 and inner.num_novel == "given"
    assert len(inner.train_stream) == len(inner.test_stream) == 3  # two hidden classes
    assert [stage.num_novel for stage in inner.train_stream] == [4, 1, 1]
    assert inner.description["hidden_classes"] == list(inner.class_names[4:])
    base, *later = inner.train_stream
    assert base.labeled and all((stage.labels == UNLABELED).all() for stage in later)
    assert base.labels.tolist() == rows_of(inner, outer, base).tolist()


def test_sizes_are_the_shares(outer, inner):
    counts = [
        np.bincount(rows_of(inner, outer, s), minlength=6).tolist() for s in inner.train_stream
    ]
    assert counts == [[11, 11, 11, 11, 0, 0], [2, 2, 2, 2, 11, 0], [2, 2, 2, 2, 4, 15]]
    assert [np.unique(s.labels, return_counts=True)[1].tolist() for s in inner.test_stream] == [
        [5] * 4,
        [5],
        [5],
    ]


def test_no_sample_is_at_two_places(outer, inner):
    everywhere = [ids(stage) for stage in (*inner.train_stream, *inner.test_stream)]
    joined = np.concatenate(everywhere)
    assert len(set(joined)) == len(joined) and set(joined) == set(truth_of(outer))
    place = {i: at for at, i in enumerate(ids(outer.train_stream[0]))}
    for part in everywhere:  # in the order of the outer stage
        assert (np.diff([place[i] for i in part]) > 0).all()


def test_test_stages_show_the_truth_of_their_classes(outer, inner):
    for index, stage in enumerate(inner.test_stream):
        rows = rows_of(inner, outer, stage)
        assert stage.labels.tolist() == rows.tolist()
        assert set(rows) == (set(range(4)) if index == 0 else {3 + index})


def test_samples_keep_their_views(outer, inner):
    source, stage = outer.train_stream[0].dataset, inner.train_stream[1].dataset
    place = ids(outer.train_stream[0]).tolist().index(list(stage.sample_id)[5])
    with drawing(Draw(seed=4, epoch=2)):
        assert torch.equal(stage.train()[5][0], source.train()[place][0])
        assert not torch.equal(stage.train()[5][0][0], stage.eval()[5][0])
    assert torch.equal(stage.eval()[5][0], source.eval()[place][0])


@pytest.mark.parametrize(("num_folds", "hidden"), [(2, 0.4), (3, 0.34), (6, 0.1), (5, 0.6)])
def test_folds_hide_different_classes(outer, num_folds, hidden):
    made = [
        hidden_class_scenario(outer, fold=fold, num_folds=num_folds, hidden=hidden)
        for fold in range(num_folds)
    ]
    sets = [frozenset(one.description["hidden_classes"]) for one in made]
    assert len(set(sets)) == num_folds and len({one.stream_hash for one in made}) == num_folds
    if num_folds * len(sets[0]) <= 6:
        assert len(frozenset.union(*sets)) == num_folds * len(sets[0])


def test_the_seed_draws_classes_and_samples(outer):
    hashes = {
        hidden_class_scenario(outer, fold=0, num_folds=2, seed=s).stream_hash for s in (0, 0, 1, 2)
    }
    assert len(hashes) == 3


@pytest.mark.parametrize(
    ("share", "num_stages", "wanted"), [(0.01, None, 2), (0.99, None, 4), (0.5, 1, 2)]
)
def test_as_many_stages_as_hidden_classes_at_most(outer, share, num_stages, wanted):
    made = hidden_class_scenario(
        outer, fold=0, num_folds=1, hidden=share, num_stages=num_stages, kept_for_later=0
    )
    assert len(made.train_stream) == wanted
    assert made.num_base == {0.01: 5, 0.99: 2, 0.5: 3}[share]


def test_silent_stages_stay_silent(blobs):
    made = hidden_class_scenario(blobs(4, (1, 1), num_novel="estimate"), fold=0, num_folds=2)
    assert {stage.num_novel for stage in made.train_stream} == {None}
    assert made.num_novel == "estimate"


def test_an_online_scenario_stays_one(blob_stream):
    outer = blob_stream(5, 3, per_class=20)
    inner = hidden_class_scenario(outer, fold=1, num_folds=2)
    assert inner.setting == "online" and inner.num_base == 3
    stream = inner.train_stream[1]
    assert inner.truth.tolist() == rows_of(inner, outer, stream).tolist()
    assert np.bincount(inner.train_stream[0].labels).tolist() == [11] * 3
    assert np.bincount(inner.truth).tolist() == [9, 9, 9, 20, 20]
    assert (np.diff(ids(stream)) < 0).any() and inner.window == len(inner.truth)
    assert not set(ids(stream)) & set(ids(inner.train_stream[0]))
    assert {*ids(stream), *ids(inner.train_stream[0])} == set(truth_of(outer))


@pytest.mark.parametrize("given", [True, False])
def test_a_single_stage_stays_one(blob_single_stage, given):
    outer = blob_single_stage(5, 3, per_class=40, given=given)
    inner = hidden_class_scenario(outer, fold=0, num_folds=2)
    assert inner.setting == "single_stage" and inner.num_base == 3
    train, (unlabeled,), (test,) = (
        inner.train_stream[0],
        inner.unlabeled_stream,
        inner.test_stream,
    )
    assert train.num_novel == (2 if given else None)
    assert np.bincount(train.labels[train.labels >= 0]).tolist() == [11] * 3
    assert np.bincount(unlabeled.labels).tolist() == [4, 4, 4, 15, 15]
    assert np.bincount(test.labels).tolist() == [5] * 5
    for stage in (unlabeled, test):
        assert stage.labels.tolist() == rows_of(inner, outer, stage).tolist()
    assert {*ids(train), *ids(test)} == set(truth_of(outer))
    assert not set(ids(train)) & set(ids(test))


def test_no_label_of_the_outer_stage_is_within_reach(outer, inner):
    todo, seen, found = [inner.train_stream[1].train().dataset], set(), []
    while todo:
        item = todo.pop()
        if id(item) in seen:
            continue
        seen.add(id(item))
        if isinstance(item, list | tuple | dict):
            todo.extend(item.values() if isinstance(item, dict) else item)
            found += [list(item)] if isinstance(item, list) else []
        elif isinstance(item, np.ndarray):
            found.append(item.tolist())
        todo.extend(getattr(item, "__dict__", {}).values())
    stage = inner.train_stream[1]
    assert ids(stage).tolist() in found  # the walk does get there
    assert outer.train_stream[0].labels.tolist() not in found
    assert rows_of(inner, outer, stage).tolist() not in found


def test_only_stages_of_ours_are_cut(outer):
    whole = outer.train_stream[0].dataset
    with pytest.raises(ValueError, match="stage_dataset"):
        _images_and_views(whole.concat(outer.train_stream[1].dataset))


class Forbidden:
    """A stage that tells how many classes are new and fails whoever asks for more."""

    num_novel = 1

    def __getattr__(self, name):
        raise AssertionError(f"{name} of a stage that must not be opened")


def test_only_the_labeled_stage_is_opened(outer):
    known = hidden_class_scenario(outer, fold=0, num_folds=2)
    base = outer.train_stream[0]

    class Closed:
        name, setting, num_novel = "closed", "continual", "given"
        data_hash = "a digest of samples, not of labels"
        class_names = outer.class_names
        train_stream = (base, Forbidden(), Forbidden(), Forbidden())

        def __getattr__(self, name):
            raise AssertionError(f"{name} must not be read")

    made = hidden_class_scenario(Closed(), fold=0, num_folds=2)
    assert isinstance(made, DiscoveryScenario) and made.stream_hash == known.stream_hash


@pytest.mark.parametrize(("per_class", "labeled"), [(2, 1), (3, 1), (4, 2)])
def test_small_classes_are_cut_too(blobs, per_class, labeled):
    made = hidden_class_scenario(blobs(3, (1,), per_class=per_class), fold=0, num_folds=1)
    assert np.bincount(made.train_stream[0].labels).tolist() == [labeled] * 2
    assert len(made.test_stream[1].dataset) == 1


def test_a_lone_sample_stays_labeled(blob_stream):
    def lone(labels):
        labels = labels.copy()
        labels[1:20] = 1  # one sample of class 0 is left
        return labels

    outer = blob_stream(4, 2, per_class=20, relabel=lone)
    for fold in range(3):
        made = hidden_class_scenario(outer, fold=fold, num_folds=3)
        assert made.class_names[0] == "blob 0" and (made.train_stream[0].labels == 0).sum() == 1


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"fold": 2}, "fold is 2"),
        ({"fold": -1}, "fold is -1"),
        ({"num_folds": 0}, "num_folds is 0"),
        ({"num_folds": 7}, "7 folds cannot hide different classes"),
        ({"hidden": 0}, "hidden is 0"),
        ({"hidden": 1.0}, "hidden is 1.0"),
        ({"hidden": "x"}, "tune.hidden="),
        ({"held_out": 1}, "held_out is 1"),
        ({"kept_for_later": 0.75}, "kept_for_later is 0.75"),
        ({"kept_for_later": -0.1}, "kept_for_later is -0.1"),
        ({"num_stages": 0}, "num_stages is 0"),
        ({"num_stages": True}, "num_stages is True"),
    ],
)
def test_what_cannot_be_used_is_named(outer, change, message):
    with pytest.raises(InputError, match=message):
        hidden_class_scenario(outer, **{"fold": 0, "num_folds": 2, **change})


def test_too_few_classes_or_samples_are_refused(blobs):
    with pytest.raises(InputError, match="labels 2 classes"):
        hidden_class_scenario(blobs(2, (1,)), fold=0, num_folds=1)
    with pytest.raises(InputError, match="0 of them with two samples"):
        hidden_class_scenario(blobs(4, (1,), per_class=1), fold=0, num_folds=1)
