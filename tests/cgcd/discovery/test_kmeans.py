import numpy as np
import pytest
import torch
from sklearn.cluster import KMeans

from cgcd.discovery import kmeans, pinned_kmeans, semi_supervised_kmeans
from cgcd.discovery import starts as starts_module
from cgcd.vocabulary import UNLABELED


def blobs(num_per_class, dim=6, noise=0.02, seed=0):
    """Unit axis directions, `num_per_class[c]` noisy samples of each."""
    generator = torch.Generator().manual_seed(seed)
    labels = torch.repeat_interleave(torch.arange(len(num_per_class)), torch.tensor(num_per_class))
    clean = torch.eye(dim)[labels]
    return clean + noise * torch.randn(clean.shape, generator=generator), labels


def mixture(num_samples, dim, num_classes, seed, noise=0.8):
    generator = np.random.default_rng(seed)
    labels = generator.integers(num_classes, size=num_samples)
    centers = generator.standard_normal((num_classes, dim))
    samples = centers[labels] + noise * generator.standard_normal((num_samples, dim))
    return samples.astype(np.float32), labels


def test_kmeans_finds_blobs_and_describes_them():
    features, labels = blobs([30, 30, 30])
    result = kmeans(features, 3, seed=1)
    assert result.labels.dtype == torch.int64 and result.centroids.dtype == torch.float32
    assert result.num_iterations >= 1
    inertia = 0.0
    for c in range(3):
        members = features[result.labels == c]
        assert len(labels[result.labels == c].unique()) == 1
        torch.testing.assert_close(result.centroids[c], members.mean(0))
        inertia += (members - members.mean(0)).square().sum().item()
    assert result.inertia == pytest.approx(inertia, rel=1e-4)


@pytest.mark.parametrize("num_samples", [100, 9000])  # 9000: the starts compete on a part
def test_the_seed_alone_decides_and_more_starts_are_no_worse(num_samples):
    features = np.random.default_rng(0).normal(size=(num_samples, 4))
    state, numbers = torch.get_rng_state(), np.random.get_state()[1].copy()
    one, again = kmeans(features, 8, seed=3), kmeans(features, 8, seed=3)
    assert torch.equal(one.centroids, again.centroids) and torch.equal(one.labels, again.labels)
    assert one.inertia == again.inertia
    assert kmeans(features, 8, seed=3, num_starts=10).inertia <= one.inertia * 1.005
    assert torch.equal(state, torch.get_rng_state())
    assert np.array_equal(numbers, np.random.get_state()[1])


@pytest.mark.parametrize("num_starts", [1, 10])
def test_inertia_is_no_worse_than_that_of_scikit_learn(num_starts):
    ratios = []
    for seed in range(15):
        features, _ = mixture(150, 12, 6, seed, noise=1.5)
        theirs = KMeans(6, n_init=num_starts, random_state=seed).fit(features)
        ratios.append(kmeans(features, 6, seed, num_starts).inertia / theirs.inertia_)
    assert np.mean(ratios) <= 1.001


def test_starts_on_a_part_are_as_good(monkeypatch):
    features, _ = mixture(3000, 16, 20, seed=0)
    theirs = KMeans(20, n_init=10, random_state=0).fit(features)
    monkeypatch.setattr(starts_module, "SMALLEST_PART", 500)
    assert kmeans(features, 20, num_starts=3).inertia <= theirs.inertia_ * 1.001
    pinned = pinned_kmeans(features, theirs.cluster_centers_[:15], 5, num_starts=3)
    both = np.concatenate([theirs.cluster_centers_[:15], pinned.numpy()])
    squares = ((features[:, None] - both) ** 2).sum(2).min(1).sum()
    assert squares <= theirs.inertia_ * 1.001
    labels = np.where(theirs.labels_ < 15, theirs.labels_, UNLABELED)
    labels[np.random.default_rng(0).random(3000) < 0.9] = UNLABELED
    found = semi_supervised_kmeans(features, labels, 20, num_starts=3)
    assert found.inertia <= theirs.inertia_ * 1.001


@pytest.mark.parametrize("dtype", [torch.float16, torch.float64, torch.int64])
def test_other_types_and_a_far_origin(dtype):
    features, labels = blobs([20, 20, 20], noise=0.1)
    found = kmeans((features * 100).to(dtype), 3)
    assert found.centroids.dtype == torch.float32
    assert len(set(zip(found.labels.tolist(), labels.tolist(), strict=True))) == 3
    if dtype == torch.float64:
        far = kmeans(features.double() + 1e6, 3)
        assert torch.equal(far.labels, kmeans(features, 3).labels)
        assert far.inertia == pytest.approx(kmeans(features, 3).inertia, rel=1e-4)


def test_one_cluster_all_clusters_and_duplicates():
    features = torch.randn(12, 3, generator=torch.Generator().manual_seed(0))
    one = kmeans(features, 1)
    torch.testing.assert_close(one.centroids[0], features.mean(0))
    every = kmeans(features, 12)
    assert sorted(every.labels.tolist()) == list(range(12)) and every.inertia < 1e-10
    copies = kmeans(features[:3].repeat(10, 1), 5)  # three places for five clusters
    assert copies.inertia < 1e-10 and bool(copies.centroids.isfinite().all())
    assert len(copies.labels.unique()) == 3
    same = kmeans(torch.ones(7, 2), 3, num_starts=2)
    assert same.inertia == 0 and torch.equal(same.centroids, torch.ones(3, 2))


