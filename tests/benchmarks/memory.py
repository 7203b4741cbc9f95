"""Resident memory of a stream of 10^6 instances under PHE, and of Happy over 50 tiny stages.

    python tests/benchmarks/memory.py OUT.png [instances] [stages]

Synthetic vectors, one thread. Prints resident MiB after each window and each stage, draws both over
time, and says how much the second half grew. Samples lie in memory from the start; what grows after
the first windows would be what a run keeps of what it has seen.
"""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from matplotlib.figure import Figure

from cgcd.cli.configs import compose_run
from cgcd.cli.parts import Parts
from cgcd.engine import run_stages

DIM, NUM_CLASSES, WINDOWS = 16, 100, 40
PAGE = 4096 / 2**20
QUICK = ["model=adapter", "tracking=none", "torch_threads=1", "model.backbone.hidden=32"]


def resident() -> float:
    """MiB of this process in memory now."""
    return int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1]) * PAGE


def write(path: Path, num_samples: int, num_classes: int, seed: int = 0) -> None:
    """Vectors around class centers, classes mixed, and as many test vectors as 20 a class."""
    generator = np.random.default_rng(seed)
    centers = generator.standard_normal((num_classes, DIM))
    labels = generator.integers(num_classes, size=num_samples + 20 * num_classes)
    labels[:num_classes] = np.arange(num_classes)
    labels[num_samples:] = np.arange(20 * num_classes) % num_classes
    vectors = centers[labels] + 0.3 * generator.standard_normal((len(labels), DIM))
    split = np.repeat([0, 1], [num_samples, 20 * num_classes])
    np.savez(path, f=vectors.astype(np.float16), y=labels, split=split)


def measured(folder: Path, overrides: Sequence[str]) -> list[float]:
    """Resident MiB at each row of a run."""
    config, _ = compose_run([*QUICK, *overrides])
    parts = Parts.build(config, folder)
    sizes: list[float] = []
    run_stages(parts.strategy, parts.scenario, folder, on_stage=lambda _: sizes.append(resident()))
    return sizes


def stream(folder: Path, instances: int) -> list[float]:
    labeled = 2_000  # of half of the classes
    write(folder / "stream.npz", instances + labeled, NUM_CLASSES)
    share = 2 * labeled / (instances + labeled)
    return measured(
        folder / "phe",
        [
            "strategy=phe",
            "scenario=features_online",
            f"data_root={folder / 'stream.npz'}",
            f"scenario.window={instances // WINDOWS}",
            f"scenario.protocol.labeled_fraction={share}",
            "strategy.base.epochs=20",
            "strategy.observe_batch_size=256",
            "strategy.hash_hidden=64",
            "strategy.hash_bottleneck=32",
        ],
    )


def stages(folder: Path, num_stages: int) -> list[float]:
    num_classes = num_stages + 10
    write(folder / "stages.npz", 60 * num_classes, num_classes)
    return measured(
        folder / "happy",
        [
            "strategy=happy",
            "scenario=features",
            f"data_root={folder / 'stages.npz'}",
            "protocol@scenario.protocol=digits",
            "scenario.protocol.num_base=10",
            f"scenario.protocol.num_stages={num_stages}",
            "scenario.protocol.samples_per_novel=40",
            "scenario.protocol.samples_per_known=2",
            "strategy.base.epochs=2",
            "strategy.base.batch_size=32",
            "strategy.continual.epochs=2",
            "strategy.continual.batch_size=16",
        ],
    )


def told(name: str, sizes: list[float]) -> str:
    """What is printed of a run."""
    half = len(sizes) // 2
    grown = sizes[-1] - sizes[half]
    shown = " ".join(f"{size:.0f}" for size in sizes)
    each = f"({grown / half:+.2f} each)"
    return f"{name}: {shown} MiB\n  the second half grew by {grown:+.1f} MiB {each}"


def main(out: Path, instances: int, num_stages: int) -> None:
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        runs = {
            f"PHE, {instances:,} instances, by window": stream(Path(folder), instances),
            f"Happy, {num_stages} stages, by stage": stages(Path(folder), num_stages),
        }
    figure = Figure(figsize=(8, 3), layout="constrained")
    for axes, (name, sizes) in zip(figure.subplots(1, 2), runs.items(), strict=True):
        print(told(name, sizes), flush=True)
        axes.plot(range(len(sizes)), sizes, marker=".")
        axes.set(title=name, ylabel="resident MiB", ylim=(0, 1.1 * max(sizes)))
        axes.grid(alpha=0.3)
    figure.savefig(out, dpi=120)


if __name__ == "__main__":
    numbers = [int(given) for given in sys.argv[2:]]
    main(Path(sys.argv[1]), *(numbers + [10**6, 50][len(numbers) :]))
