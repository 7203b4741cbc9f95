"""Ridge from accumulated sums: by hand, against the recursive form, and in any order."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from sklearn.linear_model import Ridge

from cgcd.models import RandomFeatures, RidgeHead, RidgeRegression, ridge


def regression(rows, labels, num_classes, penalty=1.0, weights=None, dtype=torch.float64):
    made = RidgeRegression(rows.shape[1], penalty, dtype)
    made.grow(num_classes)
    made.add(rows, labels, weights)
    return made


def recursive(rows, labels, penalty, batch):
    """The inverse and the weights, batch by batch, as ACIL updates them."""
    inverse = torch.eye(rows.shape[1]).double() / penalty
    weights = torch.zeros(rows.shape[1], 0).double()
    for h, y in zip(rows.split(batch), labels.split(batch), strict=True):
        gain = torch.linalg.inv(torch.eye(len(h)) + h @ inverse @ h.T)
        inverse = inverse - inverse @ h.T @ gain @ h @ inverse
        inverse = (inverse + inverse.T) / 2
        extra = max(int(y.max()) + 1 - weights.shape[1], 0)
        weights = torch.nn.functional.pad(weights, (0, extra))
        targets = torch.nn.functional.one_hot(y, weights.shape[1]).double()
        weights = weights + inverse @ h.T @ (targets - h @ weights)
    return inverse, weights


@pytest.fixture(scope="module")
def data():
    generator = np.random.default_rng(0)
    labels = np.sort(generator.integers(0, 5, 400))
    rows = np.maximum(generator.standard_normal((400, 60)) + np.eye(60)[labels], 0)
    return torch.as_tensor(rows), torch.as_tensor(labels)


def test_by_hand():
    first = torch.tensor([[1.0, 0], [1, 1]]).double()
    made = regression(first, torch.tensor([0, 1]), 2)
    torch.testing.assert_close(made.weights, torch.tensor([[0.4, 0.2], [-0.2, 0.4]]).double())
    made.grow(3)
    made.add(torch.tensor([[0.0, 2.0]]), torch.tensor([2]))
    wanted = torch.tensor([[6, 5, -2], [-1, 2, 6]]).double() / 17
    torch.testing.assert_close(made.weights, wanted)  # old columns change: their target is 0 here
    outputs = made(torch.tensor([[0.0, 2], [1, 1]]))
    torch.testing.assert_close(outputs, torch.tensor([[-2.0, 4, 12], [5, 7, 4]]).double() / 17)
    inverse, weights = recursive(
        torch.cat([first, torch.tensor([[0.0, 2.0]])]), torch.tensor([0, 1, 2]), 1.0, 1
    )
    torch.testing.assert_close(inverse, torch.tensor([[6.0, -1], [-1, 3]]).double() / 17)
    torch.testing.assert_close(weights, wanted)


def test_equals_scikit_learn(data):
    rows, labels = data
    targets = np.eye(5)[labels.numpy()]
    theirs = Ridge(alpha=0.3, fit_intercept=False, solver="cholesky").fit(rows.numpy(), targets)
    ours = regression(rows, labels, 5, 0.3).weights
    np.testing.assert_allclose(ours.T, theirs.coef_, atol=1e-10)


def test_equals_the_recursive_form(data):
    rows, labels = data
    _, weights = recursive(rows, labels, 0.1, batch=15)
    torch.testing.assert_close(regression(rows, labels, 5, 0.1).weights, weights, atol=1e-9, rtol=0)


@pytest.mark.parametrize("dtype, tolerance", [(torch.float64, 1e-9), (torch.float32, 1e-4)])
@pytest.mark.parametrize("parts", [1, 7, 40])
def test_any_order_of_stages_gives_the_solution_on_all_data(data, dtype, tolerance, parts):
    rows, labels = data
    whole = regression(rows, labels, 5, 0.1)
    order = torch.as_tensor(np.random.default_rng(parts).permutation(400))
    made = RidgeRegression(60, 0.1, dtype)
    for part in order.chunk(parts):
        made.grow(max(made.num_classes, int(labels[part].max()) + 1))
        made.add(rows[part], labels[part])
    torch.testing.assert_close(made.weights.double(), whole.weights, atol=tolerance, rtol=0)
    assert torch.equal(made.counts, whole.counts)


def test_a_part_can_be_taken_back_and_a_weight_is_a_copy(data):
    rows, labels = data
    made, before = regression(rows[:300], labels[:300], 5), regression(rows[:300], labels[:300], 5)
    made.add(rows[300:], labels[300:])
    made.add(rows[300:], labels[300:], -torch.ones(100))
    torch.testing.assert_close(made.weights, before.weights, atol=1e-9, rtol=0)
    twice = regression(torch.cat([rows, rows[:1]]), torch.cat([labels, labels[:1]]), 5)
    weights = torch.ones(400)
    weights[0] = 2
    torch.testing.assert_close(regression(rows, labels, 5, 1.0, weights).weights, twice.weights)


def test_an_endless_penalty_decides_by_class_sums(data):
    rows, labels = data
    sums = torch.stack([rows[labels == c].sum(0) for c in range(5)])
    made = regression(rows, labels, 5, 1e12)
    assert torch.equal(made(rows).argmax(1), (rows @ sums.T).argmax(1))


def test_a_solution_leaves_the_sums_as_they_are(data):
    made = regression(*data, 5, 0.3)
    before = made.gram.clone()
    _ = made.weights
    assert torch.equal(made.gram, before)


def test_a_changed_penalty_needs_no_sample(data):
    rows, labels = data
    made = regression(rows, labels, 5, 1.0)
    state = {**made.state_dict(), "penalty": torch.tensor(0.1, dtype=torch.float64)}
    fresh = RidgeRegression(60)
    fresh.load_state_dict(state)
    assert torch.equal(fresh.weights, regression(rows, labels, 5, 0.1).weights)


def test_random_features_are_their_seed():
    rows = torch.randn(4, 8, generator=torch.Generator().manual_seed(0))
    made = RandomFeatures(8, 5, seed=3)
    assert set(made.state_dict()) == {"seed"} and not list(made.parameters())
    assert torch.equal(made(rows), RandomFeatures(8, 5, seed=3)(rows))
    other = RandomFeatures(8, 5, seed=4)
    assert not torch.equal(made(rows), other(rows))
    other.load_state_dict(made.state_dict())
    assert torch.equal(made(rows), other(rows))
    torch.testing.assert_close(made(100 * rows), made(rows))  # of the unit feature
    assert (made(rows) >= 0).all()


@pytest.mark.parametrize("balanced", [False, True])
def test_the_head_is_ridge_on_random_features(data, balanced):
    rows, labels = data
    head = RidgeHead(60, num_features=80, penalty=0.1, balanced=balanced)
    early = labels < 3
    head.remember(rows[early], labels[early])
    penalty = float(head.regression.penalty)
    assert penalty == pytest.approx(0.1 * head.regression.mean_diagonal)
    head.append(rows, labels, 5)  # rows of classes that are there are left out
    weights = 1 / labels.bincount()[labels].double() if balanced else None
    whole = regression(head.random(rows), labels, 5, penalty, weights)
    torch.testing.assert_close(head(rows), whole(head.random(rows)), atol=1e-9, rtol=0)
    fresh = RidgeHead(60, num_features=80, seed=9)
    fresh.load_state_dict(head.state_dict())
    assert torch.equal(fresh(rows), head(rows))


def test_later_samples_of_a_balanced_class_count_as_its_first_ones(data):
    rows, labels = data
    head = RidgeHead(60, num_features=80, penalty=0.1, balanced=True)
    head.remember(rows[:-20], labels[:-20])
    penalty, sizes = float(head.regression.penalty), labels[:-20].bincount().double()
    restored = RidgeHead(60, num_features=80, balanced=True)
    restored.load_state_dict(head.state_dict())
    for few in (slice(-20, -7), slice(-7, None)):
        restored.update(rows[few], labels[few], 0.5)
    weights = 1 / sizes[labels]
    weights[-20:] /= 2
    whole = regression(head.random(rows), labels, 5, penalty, weights)
    torch.testing.assert_close(restored(rows), whole(head.random(rows)), atol=1e-9, rtol=0)


@pytest.mark.parametrize("kept", [0, 2**29])
def test_the_penalty_is_the_best_of_five_folds(data, kept, monkeypatch):
    monkeypatch.setattr(ridge, "KEPT_INPUTS", kept)
    rows, labels = data
    noisy = torch.where(
        torch.rand(400, generator=torch.Generator().manual_seed(0)) < 0.3, 4, labels
    )
    head = RidgeHead(60, num_features=50, penalty=None)
    head.remember(rows, noisy)
    chosen = float(head.regression.penalty) / head.regression.mean_diagonal
    order = np.random.default_rng(0).permutation(400)
    scores = {}
    for share in (1e-3, 1e-2, 1e-1, 1.0, 1e1, 1e2, 1e3):
        right = 0
        for fold in range(5):
            held = order[np.arange(400) % 5 == fold]
            rest = np.setdiff1d(order, held)
            inputs = head.random(rows)
            unit = float(inputs[rest].square().sum(0).mean())
            made = regression(inputs[rest], noisy[rest], 5, share * unit)
            right += int((made(inputs[held]).argmax(1) == noisy[held]).sum())
        scores[share] = right
    assert scores[min(scores, key=lambda s: abs(s / chosen - 1))] == max(scores.values())


def test_bad_arguments_are_named(data):
    with pytest.raises(ValueError, match="penalty is 0"):
        RidgeRegression(3, 0.0)
    with pytest.raises(ValueError, match="penalty is -1"):
        RidgeHead(3, penalty=-1.0)
    with pytest.raises(ValueError, match="num_features is 0"):
        RandomFeatures(3, 0)
    with pytest.raises(ValueError, match="none can be forgotten"):
        regression(*data, 5).grow(4)
    with pytest.raises(ValueError, match="for 5 classes; grow first"):
        regression(*data, 5).add(data[0], data[1] + 3)
    with pytest.raises(ValueError, match="too small"):
        made = RidgeRegression(4, 1e-300, torch.float32)
        made.grow(1)
        _ = made.weights
