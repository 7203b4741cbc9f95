"""Class statistics: scatters by hand, and the same numbers whatever the order and the parts."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from cgcd.memory import ClassStatistics


def filled(rows, labels, num_classes, weights=None):
    made = ClassStatistics(len(rows[0]))
    made.grow(num_classes)
    weights = None if weights is None else torch.as_tensor(weights)
    made.add(torch.as_tensor(rows, dtype=torch.float32), torch.as_tensor(labels), weights)
    return made


@pytest.fixture
def data():
    generator = np.random.default_rng(0)
    rows = generator.standard_normal((60, 4)) * [1, 2, 3, 4] + 50
    return torch.as_tensor(rows), torch.as_tensor(generator.integers(0, 5, 60))


def same(a, b, **kwargs):
    for name in ("counts", "means", "scatters"):
        torch.testing.assert_close(getattr(a, name), getattr(b, name), **kwargs)


def test_a_stream_counts_each_class_by_itself():
    made = ClassStatistics(2)
    made.grow(2)
    for row, label in (([1.0, 0.0], 0), ([3.0, 0.0], 0), ([0.0, 5.0], 1)):
        made.add(torch.tensor([row]), torch.tensor([label]))
    assert made.scatters.tolist() == [[[2, 0], [0, 0]], [[0, 0], [0, 0]]]
    assert made.means.tolist() == [[2, 0], [0, 5]]


def test_two_parts_by_hand():
    one, two = filled([[0, 0], [2, 0]], [0, 0], 1), filled([[4, 3], [6, 3], [5, 6]], [0, 0, 0], 1)
    one.merge(two)
    assert one.counts.tolist() == [5]
    torch.testing.assert_close(one.means[0], torch.tensor([3.4, 2.4]).double())
    wanted = torch.tensor([[23.2, 19.2], [19.2, 25.2]]).double()
    torch.testing.assert_close(one.scatters[0], wanted)


@pytest.mark.parametrize("weight, mean", [(1.0, [0.5, 0.5]), (0.5, [2 / 3, 1 / 3])])
def test_a_mean_moves_by_counts_and_weights(weight, mean):
    made = filled([[1, 0]] * 10, [0] * 10, 1)
    made.add(torch.tensor([[0.0, 1.0]] * 10), torch.zeros(10).long(), torch.full((10,), weight))
    torch.testing.assert_close(made.means[0], torch.tensor(mean).double(), atol=1e-6, rtol=0)


def test_equals_numpy(data):
    rows, labels = data
    made = ClassStatistics(4)
    made.remember(rows, labels)
    for c in range(5):
        group = rows[labels == c].numpy()
        np.testing.assert_allclose(made.means[c], group.mean(0), rtol=1e-14)
        np.testing.assert_allclose(made.covariances()[c], np.cov(group.T, bias=True), rtol=1e-11)
        np.testing.assert_allclose(made.covariances(1)[c], np.cov(group.T), rtol=1e-11)
    each = torch.stack([made.covariances()[c] for c in range(5)])
    torch.testing.assert_close(made.pooled_covariance("classes"), each.mean(0))
    pooled = (each * made.counts[:, None, None]).sum(0) / 60
    torch.testing.assert_close(made.pooled_covariance(), pooled)


@pytest.mark.parametrize("parts", [1, 3, 60])
def test_order_and_parts_do_not_matter(data, parts):
    rows, labels = data
    whole = ClassStatistics(4)
    whole.remember(rows, labels, 6)
    order = torch.as_tensor(np.random.default_rng(1).permutation(60))
    made = ClassStatistics(4)
    made.grow(6)
    for part in order.chunk(parts):
        made.add(rows[part], labels[part])
    same(made, whole, rtol=1e-10, atol=1e-9)
    assert made.counts[5] == 0 and not made.scatters[5].any()  # a class without a sample


def test_weight_two_is_the_sample_twice(data):
    rows, labels = data
    weights = torch.ones(60).double()
    weights[:7] = 2
    made = ClassStatistics(4)
    made.grow(5)
    made.add(rows, labels, weights)
    twice = ClassStatistics(4)
    twice.remember(torch.cat([rows, rows[:7]]), torch.cat([labels, labels[:7]]))
    same(made, twice, rtol=1e-10, atol=1e-9)


def test_hidden_labels_do_not_count_and_old_rows_keep_their_bits(data):
    rows, labels = data
    hidden = labels.clone()
    hidden[labels == 4] = -1
    made = ClassStatistics(4)
    made.remember(rows, hidden)
    assert len(made) == 4
    before = made.scatters.clone(), made.means.clone()
    made.grow(7)
    made.add(rows[:3], torch.full((3,), 6))
    assert torch.equal(made.scatters[:4], before[0]) and torch.equal(made.means[:4], before[1])


def test_a_state_of_any_size_loads(data):
    made = ClassStatistics(4)
    made.remember(*data)
    fresh = ClassStatistics(4)
    fresh.load_state_dict(made.state_dict())
    same(fresh, made, rtol=0, atol=0)
    with pytest.raises(RuntimeError, match="size mismatch"):
        ClassStatistics(5).load_state_dict(made.state_dict())


def test_what_does_not_fit_is_said(data):
    rows, labels = data
    made = ClassStatistics(4)
    with pytest.raises(ValueError, match="for 0 classes; grow first"):
        made.add(rows, labels)
    made.grow(5)
    with pytest.raises(ValueError, match="none can be forgotten"):
        made.grow(4)
    with pytest.raises(ValueError, match=r"wanted \(N, 4\)"):
        made.add(rows[:, :3], labels)
    with pytest.raises(ValueError, match="not all above 0"):
        made.add(rows, labels, torch.zeros(60))
    with pytest.raises(ValueError, match="merge the same classes"):
        made.merge(ClassStatistics(4))
