"""The base stage that several methods share: a teacher that ramps, and settings refused early."""

from __future__ import annotations

import pytest

from cgcd.losses import self_distillation
from cgcd.vocabulary import InputError
from strategies import NMC, Happy, PrototypeMemory, SimGCD


@pytest.mark.parametrize("made", [Happy, SimGCD])
def test_the_teacher_ramps_at_stage_0_and_then_stays(made, quick, blobs, monkeypatch):
    used = []

    def noted(logits, teacher, student):
        used.append(teacher)
        return self_distillation(logits, teacher, student)

    for module in ("cgcd.losses.parametric", made.__module__):
        monkeypatch.setattr(f"{module}.self_distillation", noted)
    strategy = quick(made)(epochs=(4, 1), teacher_temperature_epochs=3)
    for stage in blobs().train_stream[:2]:
        strategy.train(stage)
    steps = 96 // 16
    assert used[: 4 * steps : steps] == pytest.approx([0.07, 0.055, 0.04, 0.04])
    assert set(used[4 * steps :]) == {0.05}


@pytest.mark.parametrize("made", [Happy, NMC, PrototypeMemory, SimGCD])
@pytest.mark.parametrize(
    ("setting", "value"),
    [
        ("teacher_temperature_start", 0.0),
        ("teacher_temperature_end", float("nan")),
        ("teacher_temperature_epochs", -1),
        ("student_temperature", -0.1),
    ],
)
def test_a_setting_that_cannot_be_used_is_refused_at_the_door(made, setting, value, blob_model):
    with pytest.raises(InputError, match=f"{setting} is {value}; wanted .*: leave strategy"):
        made(model=blob_model(), **{setting: value})
