"""Notices at which step a loss stops being a number, before what it ruins is stored."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from cgcd.vocabulary import InputError

_STEPS_AT_ONCE = 32
_LARGEST = 1e12  # of a weight


def check_weights(model: nn.Module, place: str, mend: str) -> None:
    """Refuse what was learned where it is not finite, or too large for its products to be.

    Args:
        model: whose learning parameters are looked at.
        place: when this is, for the message.
        mend: what to do about it.

    Raises:
        InputError: naming the first such parameter.
    """
    for name, parameter in model.named_parameters():
        if not parameter.requires_grad or not parameter.numel():
            continue
        largest = float(parameter.detach().abs().max())
        if not largest < _LARGEST:  # also where it is nan
            raise InputError(
                f"{place} the weights {name} reach {largest:.3g}; wanted numbers below "
                f"{_LARGEST:g}: {mend}"
            )


@dataclass
class FiniteLoss:
    """Looks at every step's loss: on a CPU at once, elsewhere many steps together.

    On an accelerator looking at one number would make every step wait for the device.

    Attributes:
        recipe: name of the recipe that is followed, for the message.
        stage: index of the stage.
    """

    recipe: str = "base"
    stage: int = 0
    _names: tuple[str, ...] = ()
    _steps: list[int] = field(default_factory=list)
    _values: list[Tensor] = field(default_factory=list)

    def begin(self, stage: int, recipe: str) -> None:
        """A new stage; nothing of an earlier one is looked at any more."""
        self.stage, self.recipe = stage, recipe
        self._steps.clear()
        self._values.clear()

    def see(self, terms: Mapping[str, Tensor], total: Tensor, step: int) -> None:
        """Look at a step, or keep it for later.

        Args:
            terms: scalars by name.
            total: their weighted sum, a scalar.
            step: of the stage, from 0 on.

        Raises:
            InputError: naming the step and the terms that are not finite.
        """
        if total.device.type == "cpu" and math.isfinite(total.item()):
            return
        if self._names != tuple(terms):
            self.check()
            self._names = tuple(terms)
        parts = [*terms.values(), total]
        self._steps.append(step)
        self._values.append(torch.stack([part.detach().float().reshape(()) for part in parts]))
        if total.device.type == "cpu" or len(self._steps) >= _STEPS_AT_ONCE:
            self.check()

    def check(self) -> None:
        """Look at all steps that were kept; call it before anything is stored.

        Raises:
            InputError: as `see`, for the first such step.
        """
        if not self._steps:
            return
        steps, table = list(self._steps), torch.stack(self._values).tolist()
        self._steps.clear()
        self._values.clear()
        for step, row in zip(steps, table, strict=True):
            if not all(map(math.isfinite, row)):
                self._refuse(step, row)

    def check_weights(self, model: nn.Module, step: int) -> None:
        """Look at what was learned, after the last step of a stage: no later loss would show it.

        Raises:
            InputError: see `check_weights`.
        """
        check_weights(model, f"stage {self.stage}: after step {step}", self._mend())

    def _refuse(self, step: int, row: Sequence[float]) -> None:
        named = dict(zip(self._names, row, strict=False))
        wrong = [f"{name} is {value}" for name, value in named.items() if not math.isfinite(value)]
        said = (
            f"the loss term {', '.join(wrong)}"
            if wrong
            else f"the weighted sum of {', '.join(self._names)} is {row[-1]}"
        )
        raise InputError(
            f"stage {self.stage}, step {step}: {said}; wanted a finite number: {self._mend()}"
        )

    def _mend(self) -> str:
        return (
            f"lower strategy.{self.recipe}.optimizer.lr, or set strategy.{self.recipe}.clip_norm=1;"
            " what was stored before it is kept"
        )
