"""Seconds, peak memory and overhead of a whole `cgcd run` without arguments.

    python tests/benchmarks/default_run.py [--quick] [KEY=VALUE ...]

First the command, in an empty folder and with an empty cache so that the warm-up is computed:
seconds and memory of its process, imports included. Then the same run in this process: what of its
time after the imports is neither forward nor backward nor optimizer. There the warm-up counts as
inside as a whole; passes that a method makes over a stage, the files, analysis and floors of a run
count as outside. `--quick` takes one epoch of everything. Other
overrides of the config follow as they are.
"""

from __future__ import annotations

import argparse
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from _timing import Row, hand_over

from cgcd.cli.configs import compose_run
from cgcd.cli.parts import Parts
from cgcd.engine.profiling import PARTS, profiled

MOST_SECONDS, MOST_OUTSIDE = 60, 15
INSIDE = ("trunk", "tail", "losses", "optimizer")
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


def outside(overrides: Sequence[str], folder: str) -> float:
    """Percent of a run's time after the imports that is outside of what `INSIDE` names."""
    os.environ["CGCD_CACHE"] = f"{folder}/cache"
    started = time.perf_counter()
    config, _ = compose_run(list(overrides))
    parts = Parts.build(config, Path(folder) / "run")
    with profiled(parts.strategy, None) as times:
        parts.run(Path(folder) / "run", {})
    total = time.perf_counter() - started
    places = [PARTS.index(part) for part in INSIDE]
    inside = sum(step[k] for steps in times.steps.values() for step in steps for k in places)
    inside += parts.strategy.report["warm_up"]["seconds"]
    return 100 * (1 - inside / total)


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
