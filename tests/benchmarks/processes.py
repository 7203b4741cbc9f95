"""One run in 1 and in 2 processes: losses, predictions, and seconds a step.

    python tests/benchmarks/processes.py [key=value ...]

The default run (`cgcd run`: digits, Happy) with a short warm-up and two epochs a stage, started by
torchrun with one thread a process; keys change it. Prints the largest difference of a loss in the
first 20 steps (at most 1e-5 is wanted), the share of equal predictions of the last stage (at least
99.5 %), and the median seconds of a step with its quartiles. With fewer idle cores than processes,
two are slower than one.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import numpy as np
from _timing import Row, faster, hand_over
from avalanche.evaluation import PluginMetric

from cgcd.cli.configs import compose_run
from cgcd.cli.parts import Parts
from cgcd.engine import run_stages
from cgcd.engine.evaluation import DiscoveryMetrics
from cgcd.engine.processes import is_first, joined

STEPS, MOST, LEAST = 20, 1e-5, 0.995
SHORT = [
    "tracking=none",
    "analysis=false",
    "baselines=false",
    "strategy.warm_up.steps=20",
    "strategy.base.epochs=2",
    "strategy.continual.epochs=2",
]


class Seen(PluginMetric):
    """Loss and moment of every step."""

    def __init__(self) -> None:
        super().__init__()
        self.losses: list[float] = []
        self.moments: list[float] = []

    def reset(self) -> None:
        pass

    def result(self) -> None:
        return

    def after_training_iteration(self, strategy: Any) -> None:
        self.losses.append(float(strategy.loss.detach()))
        self.moments.append(time.perf_counter())


def work(target: Path, keys: list[str]) -> None:
    """What torchrun starts: one run; the first process writes down what it saw."""
    with joined() if int(os.environ["WORLD_SIZE"]) > 1 else nullcontext():
        parts = Parts.build(compose_run([*SHORT, *keys])[0], target.parent)
        seen, metrics = Seen(), parts.strategy.evaluator.metrics
        (found,) = [metric for metric in metrics if isinstance(metric, DiscoveryMetrics)]
        metrics.append(seen)
        run_stages(parts.strategy, parts.scenario)
        if is_first():
            told = {
                "losses": seen.losses,
                "seconds": np.diff(seen.moments).tolist(),
                "predictions": found.predictions.tolist(),
            }
            target.write_text(json.dumps(told), encoding="utf-8")


def measured(count: int, folder: Path, keys: list[str]) -> dict[str, Any]:
    """What the first of so many processes saw."""
    target = folder / f"{count}.json"
    launcher = [sys.executable, "-m", "torch.distributed.run", "--standalone"]
    subprocess.run(
        [*launcher, f"--nproc_per_node={count}", __file__, "--write", str(target), *keys],
        env={
            **os.environ,
            "OMP_NUM_THREADS": "1",
            "TORCH_CPP_LOG_LEVEL": "ERROR",
            "PYTHONWARNINGS": "ignore",
        },
        check=True,
    )
    return json.loads(target.read_text(encoding="utf-8"))


def compare(keys: list[str]) -> bool:
    """Run both, print, and say whether they agree as they should."""
    with tempfile.TemporaryDirectory() as folder:
        runs = {count: measured(count, Path(folder), keys) for count in (1, 2)}
    for count, run in runs.items():
        low, middle, high = np.quantile(run["seconds"], [0.25, 0.5, 0.75])
        print(
            f"{count} process{'es'[: 2 * count - 2]}: {middle:.3f} s a step ({low:.3f}-{high:.3f})"
        )
    losses = np.array([run["losses"][:STEPS] for run in runs.values()])
    difference = np.abs(losses[0] - losses[1]).max()
    answers = np.array([run["predictions"] for run in runs.values()])
    agreement = (answers[0] == answers[1]).mean()
    seconds = [runs[count]["seconds"] for count in (2, 1)]
    hand_over(faster("step in 2 processes, the same batch", *seconds, "1 process"))
    hand_over(Row("losses of 1 and 2 processes, difference", [float(difference)], "", bar=MOST))
    equal = [100 * float(agreement)]
    hand_over(Row("equal predictions", equal, "%", bar=100 * LEAST, at_least=True))
    print(f"losses of {losses.shape[1]} steps differ by at most {difference:.1e} (wanted {MOST:g})")
    print(f"{agreement:.2%} of {answers.shape[1]} predictions equal (wanted {LEAST:.1%})")
    return bool(difference <= MOST and agreement >= LEAST)


if __name__ == "__main__":
    if sys.argv[1:2] == ["--write"]:
        work(Path(sys.argv[2]), sys.argv[3:])
    else:
        sys.exit(0 if compare(sys.argv[1:]) else 1)
