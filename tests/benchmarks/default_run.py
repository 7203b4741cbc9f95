"""Seconds, peak memory and overhead of a whole `cgcd run` without arguments.

    python tests/benchmarks/default_run.py [--quick] [KEY=VALUE ...]

First the command, in an empty folder and with an empty cache so that the warm-up is computed:
seconds and memory of its process, imports included. Then the same run in this process: what of its
time after the imports is neither forward nor backward nor optimizer. Forward is that of network and
losses, in steps, in passes over a stage and in evaluation; the warm-up counts as inside as a whole.
Images, k-means, metrics, files, analysis and loggers are outside. `--quick` takes one epoch of
everything. Other overrides of the config follow as they are.
"""

from __future__ import annotations

import argparse
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from functools import wraps
from pathlib import Path
from typing import Any

from _timing import Row, hand_over

from cgcd.cli.configs import compose_run
from cgcd.cli.parts import Parts
from cgcd.models.cut import Tail, Trunk

MOST_SECONDS, MOST_OUTSIDE = 60, 15
QUICK = (
    "strategy.base.epochs=1",
    "strategy.continual.epochs=1",
    "strategy.warm_up.steps=2",
    "scenario.protocol.num_stages=1",
)


def command(overrides: Sequence[str], folder: str) -> tuple[float, float, float]:
    """Seconds of the clock and of the processor, and MiB, of the command's process."""
    started = time.perf_counter()
    subprocess.run(
        [sys.executable, "-m", "cgcd", "run", *overrides],
        cwd=folder,
        env={**os.environ, "CGCD_CACHE": f"{folder}/cache"},
        stdout=subprocess.DEVNULL,
        check=True,
    )
    clock = time.perf_counter() - started
    used = resource.getrusage(resource.RUSAGE_CHILDREN)  # of this one child
    return clock, used.ru_utime + used.ru_stime, used.ru_maxrss / 1024


class Inside:
    """Keeps the time in forward, backward and optimizer, wherever they are called.

    Attributes:
        seconds: spent in what is covered, a call inside of another counted once.
    """

    def __init__(self, strategy: Any) -> None:
        self.seconds = 0.0
        self._depth = 0
        for kind in (Trunk, Tail):
            self._cover(kind, "forward")
        for name in ("outputs", "predict", "weighed_terms", "backward", "optimizer_step"):
            self._cover(strategy, name)
        self._cover(strategy.optimizer, "zero_grad")

    def _cover(self, owner: Any, name: str) -> None:
        call: Callable[..., Any] = getattr(owner, name)

        @wraps(call)
        def timed(*args: Any, **kwargs: Any) -> Any:
            self._depth += 1
            started = time.perf_counter()
            try:
                return call(*args, **kwargs)
            finally:
                self._depth -= 1
                self.seconds += 0.0 if self._depth else time.perf_counter() - started

        setattr(owner, name, timed)


def outside(overrides: Sequence[str], folder: str) -> float:
    """Percent of a run's time after the imports that is outside of forward, backward, optimizer."""
    os.environ["CGCD_CACHE"] = f"{folder}/cache"
    started = time.perf_counter()
    config, _ = compose_run(list(overrides))
    parts = Parts.build(config, Path(folder) / "run")
    inside = Inside(parts.strategy)
    warm_up = parts.strategy._warm_up

    def warmed() -> None:
        before, began = inside.seconds, time.perf_counter()
        warm_up()
        inside.seconds = before + time.perf_counter() - began

    parts.strategy._warm_up = warmed
    parts.run(Path(folder) / "run", {})
    return 100 * (1 - inside.seconds / (time.perf_counter() - started))


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--quick", action="store_true")
    given, more = parser.parse_known_args()
    overrides = [*(QUICK if given.quick else ()), *more]
    name = "cgcd run" + ", changed" * bool(overrides)
    with tempfile.TemporaryDirectory() as first, tempfile.TemporaryDirectory() as second:
        clock, processor, memory = command(overrides, first)
        share = outside(overrides, second)
    for row in (
        Row(f"{name}, clock", [clock], "s", bar=None if overrides else MOST_SECONDS),
        Row(f"{name}, processor", [processor], "s"),
        Row(f"{name}, outside the steps", [share], "%", bar=None if overrides else MOST_OUTSIDE),
        Row(f"{name}, peak memory", [memory], "MiB"),
    ):
        print(hand_over(row), flush=True)


if __name__ == "__main__":
    main()
