"""What a stage of labeled and unlabeled samples shows, and which ones are refused."""

from __future__ import annotations

import numpy as np
import pytest

from cgcd.stages import SingleStageScenario, Stage, stage_dataset
from cgcd.vocabulary import UNLABELED, InputError


def stage(rows, labels, told=None):
    views = {"train_transform": lambda s: s.image, "eval_transform": lambda s: s.image}
    return Stage(
        stage_dataset(np.zeros((99, 4)), np.array(rows), np.array(labels), **views), 0, told
    )


@pytest.mark.parametrize(
    ("labels", "mixed", "labeled"),
    [([0, 1], False, True), ([0, -1], True, False), ([-1, -1], False, False)],
)
def test_a_stage_is_labeled_mixed_or_neither(labels, mixed, labeled):
    assert (stage([3, 4], labels).mixed, stage([3, 4], labels).labeled) == (mixed, labeled)


def scenario(labels, unlabeled=(1, 3), num_base=2):
    return SingleStageScenario(
        stage(range(len(labels)), labels),
        stage(unlabeled, [2] * len(unlabeled)),
        name="tiny",
        class_names="abc",
        num_base=num_base,
    )


def test_the_parts_are_streams_by_name():
    made = scenario([0, UNLABELED, 1, UNLABELED])
    assert made.setting == "single_stage" and list(made.parts) == ["unlabeled"]
    assert made.unlabeled_stream.name == "unlabeled" and made.num_novel == "given"
    assert made.parts["unlabeled"][0].labels.tolist() == [2, 2]
    assert made.train_stream[0].classes_in_this_experience == [0, 1]
    assert made.train_stream[0].benchmark is made


@pytest.mark.parametrize(
    ("labels", "changes", "message"),
    [
        ([-1, -1, -1, -1], {}, "no sample is labeled"),
        ([], {}, "no sample is labeled"),
        ([0, 1, 0, 1], {}, "every sample is labeled"),
        ([0, -1, 2, -1], {}, r"wanted 0 \.\. num_base - 1"),
        ([0, -1, 1, -1], {"num_base": 3}, "num_base is 3"),
        ([0, -1, 1, -1], {"unlabeled": (1, 2)}, "same rows"),
        ([0, -1, 1, -1], {"unlabeled": (3, 1)}, "in their order"),
    ],
)
def test_what_is_no_single_stage_is_refused(labels, changes, message):
    with pytest.raises(InputError, match=message):
        scenario(labels, **changes)
