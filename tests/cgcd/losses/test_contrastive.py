import math

import pytest
import torch
import torch.nn.functional as F

from cgcd.losses import info_nce, supervised_contrastive
from cgcd.vocabulary import UNLABELED


def random(*shape: int) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(0), dtype=torch.float64)


def looped(projections, labels, temperature):
    """Both losses as plain loops over anchors and positives."""
    num_images, num_views = projections.shape[:2]
    rows = [
        (F.normalize(projections[i, v], dim=0), labels[i])
        for i in range(num_images)
        for v in range(num_views)
        if labels[i] != UNLABELED
    ]
    anchors = []
    for a, (anchor, label) in enumerate(rows):
        others = [(float(anchor @ row), c) for r, (row, c) in enumerate(rows) if r != a]
        total = sum(math.exp(s / temperature) for s, _ in others)
        losses = [-math.log(math.exp(s / temperature) / total) for s, c in others if c == label]
        if losses:
            anchors.append(sum(losses) / len(losses))
    return sum(anchors) / len(anchors)


@pytest.mark.parametrize("num_views", [2, 3])
@pytest.mark.parametrize("temperature", [1.0, 0.2])
def test_info_nce_agrees_with_loops(num_views, temperature):
    projections = random(4, num_views, 5)
    expected = looped(projections, list(range(4)), temperature)
    assert info_nce(projections, temperature).item() == pytest.approx(expected)


@pytest.mark.parametrize("num_views", [1, 2, 3])
def test_supervised_agrees_with_loops(num_views):
    projections = random(6, num_views, 5)
    labels = torch.tensor([0, 1, UNLABELED, 0, 2, 1])
    found = supervised_contrastive(projections, labels, 0.3, base_temperature=0.3)
    assert found.item() == pytest.approx(looped(projections, labels.tolist(), 0.3))


def test_info_nce_of_identical_orthonormal_views():
    projections = torch.eye(2)[:, None].expand(2, 2, 2)
    assert info_nce(projections).item() == pytest.approx(0.551445, abs=1e-6)
    assert info_nce(projections).item() == pytest.approx(math.log(math.e + 2) - 1)


@pytest.mark.parametrize("num_images", [1, 2, 4])
def test_info_nce_of_equal_rows(num_images):
    expected = math.log(2 * num_images - 1)
    assert info_nce(torch.ones(num_images, 2, 3)).item() == pytest.approx(expected)


def test_supervised_values_of_the_specification():
    collapsed = torch.ones(2, 2, 2, dtype=torch.float64)
    orthogonal = torch.eye(2, dtype=torch.float64)[:, None].expand(2, 2, 2)
    same, different = torch.tensor([3, 3]), torch.tensor([3, 5])
    assert supervised_contrastive(collapsed, different).item() == pytest.approx(math.log(3))
    assert supervised_contrastive(orthogonal, same).item() == pytest.approx(9.523811, abs=1e-6)
    assert supervised_contrastive(orthogonal, different).item() == pytest.approx(1.25e-6, rel=1e-2)


def test_base_temperature_scales():
    projections, labels = random(4, 2, 5), torch.tensor([0, 0, 1, 1])
    plain = supervised_contrastive(projections, labels, 0.2, base_temperature=0.2)
    torch.testing.assert_close(
        supervised_contrastive(projections, labels, 0.2, base_temperature=0.1), 2 * plain
    )


def test_without_labels_is_info_nce():
    projections = random(5, 2, 4)
    torch.testing.assert_close(
        supervised_contrastive(projections, None, 0.5, 0.5), info_nce(projections, 0.5)
    )


def test_order_of_views_and_images_and_scale_do_not_matter():
    projections, labels = random(5, 3, 4), torch.tensor([0, 1, 0, UNLABELED, 1])
    order = torch.tensor([3, 0, 4, 2, 1])
    for loss, changed in [
        (info_nce(projections), info_nce(3 * projections[order].flip(1))),
        (
            supervised_contrastive(projections, labels),
            supervised_contrastive(3 * projections[order].flip(1), labels[order]),
        ),
    ]:
        torch.testing.assert_close(loss, changed)


def test_unlabeled_rows_have_no_part():
    projections = random(4, 2, 5).requires_grad_()
    labels = torch.tensor([0, UNLABELED, 1, 0])
    loss = supervised_contrastive(projections, labels)
    loss.backward()
    labeled = labels != UNLABELED
    torch.testing.assert_close(loss, supervised_contrastive(projections[labeled], labels[labeled]))
    assert not projections.grad[~labeled].any()
    assert projections.grad[labeled].abs().sum(-1).all()


@pytest.mark.parametrize(
    "num_views, labels",
    [(2, [UNLABELED] * 3), (1, [0, 1, 2]), (1, [0, UNLABELED, UNLABELED])],
    ids=["none labeled", "no positive", "alone"],
)
def test_nothing_to_attract_is_zero_with_a_graph(num_views, labels):
    projections = random(3, num_views, 4).requires_grad_()
    with torch.autograd.set_detect_anomaly(True):
        loss = supervised_contrastive(projections, torch.tensor(labels))
        loss.backward()
    assert loss.item() == 0
    assert not projections.grad.any()


def test_gradients():
    projections = random(3, 2, 3).requires_grad_()
    labels = torch.tensor([0, UNLABELED, 0])
    assert torch.autograd.gradcheck(info_nce, projections)
    assert torch.autograd.gradcheck(
        lambda p: supervised_contrastive(p, labels, 0.5, normalize=False), projections
    )


def test_bad_arguments():
    with pytest.raises(ValueError, match="V >= 2"):
        info_nce(torch.ones(3, 1, 4))
    with pytest.raises(ValueError, match="one label for each image"):
        supervised_contrastive(torch.ones(3, 2, 4), torch.zeros(6))
