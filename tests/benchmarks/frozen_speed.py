"""Seconds of the closed-form strategies on 50,000 embeddings of width 768, 50 + 5 x 10 classes.

    python tests/benchmarks/frozen_speed.py [nmc|gaussian|analytic|vb_cgcd|vb_cgcd_closed|happy ...]
        [--embeddings FILE]

The embeddings are drawn: 100 classes of 500 training and 100 test samples, means and covariances of
a decaying spectrum as those of images have. 400 of each known class are labeled, 20 more come at
every stage. `--embeddings` takes those of a file instead, with the stages of `one_table.py`. The
features stay as they come; Happy, which only runs if it is named, trains a map of them, 10 epochs a
stage. A run is that of `cgcd run` without the files of the analysis; two threads. Prints seconds of
the clock and of the processor for reading and each stage, and in all; the k-means and nearest means
that every run computes beside its strategy, as floors, are a line of their own and not in the sum.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from _table_cells import AS_THEY_COME, FROZEN, LEARNED_MAP, STAGED
from _timing import Row, hand_over

from cgcd.cli.configs import compose_run
from cgcd.cli.parts import Parts
from cgcd.engine import run_stages
from cgcd.engine.baselines import Baselines

CALLBACKS = (
    "before_training_exp",
    "after_training_exp",
    "before_eval",
    "before_eval_exp",
    "after_eval_iteration",
    "after_eval",
)
CLASSES, WIDTH, TRAINED, TESTED = 100, 768, 500, 100
MOST_SECONDS = 60
RUNS = {name: (*STAGED[name], *AS_THEY_COME) for name in FROZEN}
RUNS["happy"] = (*STAGED["happy"], *LEARNED_MAP)


def write(target: Path) -> None:
    """Drawn embeddings as a file: `f` float16, `y`, `split`."""
    generator = np.random.default_rng(0)
    spectrum = (np.arange(1, WIDTH + 1) ** -0.5).astype(np.float32)
    parts, labels, split = [], [], []
    for c in range(CLASSES):
        mean = 2 * spectrum * generator.standard_normal(WIDTH, dtype=np.float32)
        widths = spectrum * generator.uniform(0.5, 1.5, WIDTH).astype(np.float32)
        noise = generator.standard_normal((TRAINED + TESTED, WIDTH), dtype=np.float32)
        parts.append((mean + widths * noise).astype(np.float16))
        labels.append(np.full(TRAINED + TESTED, c))
        split.append(np.arange(TRAINED + TESTED) >= TRAINED)
    rotation, _ = np.linalg.qr(generator.standard_normal((WIDTH, WIDTH), dtype=np.float32))
    rows = np.concatenate([part.astype(np.float32) @ rotation for part in parts])
    np.savez(
        target,
        f=rows.astype(np.float16),
        y=np.concatenate(labels),
        split=np.concatenate(split).astype(np.int64),
    )


def timed_floors(strategy: Any) -> list[float]:
    """Seconds of the clock and of the processor in the strategy's floors, as they are spent."""
    total = [0.0, 0.0]

    def timed(call: Callable[..., Any]) -> Callable[..., Any]:
        def run(*args: Any, **kwargs: Any) -> Any:
            started = time.perf_counter(), time.process_time()
            try:
                return call(*args, **kwargs)
            finally:
                total[0] += time.perf_counter() - started[0]
                total[1] += time.process_time() - started[1]

        return run

    (baselines,) = (m for m in strategy.evaluator.metrics if isinstance(m, Baselines))
    for event in CALLBACKS:
        setattr(baselines, event, timed(getattr(baselines, event)))
    return total


def measure(name: str, file: Path, folder: Path, protocol: Sequence[str] = ()) -> None:
    """Run one strategy on a file's embeddings and print where its seconds went."""
    started, used = time.perf_counter(), time.process_time()
    lines: list[str] = []

    def lap(what: str) -> None:
        nonlocal started, used
        now = time.perf_counter(), time.process_time()
        spent.append((now[0] - started, now[1] - used))
        lines.append(f"  {what:10} {spent[-1][0]:6.1f} s  {spent[-1][1]:6.1f} s of processor")
        started, used = now

    spent: list[tuple[float, float]] = []
    config, _ = compose_run(
        [
            *RUNS[name],
            "scenario=features",
            f"data_root={file}",
            "tracking=none",
            "analysis=false",
            *protocol,
        ]
    )
    parts = Parts.build(config, folder / name)
    torch.set_num_threads(2)
    lap("reading")
    floors = timed_floors(parts.strategy)
    result = run_stages(
        parts.strategy, parts.scenario, None, on_stage=lambda row: lap(f"stage {row['stage']}")
    )
    wall, processor = map(sum, zip(*spent, strict=True))
    wall, processor = wall - floors[0], processor - floors[1]
    lines.append(
        f"  {'floors':10} {floors[0]:6.1f} s  {floors[1]:6.1f} s of processor, not in the sum"
    )
    is_drawn = bool(protocol)
    what = f"{name} on {'50,000' if is_drawn else file.stem} embeddings, 2 threads, clock"
    hand_over(Row(what, [wall], "s", bar=MOST_SECONDS if is_drawn else None))
    bar = f" (at most {MOST_SECONDS})" if is_drawn else ""
    print(
        f"{name}: {wall:.1f} s{bar}, {processor:.1f} s of processor, "
        f"mean All {100 * result.headline:.1f}"
    )
    print("\n".join(lines), flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("names", nargs="*", choices=RUNS, metavar="NAME")
    parser.add_argument("--embeddings", type=Path)
    given = parser.parse_args()
    names = given.names or FROZEN
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        drawn = folder / "drawn.npz"
        if given.embeddings is None:
            write(drawn)
        for name in names:
            if given.embeddings is None:
                measure(name, drawn, folder, ["scenario.protocol.samples_per_known=20"])
            else:
                measure(name, given.embeddings, folder)


if __name__ == "__main__":
    main()
