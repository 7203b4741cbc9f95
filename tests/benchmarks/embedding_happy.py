"""Happy on 20,000 embeddings of width 768: 50 known classes, then 5 stages of 10, 10 epochs each.

    python tests/benchmarks/embedding_happy.py <features.npz> [adapter|identity] [epochs]

The embeddings are those of the file (`f`, `y`, `split`), brought to width 768 by a fixed random
rotation; training ones up to 20,000, test ones as they are. Everything of a run but the files is
there: metrics, baselines, loss terms, console. One thread; prints the table, and seconds of process
CPU time and of the wall for reading, each stage, and in all.
"""

from __future__ import annotations

import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import torch
from _timing import Row, hand_over

from cgcd.cli.configs import compose_run
from cgcd.cli.parts import Parts
from cgcd.engine import run_stages

WIDTH, MOST = 768, 20_000
MOST_SECONDS = 180


def write(source: str, target: Path) -> None:
    """The file's embeddings at width 768; a rotation keeps all angles."""
    with np.load(source) as file:
        vectors, labels, split = (file[name] for name in ("f", "y", "split"))
    generator = np.random.default_rng(0)
    directions, _ = np.linalg.qr(generator.standard_normal((max(vectors.shape[1], WIDTH), WIDTH)))
    wide = vectors.astype(np.float32) @ directions[: vectors.shape[1]].astype(np.float32)
    kept = np.concatenate([np.flatnonzero(split == 0)[:MOST], np.flatnonzero(split == 1)])
    np.savez(target, f=wide[kept].astype(np.float16), y=labels[kept], split=split[kept])


def main(source: str, model: str = "adapter", epochs: str = "10") -> None:
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "wide.npz"
        write(source, path)
        started, cpu = time.perf_counter(), time.process_time()
        config, _ = compose_run(
            [
                "scenario=features",
                f"model={model}",
                f"data_root={path}",
                "torch_threads=1",
                "tracking=none",
                "scenario.protocol.samples_per_known=25",
                f"strategy.base.epochs={epochs}",
                f"strategy.continual.epochs={epochs}",
            ]
        )
        parts = Parts.build(config, Path(folder) / "run")
        times = [("reading", time.perf_counter() - started, time.process_time() - cpu)]

        def row(values: object) -> None:
            done = [sum(part[place] for part in times) for place in (1, 2)]
            now = time.perf_counter() - started - done[0], time.process_time() - cpu - done[1]
            times.append((f"stage {len(times) - 1}", *now))
            print(f"{now[1]:.1f} s CPU", flush=True)
            parts.progress.row(values)

        run_stages(parts.strategy, parts.scenario, None, on_stage=row)
        for name, wall, used in times:
            print(f"{name:10} {used:7.1f} s CPU  {wall:7.1f} s")
        total = sum(used for *_, used in times)
        size = sum(len(stage.dataset) for stage in parts.scenario.train_stream)
        name = f"Happy on {size} vectors in {len(times) - 1} stages, {model}"
        print(hand_over(Row(name, [total], "s", bar=MOST_SECONDS)))


if __name__ == "__main__":
    main(*sys.argv[1:])
