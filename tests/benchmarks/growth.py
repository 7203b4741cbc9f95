"""How the time of each operation grows with samples, classes and stages: slopes in logarithms.

    python tests/benchmarks/growth.py [--quick] [name ...]

A slope of 1 is proportional, 2 quadratic, 0 independent. Synthetic vectors, one thread, seconds of
the processor, medians of three runs; `--quick` takes the two smallest sizes once. Give parts of
names to run a few.
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from _timing import Growth, hand_over, seconds_of

from cgcd.discovery import kmeans
from cgcd.engine import run_stages
from cgcd.engine.checkpoint import save_stage
from cgcd.memory import HashCodebook
from cgcd.metrics import pass_metrics
from cgcd.models import Adapter, CosineHead, GCDModel
from cgcd.stages import DiscoveryScenario, Stage, stage_dataset
from cgcd.vocabulary import UNLABELED
from scenarios.features import NoisyViews, VectorView
from scenarios.protocol import Protocol, compose
from strategies import Happy
from strategies.happy import BASE, CONTINUAL

WIDTH, BATCH = 32, 128
Run = Callable[[], Any]


@dataclass(frozen=True)
class Series:
    """One line of the table.

    Attributes:
        name: the operation and what stays fixed.
        letter: what grows.
        sizes: ascending.
        prepare: from a size and an empty folder, what is timed; called anew for every run.
    """

    name: str
    letter: str
    sizes: tuple[int, ...]
    prepare: Callable[[int, Path], Run]

    def measured(self, quick: bool) -> Growth:
        sizes, rounds = (self.sizes[:2], 1) if quick else (self.sizes, 3)
        return Growth(
            self.name,
            self.letter,
            list(sizes),
            [float(np.median([self._once(size) for _ in range(rounds)])) for size in sizes],
        )

    def _once(self, size: int) -> float:
        with tempfile.TemporaryDirectory() as folder:
            return seconds_of(self.prepare(size, Path(folder)))[0]


# ------------------------------------------------------------------ data


def labels_of(num_samples: int, num_classes: int) -> np.ndarray:
    """Every class about equally often, (N,)."""
    return np.arange(num_samples) % num_classes


def vectors_of(labels: np.ndarray) -> np.ndarray:
    """Unit vectors around a center for each class, (N, WIDTH)."""
    generator = np.random.default_rng(0)
    centers = generator.standard_normal((int(labels.max()) + 1, WIDTH))
    vectors = centers[labels] + 0.5 * generator.standard_normal((len(labels), WIDTH))
    return (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)


def stage_of(labels: np.ndarray, index: int, *, num_novel: int | None = None) -> Stage:
    """A stage of vectors; `num_novel` makes it one without labels."""
    view = VectorView()
    dataset = stage_dataset(
        vectors_of(labels),
        np.arange(len(labels)),
        labels if num_novel is None else np.full(len(labels), UNLABELED),
        train_transform=NoisyViews(view),
        eval_transform=view,
    )
    return Stage(dataset, index, num_novel)


def stream_of(train: list[Stage], test: list[Stage], num_classes: int, num_base: int) -> Any:
    names = [str(c) for c in range(num_classes)]
    return DiscoveryScenario(train, test, name="vectors", class_names=names, num_base=num_base)


def happy() -> Happy:
    """One epoch a stage on a small adapter."""
    torch.manual_seed(0)
    optimizer = partial(torch.optim.SGD, lr=1e-3)
    model = GCDModel(Adapter(WIDTH, 64), tail_units="all", projection_hidden=64, projection_dim=32)
    sizes: dict[str, Any] = {"epochs": 1, "optimizer": optimizer}
    return Happy(
        model=model,
        base=replace(BASE, batch_size=BATCH, **sizes),
        continual=replace(CONTINUAL, batch_size=32, **sizes),
        kmeans_starts=1,
    )


def trained(num_classes: int, num_samples: int = 0) -> tuple[Happy, Any]:
    """Happy after a base stage, and a stream with so many test samples."""
    base = stage_of(labels_of(max(BATCH, 2 * num_classes), num_classes), 0)
    test = stage_of(labels_of(num_samples or num_classes, num_classes), 0)
    strategy = happy()
    strategy.train(base)
    return strategy, stream_of([base], [test], num_classes, num_classes).test_stream


# ------------------------------------------------------------------ operations


def composing(samples: int, classes: int, stages: int) -> Run:
    novel = classes // 2 // stages
    protocol = Protocol(
        num_base=classes // 2,
        num_stages=stages,
        novel_per_stage=novel,
        samples_per_novel=20,
        samples_per_known=2,
    )
    return partial(compose, labels_of(samples, classes), np.arange(classes), protocol, seed=0)


def clustering(samples: int, clusters: int) -> Run:
    return partial(kmeans, vectors_of(labels_of(samples, clusters)), clusters, 0, 1)


def metrics(samples: int, classes: int) -> Run:
    generator = np.random.default_rng(0)
    truth = labels_of(samples, classes)
    guess = np.where(
        generator.random(samples) < 0.7, truth, generator.integers(classes, size=samples)
    )
    base = classes // 2

    return partial(pass_metrics, guess, truth, base, base)


def observing(codes: int, centers: int) -> Run:
    generator = np.random.default_rng(0)
    words = generator.integers(2**64, size=centers, dtype=np.uint64)
    flips = np.uint64(1) << generator.integers(64, size=codes, dtype=np.uint64)
    return partial(
        HashCodebook(64, 12).observe, (words[labels_of(codes, centers)] ^ flips)[:, None]
    )


def growing(classes: int) -> Run:
    return partial(CosineHead(768, classes).grow, classes + 10)


def training(classes: int) -> Run:
    stage = stage_of(labels_of(40 * BATCH, classes), 0)
    return partial(happy().train, stage)


def evaluating(samples: int, classes: int) -> Run:
    strategy, stream = trained(classes, samples)
    return partial(strategy.eval, stream)


def storing(classes: int, folder: Path) -> Run:
    strategy, stream = trained(classes)
    strategy.eval(stream)
    return partial(save_stage, strategy, folder, {})


def running(stages: int, folder: Path) -> Run:
    """A run in a folder: ten base classes, then one more a stage."""
    train = [stage_of(labels_of(2 * BATCH, 10), 0)]
    train += [stage_of(labels_of(64, 11 + t), t + 1, num_novel=1) for t in range(stages)]
    test = [stage_of(labels_of(100, 10), 0)]
    test += [stage_of(np.full(10, 10 + t), t + 1) for t in range(stages)]
    return partial(run_stages, happy(), stream_of(train, test, 10 + stages, 10), folder)


SERIES = (
    Series(
        "compose, 500 classes, 50 stages",
        "N",
        (20_000, 80_000, 320_000, 1_280_000),
        lambda size, _: composing(size, 500, 50),
    ),
    Series(
        "compose, 200,000 samples, 10 stages",
        "K",
        (100, 400, 1_600, 6_400),
        lambda size, _: composing(200_000, size, 10),
    ),
    Series(
        "compose, 100,000 samples, 1,000 classes",
        "T",
        (10, 25, 50, 100),
        lambda size, _: composing(100_000, 1_000, size),
    ),
    Series(
        f"k-means, 50 clusters, width {WIDTH}",
        "N",
        (5_000, 20_000, 80_000, 320_000),
        lambda size, _: clustering(size, 50),
    ),
    Series(
        f"k-means, 20,000 samples, width {WIDTH}",
        "K",
        (25, 50, 100, 200, 400),
        lambda size, _: clustering(20_000, size),
    ),
    Series(
        "metrics, 100 classes",
        "N",
        (10_000, 100_000, 1_000_000),
        lambda size, _: metrics(size, 100),
    ),
    Series(
        "metrics, 100,000 samples",
        "K",
        (50, 200, 800, 3_200),
        lambda size, _: metrics(100_000, size),
    ),
    Series(
        "codebook, 500 centers",
        "N",
        (5_000, 20_000, 80_000, 320_000),
        lambda size, _: observing(size, 500),
    ),
    Series(
        "codebook, 50,000 codes",
        "K",
        (100, 400, 1_600, 6_400),
        lambda size, _: observing(50_000, size),
    ),
    Series(
        "head grows by 10 rows, width 768",
        "K",
        (1_000, 4_000, 16_000, 64_000),
        lambda size, _: growing(size),
    ),
    Series(
        "Happy's base stage, 40 steps on vectors",
        "K",
        (50, 200, 800, 3_200),
        lambda size, _: training(size),
    ),
    Series(
        "evaluation on vectors, 50 classes",
        "N",
        (2_000, 20_000, 200_000),
        lambda size, _: evaluating(size, 50),
    ),
    Series(
        "evaluation on 20,000 vectors",
        "K",
        (50, 200, 800, 3_200),
        lambda size, _: evaluating(20_000, size),
    ),
    Series("checkpoint of a stage", "K", (50, 500, 5_000), storing),
    Series("whole run in a folder", "T", (2, 4, 8, 16, 32), running),
)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("names", nargs="*")
    given = parser.parse_args()
    torch.set_num_threads(1)
    for series in SERIES:
        if not given.names or any(name in series.name for name in given.names):
            print(hand_over(series.measured(given.quick)), flush=True)


if __name__ == "__main__":
    main()
