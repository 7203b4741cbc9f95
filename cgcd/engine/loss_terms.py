"""The curves of training: what a step's loss was made of, handed to the loggers many at once."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from avalanche.evaluation import PluginMetric
from avalanche.evaluation.metric_results import MetricValue
from torch import Tensor

_STEPS_AT_ONCE = 32


@dataclass(frozen=True)
class StepCurves(Sequence[MetricValue]):
    """Several numbers of several steps: a table to a logger that has `log_curves`.

    To all others it is what Avalanche knows, a sequence of metric values.

    Attributes:
        origin: the metric that they come from.
        names: of the C curves.
        steps: where on their x axis the numbers are, S of them.
        rows: the numbers, S times C.
    """

    origin: Any
    names: Sequence[str]
    steps: Sequence[int]
    rows: Sequence[Sequence[float]]

    def __len__(self) -> int:
        return len(self.steps) * len(self.names)

    def __getitem__(self, place: Any) -> Any:
        if isinstance(place, slice):
            return [self[one] for one in range(*place.indices(len(self)))]
        step, column = divmod(range(len(self))[place], len(self.names))
        return MetricValue(
            self.origin, self.names[column], self.rows[step][column], self.steps[step]
        )

    @property
    def last(self) -> dict[str, float]:
        """The numbers of the last step by name."""
        return dict(zip(self.names, self.rows[-1], strict=True))


class LossTerms(PluginMetric):
    """Every loss term of every step as `train/loss/<term>`, and the learning rate.

    The first step of a stage shows at once, later ones `_STEPS_AT_ONCE` together or what an epoch
    has left: no step waits for a transfer, and loggers are called seldom.
    """

    def __init__(self) -> None:
        super().__init__()
        self.reset()

    def reset(self) -> None:
        self._names: tuple[str, ...] = ()
        self._steps: list[tuple[int, float]] = []  # and their learning rates
        self._numbers: list[list[float]] = []
        self._waiting: list[list[Tensor]] = []  # on an accelerator, of the steps after these

    def result(self) -> None:
        return

    def before_training_exp(self, strategy: Any) -> None:
        self.reset()

    def after_training_iteration(self, strategy: Any) -> StepCurves | None:
        terms, clock = strategy.terms, strategy.clock
        row = [*terms.values(), strategy.loss]
        if row[-1].device.type == "cpu":
            self._numbers.append([term.item() for term in row])
        else:
            self._waiting.append([term.detach() for term in row])
        self._names = tuple(terms)
        self._steps.append(
            (clock.train_iterations, float(strategy.optimizer.param_groups[0]["lr"]))
        )
        first = clock.train_exp_iterations == 0
        return self._curves() if first or len(self._steps) == _STEPS_AT_ONCE else None

    def after_training_epoch(self, strategy: Any) -> StepCurves | None:
        return self._curves() if self._steps else None

    def _curves(self) -> StepCurves:
        names = [*(f"train/loss/{name}" for name in (*self._names, "total")), "train/learning_rate"]
        rows = [[*row, rate] for row, (_, rate) in zip(self._table(), self._steps, strict=True)]
        curves = StepCurves(self, names, [step for step, _ in self._steps], rows)
        self.reset()
        return curves

    def _table(self) -> list[list[float]]:
        """Terms and total of every step not shown yet; what waits comes in one transfer."""
        if self._waiting:
            flat = torch.stack([t.float().reshape(()) for terms in self._waiting for t in terms])
            self._numbers += flat.view(len(self._waiting), -1).tolist()
            self._waiting = []
        return self._numbers

    def state_dict(self) -> dict[str, Any]:
        """Steps that were not shown yet."""
        return {"names": list(self._names), "steps": list(self._steps), "terms": self._table()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self._names = tuple(state["names"])
        self._steps = [(int(step), float(lr)) for step, lr in state["steps"]]
        self._numbers = [[float(term) for term in row] for row in state["terms"]]
        self._waiting = []

    def __str__(self) -> str:
        return "LossTerms"
