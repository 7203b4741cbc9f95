"""The base stage by parametric discovery, under a teacher that sharpens, for whoever starts so."""

from __future__ import annotations

from functools import partial
from typing import Any

import torch
from torch import Tensor

from cgcd.engine.batch import Batch
from cgcd.engine.optimization import Recipe
from cgcd.engine.ranges import check_above_zero
from cgcd.losses import parametric_discovery, ramped
from cgcd.vocabulary import InputError

BASE = Recipe(
    epochs=100,
    batch_size=128,
    optimizer=partial(torch.optim.SGD, lr=0.1, momentum=0.9, weight_decay=5e-5),
    weights={
        "self_distillation": 0.65,
        "mean_entropy": 0.65,
        "cross_entropy": 0.35,
        "contrastive": 0.65,
        "supervised_contrastive": 0.35,
    },
)
"""Happy's recipe of the labeled base stage."""


class ParametricBase:
    """Gives a strategy SimGCD's terms for stage 0, which are those of Happy's base stage too.

    Stands before `DiscoveryStrategy`, or a class made of it, among the bases of a method. It is
    made of neither itself: Avalanche lets a strategy hand on only what its own bases take.

    Args:
        teacher_temperature_start, teacher_temperature_end, teacher_temperature_epochs: linear ramp
            of stage 0's teacher, both ends included.
        student_temperature: of all logits.
        **engine: arguments of the strategy it stands before.

    Source: Wen et al., SimGCD, ICCV 2023, arXiv 2211.11727, with the numbers of the authors' code;
    its paper has a cosine for the ramp.
    """

    epoch: int

    def __init__(
        self,
        *,
        teacher_temperature_start: float = 0.07,
        teacher_temperature_end: float = 0.04,
        teacher_temperature_epochs: int = 30,
        student_temperature: float = 0.1,
        **engine: Any,
    ) -> None:
        check_above_zero(
            teacher_temperature_start=teacher_temperature_start,
            teacher_temperature_end=teacher_temperature_end,
            student_temperature=student_temperature,
        )
        if teacher_temperature_epochs < 0:
            raise InputError(
                f"teacher_temperature_epochs is {teacher_temperature_epochs}; wanted 0 or more: "
                "leave strategy.teacher_temperature_epochs out"
            )
        super().__init__(**engine)  # of the strategy it stands before
        self.teacher_temperature_start = teacher_temperature_start
        self.teacher_temperature_end = teacher_temperature_end
        self.teacher_temperature_epochs = teacher_temperature_epochs
        self.student_temperature = student_temperature

    def base_losses(self, batch: Batch) -> dict[str, Tensor]:
        """The terms of `cgcd.losses.parametric_discovery` under this epoch's teacher."""
        teacher = ramped(
            self.epoch,
            self.teacher_temperature_start,
            self.teacher_temperature_end,
            self.teacher_temperature_epochs,
        )
        return parametric_discovery(batch.out, batch.labels, teacher, self.student_temperature)
