"""How well every estimator counts novel classes, and how the default one was chosen.

    python tests/benchmarks/class_counts.py omniglot_features.npz [seeds]

The file is the one that tests/benchmarks/omniglot_embeddings.py writes: an embedding that saw
Omniglot's background characters alone. The features of CIFAR-100 and Grocery are read
from data/ in the folder that CGCD_FIXTURES names (default: ../shared). Half of the samples of each
known class are the reference; the other half and all samples of novel classes are the stage.

The default is chosen on the sets of the first table, digits and background alphabets, by the mean
over both of their mean absolute relative errors. The second table, one draw of each size, is
reported only. Seconds are of one thread.
"""

from __future__ import annotations

import os
import sys
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from sklearn.datasets import load_digits

from cgcd.discovery import ESTIMATORS, CountProblem, estimate_novel

ROOT = Path(__file__).resolve().parents[2]
MIN_RANGE = 20


@dataclass(frozen=True)
class Source:
    """Labeled features and the numbers of known and novel classes to draw from them."""

    name: str
    features: np.ndarray
    labels: np.ndarray
    sizes: tuple[tuple[int, int], ...]


def problem(source: Source, num_known: int, num_novel: int, seed: int) -> CountProblem:
    """Random classes of a source; searched up to twice the known classes, or `MIN_RANGE`."""
    generator = np.random.default_rng(seed)
    classes = generator.permutation(np.unique(source.labels))[: num_known + num_novel]
    known, names, stage = [], [], []
    for row, c in enumerate(classes):
        members = generator.permutation(np.flatnonzero(source.labels == c))
        half = len(members) // 2 if row < num_known else 0
        known.append(members[:half])
        names.append(np.full(half, row))
        stage.append(members[half:])
    features = source.features.astype(np.float32)
    return CountProblem(
        features[np.concatenate(stage)],
        features[np.concatenate(known)],
        np.concatenate(names),
        max(MIN_RANGE, 2 * num_known),
        seed,
    )


def chosen_on(omniglot: dict[str, np.ndarray]) -> Iterator[Source]:
    digits = load_digits()
    yield Source("digits", digits.data, digits.target, ((3, 7), (5, 5), (8, 2), (5, 2), (2, 4)))
    inside = omniglot["split"] == 1
    sizes = ((20, 20), (50, 50), (100, 100))
    yield Source("omniglot background", omniglot["f"][inside], omniglot["y"][inside], sizes)


def reported_on(omniglot: dict[str, np.ndarray]) -> Iterator[Source]:
    inside = omniglot["split"] == 0
    sizes = ((20, 20), (50, 50), (100, 100))
    yield Source("omniglot evaluation", omniglot["f"][inside], omniglot["y"][inside], sizes)
    data = Path(os.environ.get("CGCD_FIXTURES", ROOT.parent / "shared")) / "data"
    for name, file, sizes in (
        ("cifar-100", "cifar100_180x40_mnv2_feats.npz", ((20, 20), (50, 10), (50, 50))),
        ("grocery", "grocery81_mnv2_feats.npz", ((20, 20), (40, 10), (40, 41))),
    ):
        with np.load(data / file) as stored:
            arrays = dict(stored)
        if name == "cifar-100":
            half = np.flatnonzero(arrays["split"] == 0)[::2]  # 90 a class
            arrays = {key: arrays[key][half] for key in ("f", "y")}
        yield Source(name, arrays["f"], arrays["y"], sizes)


def table(title: str, sources: Iterator[Source], num_seeds: int) -> dict[str, float]:
    """Prints counts, errors and seconds; gives the mean over sources of each estimator's error."""
    print(f"\n{title}", flush=True)
    errors: dict[str, list[float]] = defaultdict(list)
    for source in sources:
        runs = [(*size, seed) for size in source.sizes for seed in range(num_seeds)]
        problems = [problem(source, *run) for run in runs]
        truth = np.array([novel for _, novel, _ in runs])
        shown = " ".join(f"{known}+{novel}" for known, novel, _ in runs)
        print(f"\n{source.name}: known+novel {shown}")
        for name in ESTIMATORS:
            # a fresh copy of the problem: estimators share its clusters otherwise
            found = [estimate_novel(replace(given), name) for given in problems]
            counts = np.array([estimate.num_novel for estimate in found])
            errors[name].append(float(np.mean(np.abs(counts - truth) / truth)))
            chosen = (
                " by " + ", ".join(sorted({estimate.estimator for estimate in found}))
                if name == "hidden_classes"
                else ""
            )
            print(
                f"  {name:18} error {errors[name][-1]:5.2f}  "
                f"{np.mean([estimate.seconds for estimate in found]):6.1f} s, at most "
                f"{max(estimate.seconds for estimate in found):6.1f} s  "
                f"{' '.join(map(str, counts))}{chosen}",
                flush=True,
            )
    return {name: float(np.mean(values)) for name, values in errors.items()}


def main() -> None:
    if len(sys.argv) < 2:
        sys.exit("give the file of Omniglot features; see the head of this file")
    torch.set_num_threads(1)
    with np.load(sys.argv[1]) as stored:
        omniglot = dict(stored)
    num_seeds = int(sys.argv[2]) if len(sys.argv) > 2 else 2
    means = table("chosen on these", chosen_on(omniglot), num_seeds)
    print("\nmean error of both:", ", ".join(f"{n} {e:.2f}" for n, e in means.items()))
    print(f"least: {min(means, key=lambda name: means[name])}")
    table("reported on these", reported_on(omniglot), num_seeds=1)


if __name__ == "__main__":
    main()
