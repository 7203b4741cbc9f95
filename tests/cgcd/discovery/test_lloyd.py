import numpy as np
import pytest
import torch

from cgcd.discovery import nearest as nearest_module
from cgcd.discovery.lloyd import lloyd, sums_of_clusters
from cgcd.discovery.nearest import NearestBesidePinned, nearest
from cgcd.discovery.plus_plus import SampleDistances, plus_plus
from cgcd.discovery.swaps import swapped


def naive_lloyd(points, centers, steps, num_pinned=0):
    centers = centers.astype(np.float64).copy()
    for _ in range(steps):
        labels = np.array([np.argmin(((x - centers) ** 2).sum(1)) for x in points])
        for c in range(num_pinned, len(centers)):
            if (labels == c).any():
                centers[c] = points[labels == c].mean(0)
    return labels, centers


def some_points(num=300, dim=5, seed=0):
    return torch.randn(num, dim, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("num_pinned", [0, 3])
@pytest.mark.parametrize("keeps_bounds", [False, True])
@pytest.mark.parametrize("steps", [1, 2, 60])
def test_against_a_loop(monkeypatch, num_pinned, keeps_bounds, steps):
    monkeypatch.setattr(nearest_module, "WORTHWHILE", 0 if keeps_bounds else 1 << 40)
    points = some_points()
    found = lloyd(points, points[:8], num_pinned=num_pinned, max_iterations=steps)
    labels, centers = naive_lloyd(points.numpy(), points[:8].numpy(), steps, num_pinned)
    np.testing.assert_array_equal(found.labels.numpy(), labels)
    np.testing.assert_allclose(found.centroids.numpy(), centers, atol=1e-5)
    assert torch.equal(found.centroids[:num_pinned], points[:num_pinned])
    inertia = ((points.numpy() - centers[labels]) ** 2).sum()
    assert found.inertia == pytest.approx(inertia, rel=1e-5)
    assert found.num_iterations <= steps


def test_order_of_samples_does_not_matter():
    points = some_points()
    order = torch.randperm(300, generator=torch.Generator().manual_seed(1))
    one = lloyd(points, points[:8], max_iterations=100)
    other = lloyd(points[order], points[:8], max_iterations=100)
    assert torch.equal(one.labels[order], other.labels)


def test_tolerance_stops_early_and_zero_does_not():
    points = some_points(2000)
    exact = lloyd(points, points[:20], max_iterations=500)
    early = lloyd(points, points[:20], max_iterations=500, tolerance=1e-2)
    assert 1 < early.num_iterations < exact.num_iterations < 500
    again = lloyd(points, exact.centroids, max_iterations=500)
    assert again.num_iterations <= 2 and torch.equal(again.labels, exact.labels)


def test_an_empty_cluster_takes_the_farthest_sample():
    points = torch.tensor([[0.0], [1.0], [2.0], [10.0], [11.0], [40.0]])
    found = lloyd(points, torch.tensor([[1.0], [12.0], [900.0]]), max_iterations=1)
    assert found.labels.tolist() == [0, 0, 0, 1, 1, 2]
    assert found.centroids.flatten().tolist() == [1.0, 10.5, 40.0]
    # a pinned center may stay without samples
    pinned = lloyd(points, torch.tensor([[900.0], [1.0], [12.0]]), num_pinned=1, max_iterations=9)
    assert pinned.centroids[0].item() == 900 and 0 not in pinned.labels
    # and gives up even its only sample to a new one
    only = lloyd(points[5:], torch.tensor([[50.0], [900.0]]), num_pinned=1, max_iterations=9)
    assert only.centroids.flatten().tolist() == [50.0, 40.0] and only.labels.tolist() == [1]
    # held samples keep a cluster alive that no free sample joins
    held = sums_of_clusters(torch.tensor([[100.0], [102.0]]), torch.tensor([2, 2]), 3)
    kept = lloyd(points, torch.tensor([[1.0], [12.0], [101.0]]), held=held, max_iterations=9)
    assert kept.centroids[2].item() == 101 and 2 not in kept.labels


def plus_plus_draws(points, centers, draws):
    return plus_plus(SampleDistances(points, centers), np.array([draws])).tolist()


def test_plus_plus_by_hand():
    points = torch.tensor([[0.0], [1.0], [3.0], [6.0]])
    # squared distances to 0: 0 1 9 36, running shares of 46: 0 1 10 46
    for draw, index in [(0.5 / 46, 1), (1.5 / 46, 2), (9.9 / 46, 2), (10.5 / 46, 3)]:
        assert plus_plus_draws(points, points[:1], [draw]) == [index]
    # what 1 would leave: 4 + 25; what 3 would leave: 1 + 9; the second is kept
    assert plus_plus_draws(points, points[:1], [0.5 / 46, 0.1]) == [2]
    assert plus_plus_draws(points, points[:0], [0.6]) == [2]  # all weigh the same
    assert plus_plus_draws(torch.ones(4, 1), torch.ones(1, 1), [0.6]) == [2]


def test_swaps_mend_a_bad_start_and_keep_fixed_centers():
    generator = np.random.default_rng(0)
    corners = torch.eye(5).repeat_interleave(20, 0) * 9
    points = corners + 0.1 * some_points(100)
    among = SampleDistances(points, points[:0])
    bad = points[[0, 1, 20, 40, 60]]  # two in the first lump, none in the last
    better = swapped(among, bad, 1, generator.random((5, 3)))
    assert torch.equal(better[0], bad[0])
    assert sorted(better.argmax(1).tolist()) == [0, 1, 2, 3, 4]
    assert torch.equal(swapped(among, bad, 5, generator.random((5, 3))), bad)
    good = lloyd(points, better, max_iterations=9).centroids
    assert torch.equal(swapped(among, good, 0, generator.random((5, 3))), good)


@pytest.mark.parity
@pytest.mark.parametrize("tolerance", [0.0, 1e-4])
def test_semi_supervised_steps_of_generalized_category_discovery(parity, tolerance):
    for case in parity("gcd_sskmeans"):
        labeled, free = torch.from_numpy(case["l_feats"]), torch.from_numpy(case["u_feats"])
        classes, owner = np.unique(case["l_targets"], return_inverse=True)
        owner = torch.from_numpy(owner)
        held = sums_of_clusters(labeled, owner, int(case["k"]))
        means = (held.sums / held.counts[:, None])[: len(classes)].float()
        drawn = plus_plus(SampleDistances(free, means), case["kpp_draws"][:, None])
        assert drawn.tolist() == case["kpp_index"].tolist()
        first = torch.cat([means, free[drawn]])
        np.testing.assert_allclose(first.numpy(), case["init_centers"], atol=1e-6)
        found = lloyd(
            free, first, held=held, max_iterations=int(case["max_iter"]), tolerance=tolerance
        )
        labels = torch.cat([owner, found.labels])
        assert labels.tolist() == case["labels"].tolist()
        np.testing.assert_allclose(found.centroids.numpy(), case["centers"], atol=1e-5)
        inertia = found.inertia + float((labeled - found.centroids[owner]).square().sum())
        assert inertia == pytest.approx(float(case["inertia"]), rel=1e-5)
        assert found.num_iterations < int(case["max_iter"])


@pytest.mark.parametrize("num_pinned", [1, 4, 6])
def test_centers_that_stay_are_looked_at_once(num_pinned):
    generator = torch.Generator().manual_seed(num_pinned)
    points = torch.randn(300, 5, generator=generator)
    centers = torch.randn(6, 5, generator=generator)
    beside = NearestBesidePinned(points, centers[:num_pinned])
    for _ in range(3):
        assert torch.equal(beside(centers), nearest(points, centers))
        centers[num_pinned:] += torch.randn(6 - num_pinned, 5, generator=generator)
    equal = torch.zeros(2, 5)  # the first of equals takes a sample
    assert not NearestBesidePinned(points, equal[:1])(equal).any()
