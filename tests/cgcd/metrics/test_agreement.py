import numpy as np
import pytest
import torch

from cgcd.metrics import adjusted_rand_index, normalized_mutual_information, purity


def test_perfect_up_to_names():
    y = np.array([0, 0, 1, 1, 2])
    p = torch.tensor([70, 70, 3, 3, 5])
    for metric in (normalized_mutual_information, adjusted_rand_index, purity):
        assert metric(p, y) == pytest.approx(1.0)
        assert type(metric(p, y)) is float


def test_by_hand():
    y, p = np.array([0, 0, 1, 1]), np.array([0, 0, 0, 1])
    assert purity(p, y) == 0.75
    assert purity(y, p) == 0.75
    assert purity(np.arange(4), y) == 1.0
    assert purity(y, np.arange(4)) == 0.5
    # mutual information by its definition, arithmetic mean of the entropies
    joint = np.array([[2, 0], [1, 1]]) / 4
    outer = joint.sum(1, keepdims=True) * joint.sum(0)
    mutual = (joint[joint > 0] * np.log(joint[joint > 0] / outer[joint > 0])).sum()
    entropies = [-(m * np.log(m)).sum() for m in (joint.sum(1), joint.sum(0))]
    assert normalized_mutual_information(p, y) == pytest.approx(mutual / np.mean(entropies))
    # pairs together in both 1, expected 3 * 2 / 6 = 1
    assert adjusted_rand_index(p, y) == pytest.approx(0.0)


def test_refuses():
    for metric in (normalized_mutual_information, adjusted_rand_index, purity):
        with pytest.raises(ValueError, match="N >= 1"):
            metric([], [])
        with pytest.raises(ValueError, match="2 predictions for 1 targets"):
            metric([0, 1], [0])
        with pytest.raises(ValueError, match="targets: 1 of 1 are negative"):
            metric([0], [-1])


@pytest.mark.parity
def test_released_cluster_scores(parity):
    for case in parity("cluster_acc"):
        y, p = case["y_true"], case["y_pred"]
        close = {"rel": 0, "abs": 1e-12}
        assert normalized_mutual_information(p, y) == pytest.approx(case["nmi"].item(), **close)
        assert adjusted_rand_index(p, y) == pytest.approx(case["ari"].item(), **close)
        assert purity(p, y) == pytest.approx(case["purity"].item(), **close)
