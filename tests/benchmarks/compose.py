"""Seconds to cut 10^6 samples of 10^4 classes into 100 continual stages, for each family.

    python tests/benchmarks/compose.py [samples]

Prints one line a family; the goal is under 5 seconds of the processor each, on one thread.
"""

from __future__ import annotations

import sys
from functools import partial

import numpy as np
from _timing import Row, hand_over, seconds_of

from scenarios.blurry import BlurryProtocol
from scenarios.protocol import Protocol, compose
from scenarios.shares import ShareProtocol

NUM_SAMPLES, NUM_CLASSES, NUM_STAGES = 10**6, 10**4, 100
MOST_SECONDS = 5
CLASSES = {"num_base": 1000, "num_stages": NUM_STAGES}
NUMBERS = {**CLASSES, "samples_per_novel": 80, "samples_per_known": 10}


def mixing() -> list[list[float]]:
    """Most of a class at its first stage, the rest in equal shares later."""
    size = NUM_STAGES + 1
    table = np.triu(np.full((size, size), 0.2), k=1) / np.maximum(np.arange(size)[::-1], 1)[:, None]
    np.fill_diagonal(table, 0.8)
    table[-1, -1] = 1.0
    return table.tolist()


FAMILIES = {
    "numbers": Protocol(**NUMBERS),
    "numbers, novel only": Protocol(**{**NUMBERS, "samples_per_known": 0}),
    "numbers, mixed stages": Protocol(**NUMBERS, shown_fraction=0.5),
    "numbers, long tail": Protocol(**NUMBERS, imbalance_labeled=10, imbalance_unlabeled=10),
    "shares": ShareProtocol(**CLASSES, shares=mixing()),
    "Si-Blurry": BlurryProtocol(**CLASSES),
}


def main(samples: int) -> None:
    train = np.random.default_rng(0).permutation(np.arange(samples) % NUM_CLASSES)
    for name, protocol in FAMILIES.items():
        cut = partial(compose, train, np.arange(NUM_CLASSES), protocol, seed=0)
        row = Row(f"compose {samples:,}, {name}", seconds_of(cut), "s", bar=MOST_SECONDS)
        print(hand_over(row), flush=True)


if __name__ == "__main__":
    main(*([int(sys.argv[1])] if len(sys.argv) > 1 else [NUM_SAMPLES]))
