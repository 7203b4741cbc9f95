"""Speed and quality of k-means, beside scikit-learn's.

    python tests/benchmarks/kmeans.py [seeds] [--small]

Prints one table; `seeds` is how many seeds are run, 5 if not given; `--small` leaves the two large
cases out. One thread each, the same
tolerance in the same definition. Accuracy is that of the best one-to-one match with the classes.
Seconds of the processor, then of the clock; the share is ours of scikit-learn's.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable

import numpy as np
import sklearn
import torch
from _timing import faster, hand_over
from sklearn.cluster import KMeans
from threadpoolctl import threadpool_limits

from cgcd.discovery import contingency, kmeans, match

NUM_SAMPLES, DIM, NUM_CLASSES = 50_000, 384, 200
TOLERANCE = 1e-4


def backbone_like(num_samples: int, dim: int, num_classes: int, seed: int):
    """Unit features and classes: 20 families of classes of unequal size and spread, an offset
    common to all, and a spectrum that falls as the square root of the rank."""
    generator = np.random.default_rng(seed)
    spectrum = np.arange(1, dim + 1) ** -0.5
    spectrum /= np.linalg.norm(spectrum)

    def normal(*shape: int) -> np.ndarray:
        return generator.standard_normal((*shape, dim)) * spectrum

    families = normal(20)[generator.integers(20, size=num_classes)]
    centers = 0.7 * families + 0.7 * normal(num_classes)
    shares = generator.dirichlet(np.full(num_classes, 5.0))
    labels = generator.choice(num_classes, size=num_samples, p=shares)
    spread = 1.1 * generator.uniform(0.7, 1.3, size=num_classes)[labels, None]
    samples = centers[labels] + spread * normal(num_samples) + 0.5 * normal()
    samples /= np.linalg.norm(samples, axis=1, keepdims=True)
    return samples.astype(np.float32), labels


def measured(run: Callable[[], tuple[np.ndarray, float]], truth: np.ndarray) -> np.ndarray:
    """Seconds of the processor, of the clock, inertia, accuracy, (4,)."""
    processor, clock = time.process_time(), time.perf_counter()
    labels, inertia = run()
    seconds = time.process_time() - processor, time.perf_counter() - clock
    counts = contingency(labels, truth)
    accuracy = match(counts).hits(counts).sum() / len(truth)
    return np.array([*seconds, inertia, accuracy])


def ours(features: np.ndarray, num_clusters: int, seed: int, num_starts: int):
    found = kmeans(features, num_clusters, seed, num_starts, tolerance=TOLERANCE)
    return found.labels.numpy(), found.inertia


def theirs(features: np.ndarray, num_clusters: int, seed: int, num_starts: int):
    model = KMeans(num_clusters, n_init=num_starts, tol=TOLERANCE, random_state=seed)
    return model.fit(features).labels_, model.inertia_


def compare(num_samples: int, dim: int, num_classes: int, num_starts: int, seeds: int) -> None:
    rows = []
    for seed in range(seeds):
        features, truth = backbone_like(num_samples, dim, num_classes, seed)
        case = (features, num_classes, seed, num_starts)
        a = measured(lambda case=case: ours(*case), truth)
        b = measured(lambda case=case: theirs(*case), truth)
        rows.append([*a, *b, a[2] / b[2]])
    mean = np.mean(rows, axis=0)
    case = f"{num_samples:,} x {dim}, K = {num_classes}, {num_starts} starts"
    processor = np.array(rows)[:, [0, 4]].T
    hand_over(faster(f"k-means, {case}", *processor, "scikit-learn"))
    print(f"{case}, {seeds} seeds")
    for name, row in (("ours", mean[:4]), ("scikit-learn", mean[4:8])):
        print(
            f"  {name:13}{row[0]:9.3f} s {row[1]:9.3f} s  inertia {row[2]:11.2f}"
            f"  accuracy {row[3]:.4f}"
        )
    ratios = np.array(rows)[:, 8]
    print(
        f"  time {mean[4] / mean[0]:.2f} times less (clock {mean[5] / mean[1]:.2f}), inertia "
        f"{mean[8]:.4f} ({ratios.min():.4f} to {ratios.max():.4f}), accuracy "
        f"{mean[3] - mean[7]:+.4f}",
        flush=True,
    )


def main() -> None:
    numbers = [argument for argument in sys.argv[1:] if argument != "--small"]
    seeds = int(numbers[0]) if numbers else 5
    torch.set_num_threads(1)
    print(f"torch {torch.__version__}, scikit-learn {sklearn.__version__}, one thread")
    with threadpool_limits(1):
        kmeans(np.eye(8), 2)  # what the first call loads is not timed
        compare(150, 128, 6, 10, seeds * 4)
        compare(3_000, 128, 50, 10, seeds)
        if "--small" not in sys.argv:
            compare(NUM_SAMPLES, DIM, NUM_CLASSES, 1, seeds)
            compare(NUM_SAMPLES, DIM, NUM_CLASSES, 10, seeds)


if __name__ == "__main__":
    main()
