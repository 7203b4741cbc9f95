"""Digits: the fixed split, and the stages of the baseline runs."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from sklearn.datasets import load_digits

from cgcd.vocabulary import UNLABELED, InputError
from scenarios.digits import composition_from_file, read_digits


def test_the_split_covers_every_digit_once_and_is_seventy_to_thirty() -> None:
    arrays = read_digits()
    digits = load_digits()
    for part, share in (("train", 0.7), ("test", 0.3)):
        images, targets = getattr(arrays, f"{part}_images"), getattr(arrays, f"{part}_targets")
        assert images.shape == (len(targets), 8, 8, 3) and images.dtype == np.uint8
        counts = np.bincount(targets) / np.bincount(digits.target)
        np.testing.assert_allclose(counts, share, atol=0.003)
    assert (len(arrays.train_targets), len(arrays.test_targets)) == (1258, 539)
    images = np.concatenate((arrays.train_images, arrays.test_images))
    assert (images == images[..., :1]).all()
    expected = [np.clip(16 * image, None, 255).astype(np.uint8) for image in digits.images]
    assert sorted(i[..., 0].tobytes() for i in images) == sorted(i.tobytes() for i in expected)
    assert arrays.class_names[7] == "7"


def test_the_split_is_always_the_same() -> None:
    state = np.random.get_state()[1].copy()
    first, second = read_digits(), read_digits()
    np.testing.assert_array_equal(first.train_images, second.train_images)
    np.testing.assert_array_equal(state, np.random.get_state()[1])
    assert first.train_targets[:12].tolist() == [0, 1, 2, 3, 4, 6, 7, 9, 1, 2, 3, 4]


@pytest.mark.parity
@pytest.mark.parametrize(
    ("name", "sizes"),
    [
        ("digits_stages", [503, 150, 160, 170, 180, 190]),
        ("digits_stages_2per", [402, 240, 260, 280]),
    ],
)
def test_the_stages_of_the_baseline_runs(shared: Path, name: str, sizes: list[int]) -> None:
    path = shared / "parity" / f"{name}.npz"
    arrays, composition = composition_from_file(path)
    plan = dict(np.load(path))
    source = dict(np.load(shared / "parity" / "digits_stages.npz"))
    train, test = source["train_index"], source["test_index"]
    shown = np.minimum(16 * source["images"].astype(int), 255)
    np.testing.assert_array_equal(arrays.test_images[..., 1], shown[test])
    order = [*plan["known_classes"], *plan["novel_order"]]
    assert composition.class_order.tolist() == order
    assert [len(stage.indices) for stage in composition.stages] == sizes

    test_so_far: list[int] = []
    for stage in composition.stages:
        if stage.index == 0:
            expected = plan["stage0_labelled"]
            assert (composition.rows(arrays.train_targets[stage.indices]) == stage.labels).all()
        else:
            parts = ("old_unlabelled", "novel_unlabelled")
            expected = np.concatenate([plan[f"stage{stage.index}_{part}"] for part in parts])
            assert (stage.labels == UNLABELED).all()
        assert sorted(train[stage.indices]) == sorted(expected)
        test_so_far += test[stage.test_indices].tolist()
        assert sorted(test_so_far) == sorted(plan[f"stage{stage.index}_test"])
        novel = {order[row] for row in stage.novel_rows}
        assert set(arrays.test_targets[stage.test_indices]) == novel
        rows = composition.rows(arrays.train_targets[stage.indices])
        assert np.bincount(rows).tolist() == stage.class_counts.tolist()


@pytest.fixture
def plan() -> dict[str, np.ndarray]:
    """Two known and one novel class of four images each; even images are for training."""
    return {
        "images": np.zeros((12, 8, 8), np.uint8),
        "labels": np.repeat([0, 1, 2], 4),
        "train_index": np.arange(0, 12, 2),
        "test_index": np.arange(1, 12, 2),
        "known_classes": np.array([1, 0]),
        "novel_order": np.array([2]),
        "stage0_labelled": np.array([0, 4]),
        "stage0_test": np.array([7, 1, 3, 5]),
        "stage1_old_unlabelled": np.array([6, 2]),
        "stage1_novel_unlabelled": np.array([8]),
        "stage1_test": np.array([1, 3, 5, 7, 9, 11]),
    }


def test_a_small_file_by_hand(tmp_path: Path, plan: dict[str, np.ndarray]) -> None:
    np.savez(tmp_path / "plan.npz", **plan)
    arrays, composition = composition_from_file(tmp_path / "plan.npz")
    base, novel = composition.stages
    assert arrays.train_targets.tolist() == [0, 0, 1, 1, 2, 2]
    assert (base.indices.tolist(), base.labels.tolist()) == ([0, 2], [1, 0])
    assert (novel.indices.tolist(), novel.labels.tolist()) == ([1, 3, 4], [UNLABELED] * 3)
    assert (base.test_indices.tolist(), novel.test_indices.tolist()) == ([0, 1, 2, 3], [4, 5])
    assert (base.novel_rows, novel.novel_rows) == (range(0, 2), range(2, 3))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"stage0_test": None}, "lacks 'stage0_test'"),
        ({"labels": None}, r"lacks 'labels'.*put digits_stages\.npz beside plan\.npz"),
        ({"images": None}, r"digits_stages\.npz is not a file"),
        ({"images": np.zeros((12, 64))}, r"'images' is float64 of shape \(12, 64\)"),
        ({"labels": np.full(12, 10)}, "'labels' is int64 .* from 0 to 9"),
        ({"test_index": np.array([1, 12])}, "'test_index' is .* from 0 to 11"),
        ({"test_index": np.arange(12)}, "share an image"),
        ({"stage1_old_unlabelled": None}, "lacks 'stage1_old_unlabelled'"),
        ({"stage0_labelled": np.array([0.0])}, "'stage0_labelled' is float64"),
        ({"stage0_labelled": np.array([0, 0])}, "name an image twice"),
        ({"stage0_labelled": np.array([0, 1])}, "mix training and test"),
        ({"stage0_test": np.array([1, 3])}, "stage 0: its new test classes are not the next"),
        ({"stage1_test": np.array([9, 11])}, "stage 1: test images of an earlier stage"),
        ({"stage0_labelled": np.array([0, 8])}, "stage 0: its training images are of other"),
        ({"novel_order": np.array([3])}, "stage 1: its new .* not the next"),
        ({"novel_order": np.array([1])}, "share a class"),
        ({"known_classes": np.array([1])}, "stage 0"),
    ],
)
def test_contradictions_in_a_file_are_named(
    tmp_path: Path, plan: dict[str, np.ndarray], changes: dict, message: str
) -> None:
    arrays = {name: value for name, value in (plan | changes).items() if value is not None}
    np.savez(tmp_path / "plan.npz", **arrays)
    with pytest.raises(InputError, match=message):
        composition_from_file(tmp_path / "plan.npz")
