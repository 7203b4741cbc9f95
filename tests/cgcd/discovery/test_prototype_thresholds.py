"""Thresholds of a prototype memory: by hand, against a loop, and found by hiding classes."""

from __future__ import annotations

import numpy as np
import pytest

from cgcd.discovery.prototype_thresholds import (
    KnownClasses,
    Spreads,
    calibrated_spreads,
    hidden_score,
    soft_thresholds,
)


def blobs(num_classes: int, per_class: int, spread: float = 0.3, seed: int = 0):
    generator = np.random.default_rng(seed)
    centers = generator.standard_normal((num_classes, 12))
    labels = np.repeat(np.arange(num_classes), per_class)
    return centers[labels] + spread * generator.standard_normal((len(labels), 12)), labels


def unit(row: np.ndarray) -> np.ndarray:
    return row / np.linalg.norm(row)


@pytest.mark.parametrize(("blend", "wanted"), [(0.5, (0.80, 0.68)), (1.0, (0.86, 0.62))])
def test_soft_thresholds_of_the_specification(blend, wanted):
    means, deviations = np.array([0.9, 0.7]), np.array([0.05, 0.1])
    np.testing.assert_allclose(soft_thresholds(means, deviations, 0.8, blend), wanted)


def test_a_sample_is_left_out_of_the_mean_it_is_compared_with():
    features, labels = blobs(3, 5)
    features, labels = features[:-4], labels[:-4]  # the last class has one sample
    known = KnownClasses.of(features, labels)
    rows = np.stack([unit(row) for row in features])
    origin = np.mean([rows[labels == c].mean(0) for c in range(3)], axis=0)
    np.testing.assert_allclose(known.origin, origin)
    rows = np.stack([unit(row - origin) for row in rows])
    for c in (0, 1):
        members = np.flatnonzero(labels == c)
        own = [rows[i] @ unit(rows[members[members != i]].sum(0)) for i in members]
        assert known.cosines[c] == pytest.approx(np.mean(own))
        assert known.deviations[c] == pytest.approx(np.std(own))
    assert known.cosines[2] == pytest.approx(known.cosines[:2].mean())
    assert known.deviations[2] == pytest.approx(known.deviations[:2].mean())
    np.testing.assert_allclose(known.directions[1], rows[labels == 1].mean(0))


def test_a_score_by_hand():
    truth = np.array([0, 0, 1, 1, 2, 2, 3, 3])
    ids = np.array([0, 0, 1, 5, 4, 4, 4, 5])
    assert hidden_score(ids, truth, 2) == pytest.approx(0.75)  # 3 of 4 named, 3 of 4 together
    ids[6] = 0  # a hidden sample under a known name is in no category
    assert hidden_score(ids, truth, 2) == pytest.approx(0.75)
    ids[4] = 1
    assert hidden_score(ids, truth, 2) == pytest.approx(2 * 0.75 * 0.5 / 1.25)
    assert hidden_score(truth, truth, 2) == 1
    assert hidden_score(np.zeros(8, int), truth, 2) == 0


def test_hidden_classes_find_thresholds_that_serve_a_stream():
    features, labels = blobs(14, 24)
    known = labels < 8
    labeled = known & (np.arange(len(labels)) % 2 == 0)
    spreads = calibrated_spreads(features[labeled], labels[labeled], 0.5)
    assert spreads.score > 0.95
    book = KnownClasses.of(features[labeled], labels[labeled]).book(spreads, 0.5)
    order = np.random.default_rng(1).permutation(np.flatnonzero(~labeled))
    ids = book.observe(features[order]).ids
    assert hidden_score(ids, labels[order], 8) > 0.9 and 6 <= book.num_created <= 9


@pytest.mark.parametrize("first", [40, 1000])
def test_a_class_of_many_samples_keeps_its_direction(first):
    features, labels = blobs(12, first, seed=3)
    place = np.arange(len(labels)) % first
    labeled = (labels < 8) & (place < np.where(labels == 0, first - 20, 20))
    known = KnownClasses.of(features[labeled], labels[labeled])
    book = known.book(calibrated_spreads(features[labeled], labels[labeled], 0.5), 0.5)
    rest = np.random.default_rng(0).permutation(np.flatnonzero(place >= first - 20))
    ids = book.observe(features[rest]).ids
    assert (ids[labels[rest] == 0] == 0).mean() > 0.9 and 3 <= book.num_created <= 6


def test_three_known_classes_are_enough_to_find_others():
    found = []
    for seed in range(5):
        features, labels = blobs(6, 40, seed=seed)
        labeled = (labels < 3) & (np.arange(len(labels)) % 2 == 0)
        spreads = calibrated_spreads(features[labeled], labels[labeled], 0.5)
        book = KnownClasses.of(features[labeled], labels[labeled]).book(spreads, 0.5)
        book.observe(features[np.random.default_rng(1).permutation(np.flatnonzero(~labeled))])
        found.append(book.num_created)
    assert np.mean(found) > 2


def test_only_the_labeled_samples_and_the_seed_count():
    features, labels = blobs(6, 8)
    first = calibrated_spreads(features, labels, 0.5, candidates=(0.5, 3.0))
    assert first == calibrated_spreads(7 * features, labels, 0.5, candidates=(0.5, 3.0))
    assert {first.known, first.opened} <= {0.5, 3.0}


def test_two_prototypes_of_one_class_are_more_alike_than_the_threshold():
    features, labels = blobs(6, 10)
    alike = KnownClasses.of(features, labels).alike
    first, second = (
        KnownClasses.of(features[side::2], labels[side::2]).directions for side in (0, 1)
    )
    cosines = np.array([[unit(a) @ unit(b) for b in second] for a in first])
    assert cosines.diagonal().min() > alike > (cosines - 2 * np.eye(6)).max()
    assert KnownClasses.of(features[:10], labels[:10]).alike == 1


def test_too_little_to_tell():
    features, labels = blobs(3, 1)
    with pytest.raises(ValueError, match="two of at least one class"):
        KnownClasses.of(features, labels)
    features, labels = blobs(3, 2)
    with pytest.raises(ValueError, match="four of at least two classes"):
        calibrated_spreads(features, labels, 0.5)
    with pytest.raises(ValueError, match="2 classes; wanted at least three"):
        calibrated_spreads(features[:4], labels[:4], 0.5)
    assert KnownClasses.of(features, labels).book(Spreads(1, 1), 0.5).num_known == 3
