import itertools

import numpy as np
import pytest
import torch
from sklearn.cluster import KMeans
from torch.nn.functional import normalize

from cgcd.discovery import familiarity, kmeans, least_familiar, novel_directions


def blobs(num_per_class, dim=6, noise=0.02, seed=0):
    """Unit axis directions, `num_per_class[c]` noisy samples of each."""
    generator = torch.Generator().manual_seed(seed)
    labels = torch.repeat_interleave(torch.arange(len(num_per_class)), torch.tensor(num_per_class))
    clean = torch.eye(dim)[labels]
    return clean + noise * torch.randn(clean.shape, generator=generator), labels


def test_least_familiar_by_hand():
    known = torch.tensor([[2.0, 0, 0], [0, 3, 0]])
    centroids = torch.tensor([[1.0, 1, 0], [0, 0, 5], [0, 3, 4], [9, 0, 0], [-1, -1, 0]])
    torch.testing.assert_close(
        familiarity(centroids, known), torch.tensor([0.5**0.5, 0.0, 0.6, 1.0, -(0.5**0.5)])
    )
    assert least_familiar(centroids, known, 3).tolist() == [4, 1, 2]
    assert least_familiar(centroids, known, 0).tolist() == []
    with pytest.raises(ValueError, match="6 of 5 centroids"):
        least_familiar(centroids, known, 6)
    with pytest.raises(ValueError, match=r"\(K, 3\) with K >= 1"):
        least_familiar(centroids, known[:0], 1)
    with pytest.raises(ValueError, match=r"\(K, 3\) with K >= 1"):
        least_familiar(centroids, known[:, :2], 1)


def test_novel_directions_are_the_novel_blobs():
    features, _ = blobs([20, 20, 40, 40])
    rows = novel_directions(3.0 * features.double(), torch.eye(6)[:2].double() * 7, 2)
    assert rows.dtype == torch.float32
    torch.testing.assert_close(rows.norm(dim=1), torch.ones(2))
    assert sorted(rows.argmax(1).tolist()) == [2, 3]
    assert rows.max(1).values.min() > 0.99
    assert novel_directions(features, torch.eye(6)[:2], 0).shape == (0, 6)


def test_deduplication_passes_over_parts_of_one_class():
    generator = torch.Generator().manual_seed(0)
    # the first novel class falls into two close lumps, and the known class is all but absent
    lump = torch.tensor([0.0, 1.0, 0.25, 0.0])
    other = torch.tensor([0.0, 1.0, -0.25, 0.0])
    weak = torch.tensor([0.6, 0.0, 0.0, 1.0])
    centers = torch.stack([lump, other, weak]).repeat_interleave(20, 0)
    features = centers + 0.01 * torch.randn(centers.shape, generator=generator)
    known = torch.tensor([[1.0, 0, 0, 0]])
    plain = novel_directions(features, known, 2)
    distinct = novel_directions(features, known, 2, deduplicate=True, duplicate_cosine=0.8)
    assert plain[0] @ plain[1] > 0.8
    assert distinct[0] @ distinct[1] < 0.8
    torch.testing.assert_close(distinct[0], plain[0])
    # nothing is left but duplicates: the skipped ones come back, in order
    all_duplicates = novel_directions(features, known, 2, deduplicate=True, duplicate_cosine=-1.0)
    torch.testing.assert_close(all_duplicates, plain)


@pytest.mark.parity
def test_choice_of_new_rows(parity):
    for case in parity("happy_new_head"):
        centroids = torch.from_numpy(case["centroids"])
        known = torch.from_numpy(case["old_weight_v"])
        chosen = least_familiar(centroids, known, int(case["num_novel"]))
        np.testing.assert_allclose(
            familiarity(centroids, known), case["max_logits"], rtol=1e-5, atol=1e-6
        )
        assert chosen.tolist() == case["chosen"].tolist()
        torch.testing.assert_close(
            normalize(centroids[chosen]), torch.from_numpy(case["new_head"]), rtol=1e-5, atol=1e-6
        )


@pytest.mark.parity
def test_new_rows_from_features(parity):
    """Exact where k-means finds the recorded clusters, whose starts are another library's."""
    for case in parity("happy_new_head"):
        known = torch.from_numpy(case["old_weight_v"])
        num_novel = int(case["num_novel"])
        features = normalize(torch.from_numpy(case["features"]))
        clusters = kmeans(features, len(known) + num_novel)
        direct = KMeans(len(known) + num_novel, n_init=10, random_state=0).fit(features.numpy())
        assert clusters.inertia <= direct.inertia_ * 1.001
        pairs = set(zip(clusters.labels.tolist(), case["sk_labels"].tolist(), strict=True))
        if len(pairs) == len(known) + num_novel:
            rows = novel_directions(torch.from_numpy(case["features"]), known, num_novel, 0, 1)
            expected = torch.from_numpy(case["new_head_with_sk"])
            torch.testing.assert_close(rows, expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("order", list(itertools.permutations(range(4)))[::5])
def test_order_of_known_directions_does_not_matter(order):
    generator = torch.Generator().manual_seed(5)
    centroids, known = (
        torch.randn(9, 5, generator=generator),
        torch.randn(4, 5, generator=generator),
    )
    expected = least_familiar(centroids, known, 4)
    assert torch.equal(least_familiar(centroids, known[list(order)], 4), expected)
