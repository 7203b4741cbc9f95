"""Proposed new classes, the second look at them and the threshold: worked by hand."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from cgcd.discovery import calibrated_threshold, propose, relabel
from cgcd.discovery.plus_plus import squared_distances
from cgcd.discovery.proposals import PROPOSALS
from cgcd.discovery.rejection import balanced_accuracy, best_threshold
from cgcd.models import GaussianHead

KNOWN = torch.tensor([[0.0, 0.0], [10.0, 0.0]])
STAGE = torch.tensor([[0.0, 0], [0, 1], [10, 0], [10, 1], [5, 8], [5, 9], [5, 10]])
HIGH = STAGE[:, 1] > 5


def test_the_next_center_is_drawn_by_squared_distance():
    weights = squared_distances(STAGE, STAGE.square().sum(1), KNOWN).amin(0)
    assert weights.tolist() == [0, 1, 0, 1, 89, 106, 125]


@pytest.mark.parametrize("proposal", ["pinned", "reject"])
def test_what_known_means_do_not_explain(proposal):
    known = KNOWN.clone()
    found = propose(STAGE, known, 1, proposal, rejected=HIGH)
    assert found.labels.tolist() == [0, 0, 1, 1, 2, 2, 2]
    assert found.centers.tolist() == [[5, 9]]
    assert torch.equal(known, KNOWN)


def test_all_of_the_stage():
    found = propose(STAGE, KNOWN, 2, "cluster_all")
    assert sorted(found.labels.unique().tolist()) == [2, 3]


def test_clusters_least_like_a_known_mean():
    known = torch.tensor([[1.0, 0.0], [0.9, 0.1]])
    points = torch.cat([known + 0.01, torch.tensor([[0.0, 2.0], [0.0, 2.1], [-1.0, 0.0]])])
    found = propose(points, known, 2, "farthest")
    assert found.labels.tolist()[2:] in ([3, 3, 2], [2, 2, 3])
    assert all(label < 2 for label in found.labels.tolist()[:2])


@pytest.mark.parametrize("proposal", PROPOSALS)
def test_nothing_new_leaves_all_to_known_classes(proposal):
    found = propose(STAGE, KNOWN, 0, proposal, rejected=HIGH)
    assert found.labels.tolist() == [0, 0, 1, 1, 0, 0, 0]  # the nearest mean, the first of equals
    assert found.centers.shape == (0, 2)


def test_too_little_rejected_falls_back_to_pinned():
    none = torch.zeros(7, dtype=torch.bool)
    pinned = propose(STAGE, KNOWN, 2, "pinned")
    assert torch.equal(propose(STAGE, KNOWN, 2, "reject", rejected=none).labels, pinned.labels)


@pytest.mark.parametrize("proposal", PROPOSALS)
def test_every_new_class_has_a_sample(proposal):
    found = propose(torch.ones(6, 2), KNOWN, 3, proposal, rejected=torch.ones(6).bool())
    assert {2, 3, 4} <= set(found.labels.tolist())


def test_bad_proposals_are_named():
    with pytest.raises(ValueError, match="proposal is 'all'; wanted one of pinned"):
        propose(STAGE, KNOWN, 1, "all")
    with pytest.raises(ValueError, match="8 new classes among 7 samples"):
        propose(STAGE, KNOWN, 8)
    with pytest.raises(ValueError, match="rejected is missing"):
        propose(STAGE, KNOWN, 1, "reject")


# ------------------------------------------------------------------ the second look


@pytest.fixture
def head():
    """Known N(0, 1) and N(10, 1), nothing shrunk."""
    made = GaussianHead(1, shrinkage=0.0, blend=0.0)
    made.remember(torch.tensor([[-1.0], [1], [9], [11]]), torch.tensor([0, 0, 1, 1]))
    return made


def looked_again(head, stage, rounds=1):
    return relabel(
        torch.full((len(stage),), 2),
        head(stage),
        lambda labels: head.provisional_scores(stage, labels, 3),
        1,
        rounds,
    )


@pytest.mark.parametrize("rounds", [1, 5])
def test_one_cluster_gives_samples_back(head, rounds):
    stage = torch.tensor([0.2, -0.3, 9.8, 20, 21, 22, 4.9])[:, None]
    assert float(stage.mean()) == pytest.approx(11.0857, abs=1e-4)
    assert float(stage.var(correction=0)) == pytest.approx(83.5612, abs=1e-4)
    found = looked_again(head, stage, rounds)
    assert found.labels.tolist() == [0, 0, 1, 2, 2, 2, 2]
    assert found.changed == [pytest.approx(3 / 7), 0.0][: len(found.changed)]
    known = head(stage)
    head.append(stage, found.labels, 3)
    assert float(head.means[2, 0]) == pytest.approx(16.975)
    assert float(head.factors[2, 0, 0]) ** 2 == pytest.approx(49.101875)
    assert torch.equal(head(stage)[:, :2], known)


def test_no_round_keeps_the_proposal(head):
    found = looked_again(head, torch.tensor([[0.0], [20.0]]), rounds=0)
    assert found.labels.tolist() == [2, 2] and found.changed == []


def test_margins_are_best_less_second(head):
    stage = torch.tensor([0.2, -0.3, 9.8, 20, 21, 22, 4.9])[:, None]
    found = looked_again(head, stage)
    scores = torch.cat(
        [head(stage), head.provisional_scores(stage, torch.full((7,), 2), 3)], dim=1
    ).sort(1, descending=True)
    torch.testing.assert_close(found.margins, scores.values[:, 0] - scores.values[:, 1])


def test_a_new_class_that_loses_all_starts_again_from_the_worst_explained():
    known = torch.tensor([[0.0, -9], [-1, -9], [-2, -9], [-7, -9]])
    never = torch.full((4, 2), -20.0)
    found = relabel(torch.tensor([2, 2, 3, 3]), known, lambda labels: never, 2)
    assert found.labels.tolist() == [0, 0, 3, 2]  # the worst, then the next


def test_a_new_class_of_one_sample_starts_again_too():
    known = torch.tensor([[0.0], [0.0], [-9.0], [-1.0]])
    new = torch.tensor([[-5.0], [-5.0], [-9.5], [0.0]])
    found = relabel(torch.tensor([1, 1, 1, 1]), known, lambda labels: new, 1)
    assert found.labels.tolist() == [0, 0, 1, 0]


def test_a_stage_without_new_classes_is_answered_by_known_ones(head):
    stage = torch.tensor([[0.0], [9.0]])
    found = relabel(torch.tensor([0, 1]), head(stage), lambda labels: head(stage)[:, :0], 0)
    assert found.labels.tolist() == [0, 1]


def test_bad_rounds_are_named():
    with pytest.raises(ValueError, match="rounds is 6; wanted 0 to 5"):
        relabel(torch.zeros(2).long(), torch.zeros(2, 1), lambda labels: torch.zeros(2, 1), 1, 6)


# ------------------------------------------------------------------ the threshold


def test_thresholds_by_hand():
    known, hidden = np.array([-0.9, -0.8, -0.7, -0.6]), np.array([-0.65, -0.5, -0.4, -0.3])
    at = np.array([-0.55, -0.675, -0.625])
    assert balanced_accuracy(known, hidden, at).tolist() == [0.875, 0.875, 0.75]
    assert best_threshold([(known, hidden)]) == pytest.approx(-0.675)  # the lower of two
    apart = best_threshold([(np.array([0.0, 1.0]), np.array([5.0, 6.0]))])
    assert apart == pytest.approx(3.0)


def test_hidden_classes_give_a_threshold_that_tells_new_ones():
    generator = torch.Generator().manual_seed(0)
    corners = 10 * torch.eye(8)
    labels = torch.arange(8).repeat_interleave(20)
    rows = corners[labels] + torch.randn(160, 8, generator=generator)

    def novelty(support, classes, others):
        head = GaussianHead(8)
        head.remember(support, classes)
        return -head(others).amax(1)

    shown = labels < 6
    threshold = calibrated_threshold(rows[shown], labels[shown], novelty, seed=1)
    assert threshold == calibrated_threshold(rows[shown], labels[shown], novelty, seed=1)
    fresh = corners[labels] + torch.randn(160, 8, generator=generator)
    is_new = novelty(rows[shown], labels[shown], fresh) > threshold
    assert (is_new == ~shown).float().mean() > 0.95
    with pytest.raises(ValueError, match="1 classes in 5 folds"):
        calibrated_threshold(rows[:20], labels[:20], novelty)
