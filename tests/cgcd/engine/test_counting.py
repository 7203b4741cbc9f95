"""num_novel=estimate: counted from features, remembered, reported, and the same after a resume."""

from __future__ import annotations

import pytest
import torch

from cgcd.engine.counting import NovelCounter
from cgcd.engine.seeding import torch_generator
from cgcd.vocabulary import UNLABELED, InputError


def blobs(centers: torch.Tensor, per_class: int, seed: int) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    labels = torch.arange(len(centers)).repeat_interleave(per_class)
    noise = 0.05 * torch.randn(len(labels), centers.shape[1], generator=generator)
    return centers[labels] + noise, labels


@pytest.fixture
def centers() -> torch.Tensor:
    return torch.eye(16)[:9]


@pytest.mark.parametrize("estimator", ["calinski_harabasz", "hidden_classes"])
def test_it_counts_stage_after_stage(centers, estimator):
    counter = NovelCounter(16, estimator, None, seed=0)
    features, labels = blobs(centers[:5], 30, 0)
    chosen = counter.remember_labeled(features, labels)
    assert bool(chosen) == (estimator == "hidden_classes")
    for start, stop in ((5, 7), (7, 9)):
        stage, truth = blobs(centers[:stop], 20, stop)
        estimate = counter.count(stage, None, torch_generator(0, stop, "count"))
        assert estimate.num_novel == stop - start
        if chosen:
            assert estimate.estimator == chosen["estimator"]
        counter.remember_predicted(stage, truth, centers[:stop])
        assert len(counter.reference) == stop
        restored = NovelCounter(16, estimator, None, seed=0)
        restored.load_state_dict(counter.state_dict())
        assert restored.choice == counter.choice
        assert torch.equal(restored.reference.means, counter.reference.means)


def test_labeled_samples_at_hand_are_taken_as_they_are(centers):
    counter = NovelCounter(16, "calinski_harabasz", 6, seed=0)
    features, labels = blobs(centers[:8], 20, 1)
    known = labels < 5
    generator = torch.Generator()
    before = generator.get_state()
    found = counter.count(features[~known], (features[known], labels[known]), generator)
    assert found.num_novel == 3
    assert torch.equal(generator.get_state(), before)  # nothing was drawn


def test_hidden_labels_are_left_out(centers):
    features, labels = blobs(centers[:4], 10, 2)
    shown = torch.where(labels < 3, labels, UNLABELED)
    counter = NovelCounter(16, "elbow", None, seed=0)
    counter.remember_labeled(features, shown)
    assert len(counter.reference) == 3


def test_a_row_that_nothing_is_predicted_as_keeps_its_direction(centers):
    counter = NovelCounter(16, "elbow", None, seed=0)
    counter.remember_labeled(*blobs(centers[:2], 5, 0))
    features, labels = blobs(centers[:3], 5, 1)
    counter.remember_predicted(features, labels, centers[:4])
    torch.testing.assert_close(counter.reference.means[3], centers[3])
    assert counter.reference.counts.tolist()[2:] == [5, 0]


def test_bad_input(centers):
    with pytest.raises(InputError, match="estimator is 'guess'"):
        NovelCounter(16, "guess", None, seed=0)
    with pytest.raises(InputError, match="max_novel is 0"):
        NovelCounter(16, "elbow", 0, seed=0)
    counter = NovelCounter(16, "elbow", None, seed=0)
    with pytest.raises(InputError, match="no class is known yet"):
        counter.count(torch.randn(9, 16), None, torch.Generator())
    counter.remember_labeled(*blobs(centers[:2], 5, 0))
    with pytest.raises(InputError, match="1 unlabeled samples"):
        counter.count(torch.randn(1, 16), None, torch.Generator())
