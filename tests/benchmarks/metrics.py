"""Seconds that all metrics of a pass take: 10^6 samples, 5,000 categories, 5,000 classes.

    python tests/benchmarks/metrics.py [rounds] [samples]

Staged metrics (three accuracies by group, NMI, ARI) and those of a stream, over answers that are
right or wrong in different ways; the matched accuracy is compared with that of scipy's assignment
of the dense table, and with its time. `rounds` is 3 if not given. Seconds of the processor.
"""

from __future__ import annotations

import sys

import numpy as np
from _timing import Row, hand_over, seconds_of
from scipy.optimize import linear_sum_assignment

from cgcd.discovery import contingency
from cgcd.metrics import pass_metrics, stream_accuracies

NUM_SAMPLES, NUM_CLASSES = 1_000_000, 5_000
NUM_BASE, NUM_KNOWN = 2_500, 4_000
BAR = 2.0


def answers(right: float, reach: int, number: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Categories and classes of unequal size; a wrong answer is one of the next `reach` ones."""
    generator = np.random.default_rng(seed)
    shares = generator.dirichlet(np.full(NUM_CLASSES, 5.0))
    classes = generator.choice(NUM_CLASSES, size=number, p=shares)
    away = generator.integers(1, reach + 1, size=number)
    away[generator.random(number) < right] = 0
    return generator.permutation(NUM_CLASSES)[(classes + away) % NUM_CLASSES], classes


def main() -> None:
    given = [int(argument) for argument in sys.argv[1:]]
    rounds, number = [*given, *(3, NUM_SAMPLES)[len(given) :]]
    pass_metrics([0, 1], [0, 1], 1, 1)  # what the first call loads is not timed
    cases = {
        "70 % right, neighbors": (0.7, 9),
        "30 % right, neighbors": (0.3, 9),
        "70 % right, anywhere": (0.7, NUM_CLASSES - 1),
        "30 % right, anywhere": (0.3, NUM_CLASSES - 1),
        "chance": (0.0, NUM_CLASSES - 1),
    }
    for name, (right, reach) in cases.items():
        guess, truth = answers(right, reach, number, seed=0)
        found = pass_metrics(guess, truth, NUM_BASE, NUM_KNOWN)["accuracy/all"]
        against = f"matched {found:.6f}"
        if right:  # by chance scipy's own takes minutes
            counts = contingency(guess, truth)
            i, j = linear_sum_assignment(counts, maximize=True)
            assert found == counts[i, j].sum() / number
            dense = seconds_of(lambda c=counts: linear_sum_assignment(c, maximize=True))[0]
            against += f", as scipy's dense assignment, which alone takes {dense:.2f} s"
        staged = seconds_of(
            lambda g=guess, t=truth: pass_metrics(g, t, NUM_BASE, NUM_KNOWN), rounds
        )
        stream = seconds_of(lambda g=guess, t=truth: stream_accuracies(g, t, NUM_BASE), rounds)
        print(hand_over(Row(f"staged metrics, {name}", staged, "s", against=against, bar=BAR)))
        print(hand_over(Row(f"stream metrics, {name}", stream, "s", bar=BAR)), flush=True)


if __name__ == "__main__":
    main()
