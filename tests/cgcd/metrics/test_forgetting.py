import math

import numpy as np
import pytest

from cgcd.metrics import (
    discovery,
    discovery_gm,
    forgetting,
    forgetting_gm,
    group_accuracy_matrix,
    joint_accuracy,
    per_class_accuracy,
)


def test_published_row_of_happy_on_cifar100():
    novel = [56.10, 49.30, 49.80, 50.30, 51.30]
    assert discovery(novel) == pytest.approx(51.36)
    assert discovery_gm(novel) == 51.30
    # the paper prints the labeled accuracies of stage 0 and of the worst stage
    assert forgetting([90.36, 85.26, 82.0, 80.1, 79.5, 79.14]) == pytest.approx(11.22)
    # with the growing old set: 90.36 and the smallest of the published Old values
    assert forgetting_gm([90.36, 85.26, 78.27, 70.86, 63.75, 60.96]) == pytest.approx(29.40)


def test_forgetting_follows_the_formula():
    assert forgetting([0.9]) == 0.0
    assert forgetting([0.5, 0.6, 0.7]) == pytest.approx(-0.1)
    assert forgetting([0.9, 0.4, 0.8]) == pytest.approx(0.5)


@pytest.mark.parametrize("metric", [forgetting, discovery, forgetting_gm, discovery_gm])
def test_refuses(metric):
    with pytest.raises(ValueError, match="at least one finite"):
        metric([])
    with pytest.raises(ValueError, match="at least one finite"):
        metric([0.5, math.nan])


def test_matrix_by_hand():
    matrix = group_accuracy_matrix(
        [[1.0, 0.5], [0.5, 0.25, 1.0], [0.0, 1.0, math.nan, 0.75]],
        [[1, 3], [2, 2, 5], [3, 1, 0, 4]],
        [2, 3, 4],
    )
    expected = [[0.625, math.nan, math.nan], [0.375, 1.0, math.nan], [0.25, math.nan, 0.75]]
    np.testing.assert_allclose(matrix, expected)


def test_matrix_agrees_with_joint_accuracy():
    rng = np.random.default_rng(0)
    num_classes = [4, 6, 9]
    accuracies, counts, rows = [], [], []
    for stage, size in enumerate(num_classes):
        y = np.concatenate([np.arange(size), rng.integers(0, size, 200)])
        p = np.where(rng.random(len(y)) < 0.7, y, rng.integers(0, size, len(y)))
        accuracies.append(per_class_accuracy(p, y, size))
        counts.append(np.bincount(y, minlength=size))
        rows.append(joint_accuracy(p, y, 4, num_classes[max(stage - 1, 0)]))
    matrix = group_accuracy_matrix(accuracies, counts, num_classes)
    np.testing.assert_allclose(matrix[:, 0], [row["base"] for row in rows])
    np.testing.assert_allclose(matrix.diagonal()[1:], [row["novel"] for row in rows[1:]])
    assert np.isnan(matrix[np.triu_indices(3, 1)]).all()


def test_matrix_refuses():
    with pytest.raises(ValueError, match="2 stages of accuracies, 1 of counts"):
        group_accuracy_matrix([[1.0], [1.0]], [[1]], [1])
    with pytest.raises(ValueError, match=r"stage 1: accuracies \(1,\)"):
        group_accuracy_matrix([[1.0], [1.0]], [[1], [1]], [1, 2])
    with pytest.raises(ValueError, match="none less than before"):
        group_accuracy_matrix([[1.0, 1.0], [1.0]], [[1, 1], [1]], [2, 1])
