"""Order and views of an epoch are functions of seed, stage and epoch."""

from __future__ import annotations

import numpy as np
import torch
from torch.utils.data import DataLoader

from cgcd.engine.loading import DrawnViews, EpochBatches, half_labeled, shuffled
from cgcd.engine.seeding import Draw

LABELS = np.arange(10) % 3


def epoch_of(batches: EpochBatches, epoch: int) -> list:
    batches.epoch = epoch
    return list(batches)


def test_every_row_once_and_the_incomplete_batch_dropped():
    batches = EpochBatches(LABELS, 4, Draw())
    drawn = epoch_of(batches, 2)
    rows = [row for batch in drawn for row, _ in batch]
    assert [len(batch) for batch in drawn] == [4, 4] and len(batches) == 2
    assert len(set(rows)) == 8 and set(rows) < set(range(10))
    assert {epoch for batch in drawn for _, epoch in batch} == {2}


def test_order_hangs_on_seed_stage_phase_and_epoch_alone():
    first = epoch_of(EpochBatches(LABELS, 5, Draw()), 0)
    again = EpochBatches(LABELS, 5, Draw(num_views=4))
    later = epoch_of(again, 3)
    assert epoch_of(again, 0) == first
    assert epoch_of(again, 3) == later
    rows = {
        tuple(row for batch in drawn for row, _ in batch)
        for drawn in (
            first,
            later,
            epoch_of(EpochBatches(LABELS, 5, Draw(seed=1)), 0),
            epoch_of(EpochBatches(LABELS, 5, Draw(stage=1)), 0),
            epoch_of(EpochBatches(LABELS, 5, Draw(phase=1)), 0),
        )
    }
    assert len(rows) == 5


def test_another_order_sees_the_visible_labels():
    def of_class_one(labels, generator):
        return generator.permutation(np.flatnonzero(labels == 1))

    rows = [r for batch in EpochBatches(LABELS, 1, Draw(), of_class_one) for r, _ in batch]
    assert sorted(rows) == [1, 4, 7]
    assert sorted(shuffled(LABELS, np.random.default_rng(0))) == list(range(10))


def test_half_of_the_draws_are_labeled_and_every_row_of_a_group_is_as_likely():
    """Against the weights of the papers: 1 a labeled row, N_l / N_u an unlabeled one."""
    labels = np.array([2, -1, -1, 0, -1, -1, -1, 1])
    weights = np.where(labels >= 0, 1.0, 3 / 5)
    generator = np.random.default_rng(0)
    rows = np.concatenate([half_labeled(labels, generator) for _ in range(5000)])
    assert len(rows) == 5000 * len(labels)
    shares = np.bincount(rows, minlength=8) / len(rows)
    np.testing.assert_allclose(shares, weights / weights.sum(), atol=0.01)
    again = half_labeled(labels, np.random.default_rng(1))
    np.testing.assert_array_equal(again, half_labeled(labels, np.random.default_rng(1)))


def test_where_all_or_none_is_labeled_every_row_comes_once():
    for labels in (LABELS, np.full(10, -1)):
        rows = half_labeled(labels, np.random.default_rng(0))
        np.testing.assert_array_equal(rows, shuffled(labels, np.random.default_rng(0)))


def test_a_row_that_comes_again_in_an_epoch_has_other_views(blob_single_stage):
    stage = blob_single_stage().train_stream[0]
    batches = EpochBatches(stage.labels, 16, Draw(seed=2), half_labeled)
    keys = [key for batch in epoch_of(batches, 4) for key in batch]
    assert len(set(keys)) == len(keys) > len({key[0] for key in keys})
    assert {len(key) for key in keys} == {2, 3} and {key[1] for key in keys} == {4}
    for row in {key[0] for key in keys}:
        times = sorted(key[2] if len(key) > 2 else 0 for key in keys if key[0] == row)
        assert times == list(range(len(times)))
    views = DrawnViews(stage.dataset.train(), Draw(seed=2))
    first, second, third = (views[key][0] for key in ((3, 4), (3, 4, 1), (3, 4, 2)))
    assert len({x.numpy().tobytes() for x in (first, second, third)}) == 3
    assert torch.equal(second, views[3, 4, 1][0])


def test_same_key_same_views_other_epoch_other_views(blobs):
    stage = blobs().train_stream[1]
    views = DrawnViews(stage.dataset.train(), Draw(seed=4, stage=1, num_views=3))
    first, second = views[3, 0], views[3, 0]
    assert torch.equal(first[0], second[0]) and first[0].shape == (3, 16)
    assert not torch.equal(first[0], views[3, 1][0])
    assert not torch.equal(first[0][0], first[0][1])
    other = DrawnViews(stage.dataset.train(), Draw(seed=5, stage=1, num_views=3))
    assert not torch.equal(first[0], other[3, 0][0])
    assert first[1:] == (-1, list(stage.dataset.sample_id)[3], 0)
    assert len(views) == len(stage.dataset)


def test_a_loader_gives_views_labels_ids_and_last_the_task(blobs):
    stage = blobs().train_stream[0]
    data, draw = stage.dataset.train(), Draw(num_views=2)
    batches = EpochBatches(stage.labels, 8, draw)
    images, labels, ids, tasks = next(
        iter(DataLoader(DrawnViews(data, draw), batch_sampler=batches))
    )
    rows = [row for row, _ in next(iter(batches))]
    assert images.shape == (8, 2, 16) and (tasks == 0).all()
    assert labels.tolist() == stage.labels[rows].tolist()
    assert ids.tolist() == [list(stage.dataset.sample_id)[row] for row in rows]


def test_a_plain_data_set_gets_numbers_and_a_task_label():
    plain = [(torch.tensor([float(i)]), i % 2) for i in range(4)]
    assert DrawnViews(plain, Draw())[2, 0] == (torch.tensor([2.0]), 0, 2, 0)


def test_samples_of_all_stages_are_alike_and_concatenation_keeps_ids(blobs):
    scenario = blobs()
    stages = [*scenario.train_stream]
    for stage in stages:
        sample = stage.dataset.train()[0]
        assert [type(part) for part in sample] == [torch.Tensor, int, int]
    joined = stages[0].dataset.concat(stages[1].dataset)
    assert list(joined.sample_id) == [*stages[0].dataset.sample_id, *stages[1].dataset.sample_id]
    assert list(joined.targets) == [*stages[0].labels, *stages[1].labels]
