"""All speed benchmarks side by side, each in a process of its own, in one table.

    python tests/benchmarks/suite.py [--quick] [--only NAME ...]

Names the machine, then prints two tables in Markdown: comparisons with medians, the middle half of
the rounds and the bar where there is one; and how operations grow, with slopes in logarithms.
Nothing is asserted about time; one thread each, unless a row says more, and `cgcd run` as it comes.
`--quick` takes small sizes: its numbers show only that everything runs. Benchmarks of real data
read the folder that CGCD_FIXTURES names (default: ../shared) and are left out where it has none;
`three_pass_gpu` wants a GPU and runs only if it is named. The exit code is 1 if a benchmark failed.
"""

from __future__ import annotations

import argparse
import os
import platform
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

from _timing import ROWS_FILE, Growth, Row, handed_over

from cgcd.cli.facts import commit

HERE = Path(__file__).resolve().parent
SHARED = Path(os.environ.get("CGCD_FIXTURES", HERE.parents[2] / "shared"))


@dataclass(frozen=True)
class Benchmark:
    """How a script is called.

    Attributes:
        script: beside this file; `hand_over` gives its rows.
        full, quick: its arguments.
        data: what it reads below `SHARED`.
        when_named: only `--only` runs it.
    """

    script: str
    full: Sequence[str] = ()
    quick: Sequence[str] = ()
    data: str = ""
    when_named: bool = False

    def command(self, is_quick: bool) -> list[str]:
        return [sys.executable, str(HERE / self.script), *(self.quick if is_quick else self.full)]


TINY_STEP = ("--rounds", "1", "--steps", "1", "--pixels", "32", "--batch", "4")
TINY_BLOCKS = ("--processes", "1", "--blocks", "4", "--steps", "2")
ON_GPU = ("--device", "cuda", "--precision", "bf16")
CIFAR = "data/cifar100_180x40_mnv2_feats.npz"
BENCHMARKS = {
    "three_pass": Benchmark("three_pass_step.py", quick=TINY_STEP),
    "three_pass_gpu": Benchmark("three_pass_step.py", ON_GPU, ON_GPU, when_named=True),
    "framework_step": Benchmark("framework_step.py", quick=("--rounds", "1")),
    "embedding_step": Benchmark("embedding_step.py", quick=TINY_BLOCKS),
    "precision": Benchmark("precision.py", ("step",), ("step", "--rounds", "1")),
    "default_run": Benchmark("default_run.py", quick=("--quick",)),
    "embedding_happy": Benchmark(
        "embedding_happy.py",
        (str(SHARED / CIFAR),),
        (str(SHARED / CIFAR), "adapter", "1"),
        data=CIFAR,
    ),
    "extract_features": Benchmark(
        "extract_features.py",
        (str(SHARED),),
        (str(SHARED), "64", "32"),
        data="data/grocery81_96jpg.npz",
    ),
    "frozen_speed": Benchmark("frozen_speed.py", quick=("nmc",)),
    "processes": Benchmark("processes.py", quick=("scenario.protocol.num_stages=1",)),
    "kmeans": Benchmark("kmeans.py", ("3",), ("1", "--small")),
    "metrics": Benchmark("metrics.py", quick=("1", "20000")),
    "compose": Benchmark("compose.py", quick=("100000",)),
    "hash_codebook": Benchmark("hash_codebook.py", quick=("1000", "200")),
    "growth": Benchmark("growth.py", quick=("--quick",)),
}


def machine() -> str:
    """What the numbers depend on, in one line."""
    lines = _read("/proc/cpuinfo").splitlines()
    models = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    model = models[0] if models else platform.processor() or platform.machine()
    return (
        f"{model}, {os.cpu_count()} cores, 1 thread, "
        f"{platform.system()}, Python {platform.python_version()}, torch {version('torch')}, "
        f"commit {commit() or 'unknown'}, load {os.getloadavg()[0]:.1f} at the start"
    )


def run(names: Iterable[str], is_quick: bool, file: Path) -> tuple[list[Row | Growth], list[str]]:
    """What the benchmarks hand over, and who failed."""
    failed = []
    env = {**os.environ, "OMP_NUM_THREADS": "1", ROWS_FILE: str(file)}
    for name in names:
        started = time.perf_counter()
        done = subprocess.run(
            BENCHMARKS[name].command(is_quick), env=env, capture_output=True, text=True, check=False
        )
        seconds = time.perf_counter() - started
        print(f"{name}: {seconds:.0f} s", file=sys.stderr, flush=True)
        if done.returncode:
            failed.append(name)
            print(done.stderr, file=sys.stderr, flush=True)
    return handed_over(file), failed


def comparisons(rows: Sequence[Row]) -> str:
    head = ("what", "ours", "other", "against", "median (middle half)", "wanted", "met")
    return _markdown(
        head, [(r.name, r.ours, r.other, r.against, r.measured, r.wanted, r.met) for r in rows]
    )


def growths(series: Sequence[Growth]) -> str:
    return _markdown(
        ("what", "grows", "sizes", "seconds", "slope"),
        [
            (
                s.name,
                s.letter,
                " ".join(f"{size:,}" for size in s.sizes),
                " ".join(f"{seconds:.2g}" for seconds in s.seconds),
                f"{s.slope:.2f}",
            )
            for s in series
        ],
    )


def _markdown(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    widths = [max(map(len, column)) for column in zip(head, *rows, strict=True)]
    lines = [head, ["-" * width for width in widths], *rows]
    return "\n".join(
        f"| {' | '.join(cell.ljust(width) for cell, width in zip(line, widths, strict=True))} |"
        for line in lines
    )


def _read(path: str) -> str:
    file = Path(path)
    return file.read_text(encoding="utf-8") if file.is_file() else ""


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--quick", action="store_true", help="small sizes, no meaning")
    parser.add_argument("--only", nargs="+", choices=BENCHMARKS, default=[], metavar="NAME")
    given = parser.parse_args()
    names = given.only or [name for name, one in BENCHMARKS.items() if not one.when_named]
    needed = {name: BENCHMARKS[name].data for name in names}
    absent = [name for name, data in needed.items() if data and not (SHARED / data).exists()]
    print(machine(), flush=True)
    if absent:
        print(f"left out, without their data in CGCD_FIXTURES: {', '.join(absent)}")
    with tempfile.TemporaryDirectory() as folder:
        found, failed = run(
            [name for name in names if name not in absent],
            given.quick,
            Path(folder) / "rows",
        )
    rows = [row for row in found if isinstance(row, Row)]
    series = [row for row in found if isinstance(row, Growth)]
    for table in [comparisons(rows)] * bool(rows) + [growths(series)] * bool(series):
        print(f"\n{table}")
    if failed:
        print(f"\nfailed: {', '.join(failed)}")
    return bool(failed)


if __name__ == "__main__":
    sys.exit(main())
