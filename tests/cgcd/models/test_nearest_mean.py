"""The four nearest means: scikit-learn, a point on which they disagree, and what they ignore."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from sklearn.neighbors import NearestCentroid

from cgcd.models import NearestMean
from cgcd.models.nearest_mean import DEFINITIONS


@pytest.fixture
def data():
    generator = np.random.default_rng(0)
    labels = np.repeat(np.arange(4), 15)
    rows = generator.standard_normal((60, 5)) + generator.standard_normal((4, 5))[labels]
    return torch.as_tensor(rows), torch.as_tensor(labels)


def fitted(definition, rows, labels):
    made = NearestMean(rows.shape[1], definition)
    made.remember(rows, labels)
    return made


def test_euclid_is_scikit_learns(data):
    rows, labels = data
    theirs = NearestCentroid().fit(rows.numpy(), labels.numpy())
    others = torch.randn(500, 5, generator=torch.Generator().manual_seed(0)).double()
    ours = fitted("euclid", rows, labels)(others).argmax(1)
    assert ours.tolist() == theirs.predict(others.numpy()).tolist()


@pytest.mark.parametrize(
    "definition, answer",
    [("euclid", 0), ("cos_rawmean", 0), ("euclid_unit", 1), ("cos_unitmean", 1)],
)
def test_they_disagree(definition, answer):
    rows = torch.tensor([[4.0, 0], [0, 1], [2, 2], [2.4, 1.8]])
    made = fitted(definition, rows, torch.tensor([0, 0, 1, 1]))
    assert made(torch.tensor([[1.2, 0.5]])).argmax(1).item() == answer


@pytest.mark.parametrize("definition", DEFINITIONS)
def test_scores_are_cosines_or_minus_squared_distances(data, definition):
    rows, labels = data
    made = fitted(definition, rows, labels)
    points, centers = made.points(rows), made.centers
    away = torch.cdist(points, centers).square()
    wanted = 1 - away / 2 if definition == "cos_unitmean" else -away
    if definition == "cos_rawmean":
        wanted = torch.nn.functional.cosine_similarity(rows[:, None], centers[None], dim=2)
    torch.testing.assert_close(made(rows), wanted)


@pytest.mark.parametrize("definition", ["cos_rawmean", "cos_unitmean"])
def test_cosines_do_not_see_a_scale(data, definition):
    rows, labels = data
    large = fitted(definition, 100 * rows, labels)(100 * rows)
    torch.testing.assert_close(large, fitted(definition, rows, labels)(rows))


@pytest.mark.parametrize("definition", DEFINITIONS)
def test_provisional_classes_are_those_that_would_be_appended(data, definition):
    rows, labels = data
    made = fitted(definition, rows[:30], labels[:30])
    trial = made.provisional_scores(rows, labels, 4)
    before, means = made(rows), made.statistics.means.clone()
    assert trial.shape == (60, 2) and made.num_classes == 2
    made.append(rows, labels, 4)
    assert torch.equal(made.statistics.means[:2], means)  # the others' samples do not count
    torch.testing.assert_close(made(rows), torch.cat([before, trial], 1))


def test_a_class_without_a_sample_never_wins(data):
    rows, labels = data
    made = fitted("euclid", rows, labels)
    made.statistics.grow(5)
    assert (made(rows)[:, 4] == -torch.inf).all()


def test_an_update_counts_by_its_weight():
    made = fitted("euclid", torch.tensor([[1.0, 0.0]] * 10), torch.zeros(10).long())
    made.update(torch.tensor([[0.0, 1.0]] * 10), torch.zeros(10).long(), weight=0.5)
    torch.testing.assert_close(made.centers[0], torch.tensor([2 / 3, 1 / 3]).double())


def test_a_state_of_any_size_loads(data):
    made = fitted("cos_unitmean", *data)
    fresh = NearestMean(5)
    fresh.load_state_dict(made.state_dict())
    assert torch.equal(fresh(data[0]), made(data[0]))


def test_an_unknown_definition_is_named():
    with pytest.raises(ValueError, match="'cosine'; wanted one of cos_unitmean"):
        NearestMean(3, "cosine")
