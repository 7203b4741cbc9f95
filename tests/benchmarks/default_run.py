"""Seconds, peak memory and overhead of a whole `cgcd run` without arguments.

    python tests/benchmarks/default_run.py [--quick] [--rounds N] [KEY=VALUE ...]

First the command, three times in an empty folder and with an empty cache so that the warm-up is
computed: seconds and memory of its process, imports included, with the threads that it chooses by
itself. Then the same run, watched in processes of its own: what of its time after the imports is
neither forward nor backward nor optimizer. Forward is that of network and
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
from importlib import import_module
from pathlib import Path
from typing import Any

from _timing import Row, hand_over

from cgcd.cli.configs import compose_run
from cgcd.cli.freed_memory import keep_freed_memory
from cgcd.cli.parts import Parts
from cgcd.cli.quiet_threads import QUIET
from cgcd.models.cut import Tail, Trunk

MOST_SECONDS, MOST_OUTSIDE = 60, 15
STEPS = ("outputs", "predict", "weighed_terms", "backward", "optimizer_step")
QUICK = (
    "strategy.base.epochs=1",
    "strategy.continual.epochs=1",
    "strategy.warm_up.steps=2",
    "scenario.protocol.num_stages=1",
)


def started(command: Sequence[str], **more: str) -> str:
    """What a command prints in an empty folder, with an empty cache and the usual threads."""
    kept = {key: value for key, value in os.environ.items() if key != "OMP_NUM_THREADS"}
    with tempfile.TemporaryDirectory() as folder:
        return subprocess.run(
            [sys.executable, *command],
            cwd=folder,
            env={**kept, "CGCD_CACHE": f"{folder}/cache", **more},
            stdout=subprocess.PIPE,
            text=True,
            check=True,
        ).stdout


def of_command(overrides: Sequence[str]) -> tuple[float, float, float]:
    """Seconds of the clock and of the processor, and the most MiB of any so far."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    began = time.perf_counter()
    started(["-m", "cgcd", "run", *overrides])
    clock = time.perf_counter() - began
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    seconds = used.ru_utime + used.ru_stime - before.ru_utime - before.ru_stime
    return clock, seconds, used.ru_maxrss / 1024


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
        for name in (*STEPS, "_warm_up"):
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


def outside(overrides: Sequence[str]) -> float:
    """Percent of a run's time after the imports that is outside of forward, backward, optimizer."""
    for package in ("scenarios", "strategies"):  # the config names them
        import_module(package)
    began = time.perf_counter()
    config, _ = compose_run(list(overrides))
    parts = Parts.build(config, Path("run"))
    inside = Inside(parts.strategy)
    parts.run(Path("run"), {})
    return 100 * (1 - inside.seconds / (time.perf_counter() - began))


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--watched", action="store_true", help="one run in this process, watched")
    given, more = parser.parse_known_args()
    overrides = [*(QUICK if given.quick else ()), *more]
    if given.watched:
        keep_freed_memory()  # as the command does
        print(outside(overrides))
        return
    name = "cgcd run" + ", changed" * bool(overrides)
    rounds = 1 if given.quick else given.rounds
    commands = [of_command(overrides) for _ in range(rounds)]
    watched = [str(Path(__file__).resolve()), "--watched", *overrides]
    shares = [float(started(watched, **QUIET).split()[-1]) for _ in range(rounds)]
    clock, processor, memory = map(list, zip(*commands, strict=True))
    for row in (
        Row(f"{name}, clock", clock, "s", bar=None if overrides else MOST_SECONDS),
        Row(f"{name}, processor", processor, "s"),
        Row(f"{name}, outside the steps", shares, "%", bar=None if overrides else MOST_OUTSIDE),
        Row(f"{name}, peak memory", [memory[-1]], "MiB"),
    ):
        print(hand_over(row), flush=True)


if __name__ == "__main__":
    main()