@pytest.mark.parametrize("num_clusters", [0, 6])
def test_kmeans_refuses_more_clusters_than_samples(num_clusters):
    with pytest.raises(ValueError, match=f"{num_clusters} clusters from 5 samples"):
        kmeans(np.zeros((5, 2)), num_clusters)


@pytest.mark.parametrize("bad", [np.nan, np.inf, 1e30])
def test_values_that_are_no_numbers_are_refused(bad):
    features = np.zeros((5, 2))
    features[2, 1] = bad
    for call in (
        lambda: kmeans(features, 2),
        lambda: pinned_kmeans(features, np.zeros((1, 2)), 2),
        lambda: semi_supervised_kmeans(features, [0, 0, -1, -1, -1], 2),
        lambda: pinned_kmeans(np.zeros((5, 2)), np.full((1, 2), bad), 2),
    ):
        with pytest.raises(ValueError, match="huge"):
            call()


def test_impossible_requests_are_refused():
    features = np.arange(10.0).reshape(5, 2)
    with pytest.raises(ValueError, match=r"\(N, D\) wanted"):
        kmeans(features[0], 1)
    with pytest.raises(ValueError, match="num_starts is 0"):
        kmeans(features, 2, num_starts=0)
    with pytest.raises(ValueError, match=r"\(K, 2\) wanted"):
        pinned_kmeans(features, np.zeros((1, 3)), 1)
    with pytest.raises(ValueError, match="6 new centers from 5 samples"):
        pinned_kmeans(features, features[:2], 6)
    with pytest.raises(ValueError, match=r"\(5,\) integers wanted"):
        semi_supervised_kmeans(features, [0, 1], 2)
    with pytest.raises(ValueError, match=r"labels from -1 to 2 given; classes in \[0, 2\)"):
        semi_supervised_kmeans(features, [0, 1, 2, -1, -1], 2)
    with pytest.raises(ValueError, match="3 clusters without a labeled sample from 2"):
        semi_supervised_kmeans(features, [0, 0, 0, -1, -1], 4)


def test_pinned_centers_stay_and_new_ones_take_what_they_do_not_explain():
    generator = np.random.default_rng(0)
    corners = np.eye(4) * 5
    points = np.concatenate([c + 0.1 * generator.standard_normal((20, 4)) for c in corners])
    pinned = torch.tensor(corners[:2], dtype=torch.float32)
    new = pinned_kmeans(torch.tensor(points), pinned, 2, seed=3)
    order = new.argmax(1).argsort()
    wanted = np.stack([points[40:60].mean(0), points[60:].mean(0)])
    np.testing.assert_allclose(new[order].numpy(), wanted, atol=1e-5)
    assert torch.equal(pinned, torch.tensor(corners[:2], dtype=torch.float32))
    assert torch.equal(new, pinned_kmeans(torch.tensor(points), pinned, 2, seed=3))


def test_without_pins_pinned_kmeans_is_kmeans():
    points, _ = blobs([20, 20, 20], noise=0.1)
    ours = pinned_kmeans(points, points[:0], 3, num_starts=20)
    assert torch.equal(ours, kmeans(points, 3, num_starts=20).centroids)
    assert pinned_kmeans(points, points[:2], 0).shape == (0, 6)


def test_labeled_samples_stay_and_every_centroid_is_the_mean_of_its_members():
    features, truth = mixture(400, 8, 6, seed=1)
    labels = np.where((truth < 4) & (np.arange(400) % 2 == 0), truth, UNLABELED)
    labels[:5] = [3, 2, 1, 0, 0]  # some of them far from their class
    given = labels.copy()
    found = semi_supervised_kmeans(features, labels, 6, seed=2)
    np.testing.assert_array_equal(labels, given)
    shown = labels != UNLABELED
    np.testing.assert_array_equal(found.labels.numpy()[shown], labels[shown])
    owner, inertia = found.labels.numpy(), 0.0
    for c in range(6):
        members = features[owner == c]
        np.testing.assert_allclose(found.centroids[c].numpy(), members.mean(0), atol=1e-5)
        inertia += ((members - members.mean(0)) ** 2).sum()
    assert found.inertia == pytest.approx(inertia, rel=1e-4)
    assert (owner == truth)[~shown & (truth < 4)].mean() > 0.9
    again = semi_supervised_kmeans(features, labels, 6, seed=2)
    assert torch.equal(found.centroids, again.centroids)


def test_semi_supervised_borders():
    features, truth = blobs([20, 20, 20], noise=0.1)
    hidden = torch.full((60,), UNLABELED)
    free = semi_supervised_kmeans(features, hidden, 3, num_starts=3)
    assert free.inertia == kmeans(features, 3, num_starts=3, max_iterations=100).inertia
    fixed = semi_supervised_kmeans(features, truth, 3)
    assert torch.equal(fixed.labels, truth)
    gap = semi_supervised_kmeans(features, torch.where(truth == 1, UNLABELED, truth), 3)
    assert torch.equal(gap.labels, truth)  # class 1 shows no label, its number stays free for it
