"""Where the time of a step goes, measured from outside: a run that nobody profiles pays nothing."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.profiler import ProfilerActivity, profile, record_function

PARTS = ("data", "trunk", "tail", "losses", "optimizer", "framework")
"""Of a step, in the order of the table.

`data`: waiting for a batch and its way to the device. `trunk`: the frozen part of the backbone.
`tail`: the rest of the backbone and the heads, forward and backward, or a prediction. `losses`: the
method's terms, forward and backward. `optimizer`: clearing gradients, clipping, the step.
`framework`: everything else: callbacks, loggers, metrics of a batch, checkpoints of a stage.
"""

EVALUATION = "evaluation"
_KINDS = ("base", "continual", EVALUATION)
TRACED_STEPS = 3
_HEADS = ("projections", "logits")


@dataclass
class StepTimes:
    """What was measured.

    Attributes:
        steps: seconds of each step by part, in the order of `PARTS`, by kind: "base", "continual"
            and "evaluation", of which a step is a batch. Traced steps are left out where there are
            others, for tracing takes time.
        seconds: of the clock, from the beginning to the end.
        traces: files of PyTorch's profiler, Chrome's trace format.
    """

    steps: dict[str, list[Sequence[float]]] = field(default_factory=dict)
    seconds: float = 0.0
    traces: list[Path] = field(default_factory=list)

    def table(self) -> str:
        """Milliseconds of each part by median, and its share of the time of all steps."""
        if not self.steps:
            return "profile:     no step was taken"
        kinds = {kind: np.asarray(self.steps[kind]) for kind in _KINDS if kind in self.steps}
        lines = ["profile      " + "".join(f"{kind:>20}" for kind in kinds)]
        lines.append(" " * 13 + "  median ms    share" * len(kinds))
        for place, part in enumerate((*PARTS, "step")):
            cells = []
            for steps in kinds.values():
                column = steps.sum(1) if part == "step" else steps[:, place]
                share = column.sum() / steps.sum()
                cells.append(f"{1e3 * np.median(column):>11.3f}{share:>9.1%}")
            lines.append(f"{part:13}" + "".join(cells))
        spent = {kind: float(steps.sum()) for kind, steps in kinds.items()}
        for kind, steps in kinds.items():
            lines.append(f"{kind + ':':13}{len(steps):,} steps, {spent[kind]:.1f} s")
        lines.append(f"{'other:':13}{self.seconds - sum(spent.values()):.1f} s")
        lines += [f"trace:       {path} (https://ui.perfetto.dev opens it)" for path in self.traces]
        return "\n".join(lines)


@contextmanager
def profiled(strategy: Any, folder: Path) -> Iterator[StepTimes]:
    """Inside, every step of a strategy is measured, and some of each recipe are traced.

    No result changes. On CUDA the device is waited for at the border of every part, so steps take
    longer than without.

    Args:
        strategy: not under way.
        folder: gets `<recipe>.pt.trace.json`, a few steps from the middle of an epoch.

    Returns:
        What is measured; complete when the context is left.
    """
    watch, started = _Watch(strategy, folder), time.perf_counter()
    watch.attach()
    try:
        yield watch.times
    finally:
        watch.detach()
        watch.times.seconds = time.perf_counter() - started


class _Watch:
    """Stands before the strategy's own methods and keeps the time in one part at once.

    Each moment belongs to one part, the innermost that is under way, so parts add up to the step.
    """

    def __init__(self, strategy: Any, folder: Path) -> None:
        self.strategy, self.folder = strategy, folder
        self.times = StepTimes()
        self._part, self._since = "framework", 0.0
        self._step = dict.fromkeys(PARTS, 0.0)
        self._kind = ""
        self._trace: profile | None = None
        self._traced_steps: dict[str, list[Sequence[float]]] = {}
        self._covered: list[tuple[Any, str]] = []

    def attach(self) -> None:
        strategy, model = self.strategy, self.strategy.model
        self._cover(strategy, "training_epoch", lambda run: self._epoch(run, self._recipe))
        self._cover(strategy, "eval_epoch", lambda run: self._epoch(run, EVALUATION))
        self._cover(strategy, "_unpack_minibatch", self._in("data"))
        self._cover(model, "trunk_output", self._in("trunk"))
        self._cover(strategy, "_evaluated_trunk", self._in("trunk"))
        for name in ("outputs", "predict"):
            self._cover(strategy, name, self._in("tail"))
        self._cover(strategy, "weighed_terms", self._in("losses"))
        self._cover(strategy, "backward", self._backward)
        self._cover(strategy, "optimizer_step", self._in("optimizer"))
        self._cover(strategy.optimizer, "zero_grad", self._in("optimizer"))
        for name in ("_after_training_iteration", "_after_eval_iteration"):
            self._cover(strategy, name, self._end_of_step)

    def detach(self) -> None:
        self._stop_trace()
        for owner, name in self._covered:
            delattr(owner, name)
        for kind, steps in self._traced_steps.items():
            self.times.steps.setdefault(kind, steps)

    def _cover(self, owner: Any, name: str, around: Callable[[Callable[[], Any]], Any]) -> None:
        own = getattr(owner, name)
        setattr(owner, name, lambda *args, **kwargs: around(lambda: own(*args, **kwargs)))
        self._covered.append((owner, name))

    # ------------------------------------------------------------ time

    def _switch(self, part: str, at: float | None = None) -> str:
        """From now on, or from a moment before, time belongs to this part; gives the one before."""
        now = self._now() if at is None else at
        self._step[self._part] += now - self._since
        before, self._part, self._since = self._part, part, now
        return before

    def _now(self) -> float:
        if self.strategy.device.type == "cuda":
            torch.cuda.synchronize(self.strategy.device)
        return time.perf_counter()

    def _in(self, part: str) -> Callable[[Callable[[], Any]], Any]:
        def around(run: Callable[[], Any]) -> Any:
            before = self._switch(part)
            with record_function(part) if self._trace is not None else nullcontext():
                result = run()
            # what comes before the first part of a step is the wait for its batch
            self._switch("framework" if before == part == "data" else before)
            return result

        return around

    def _backward(self, run: Callable[[], Any]) -> None:
        """The terms' gradients come first; from what the heads gave on it is the tail's."""
        reached: dict[str, float] = {}
        for name, output in self.strategy.batch.out._asdict().items():
            if output.requires_grad:
                output.register_hook(lambda _, n=name: reached.update({n: self._now()}))
        before = self._switch("losses")
        with record_function("backward") if self._trace is not None else nullcontext():
            run()
        borders = [reached[name] for name in _HEADS if name in reached] or list(reached.values())
        if borders:
            self._switch("tail", at=max(borders))
        self._switch(before)

    # ------------------------------------------------------------ steps

    @property
    def _recipe(self) -> str:
        return self.strategy._recipe_name

    def _epoch(self, run: Callable[[], Any], kind: str) -> None:
        """An epoch, or an evaluation, which may come inside of a step."""
        before = self._switch("data")
        outer = self._kind, self._step
        self._kind, self._step = kind, dict.fromkeys(PARTS, 0.0)
        self._trace_where_due(0)
        try:
            run()
        finally:
            if kind != EVALUATION:
                self._stop_trace()
            self._switch(before)
            self._kind, self._step = outer

    def _end_of_step(self, run: Callable[[], Any]) -> None:
        run()
        self._switch("data")
        is_traced = self._trace is not None
        kept = self._traced_steps if is_traced else self.times.steps
        kept.setdefault(self._kind, []).append(tuple(self._step.values()))
        self._step = dict.fromkeys(PARTS, 0.0)
        if self._kind != EVALUATION:
            self._trace_where_due(self.strategy.clock.train_epoch_iterations)

    # ------------------------------------------------------------ trace

    def _trace_where_due(self, step: int) -> None:
        """Between two steps: begin or end the trace of a recipe.

        Args:
            step: that comes next, of the epoch.
        """
        if self._kind == EVALUATION:
            return
        first = max((len(self.strategy.batches) - TRACED_STEPS) // 2, 0)
        if self._trace is not None and step >= first + TRACED_STEPS:
            self._stop_trace()
        middle = self.strategy.epoch == self.strategy.train_epochs // 2
        if self._trace is None and middle and step == first and self._path not in self.times.traces:
            activities = [ProfilerActivity.CPU]
            if self.strategy.device.type == "cuda":
                activities.append(ProfilerActivity.CUDA)
            self._trace = profile(activities=activities)
            self._trace.start()
            self._since = self._now()  # starting it is no part of a step

    def _stop_trace(self) -> None:
        if self._trace is None:
            return
        self._trace.stop()
        self.folder.mkdir(parents=True, exist_ok=True)
        self._trace.export_chrome_trace(str(self._path))
        self.times.traces.append(self._path)
        self._trace = None
        self._since = self._now()

    @property
    def _path(self) -> Path:
        return self.folder / f"{self._recipe}.pt.trace.json"
