"""Shared fixtures: one torch thread, golden values of released implementations, blobs."""

from __future__ import annotations

import os
import runpy
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

torch.set_num_threads(1)

ROOT = Path(__file__).resolve().parent.parent


def _fixtures_folder() -> Path | None:
    given = os.environ.get("CGCD_FIXTURES")
    folder = Path(given) if given else ROOT.parent / "shared"
    return folder if folder.is_dir() else None


def pytest_configure(config: pytest.Config) -> None:
    torch.set_num_threads(1)


@pytest.fixture(scope="session")
def shared() -> Path:
    """Folder with golden values, real data and weights; the test skips where there is none."""
    folder = _fixtures_folder()
    if folder is None:
        pytest.skip(
            "no fixtures: set CGCD_FIXTURES to the folder that holds parity/, data/, weights/"
        )
    return folder


@pytest.fixture(scope="session")
def parity(shared: Path) -> Callable[[str], list[dict[str, np.ndarray]]]:
    """Reads parity/<name>.npz into one dictionary of arrays per case; `desc` is its text."""

    def read(name: str) -> list[dict[str, np.ndarray]]:
        with np.load(shared / "parity" / f"{name}.npz") as file:
            arrays = dict(file)
        cases: list[dict[str, np.ndarray]] = [{} for _ in range(int(arrays.pop("n_cases")))]
        for key, value in arrays.items():
            case, name_in_case = key.split(".", 1)
            cases[int(case.removeprefix("case"))][name_in_case] = value
        return cases

    return read


@pytest.fixture(scope="session")
def write_published() -> Callable[..., Any]:
    """Writes a tiny data set in the format of a published one; see `published_files.py`."""
    return runpy.run_path(str(Path(__file__).with_name("published_files.py")))["write"]


@pytest.fixture(scope="session")
def write_run() -> Callable[..., Path]:
    """Writes a small run folder by hand; see `report_runs.py`."""
    return runpy.run_path(str(Path(__file__).with_name("report_runs.py")))["write_run"]


@pytest.fixture(scope="session")
def blobs() -> Callable[..., Any]:
    """Builds a scenario of Gaussian blobs, vectors instead of images; see `_blob_scenario`."""
    return _blob_scenario


@pytest.fixture(scope="session")
def blob_stream() -> Callable[..., Any]:
    """Builds an on-line scenario of Gaussian blobs; see `_blob_stream`."""
    return _blob_stream


@pytest.fixture(scope="session")
def blob_single_stage() -> Callable[..., Any]:
    """Builds a single-stage scenario of Gaussian blobs; see `_blob_single_stage`."""
    return _blob_single_stage


@pytest.fixture(scope="session")
def blob_model() -> Callable[..., Any]:
    """Builds a two-layer `GCDModel` for the blobs whose last layer is the tail."""

    def build(
        seed: int = 0, backbone: nn.Module | None = None, precision: str = "fp32", **kwargs: Any
    ) -> Any:
        from cgcd.models import GCDModel

        with torch.random.fork_rng():
            torch.manual_seed(seed)
            net = backbone or nn.Sequential(nn.Linear(16, 48), nn.ReLU(), nn.Linear(48, 24))
            settings = {"tail_units": 1, "projection_hidden": 32, "projection_dim": 16, **kwargs}
            model = GCDModel(net, example=torch.rand(2, 16), **settings)
        model.backbone.compute_in(precision)
        return model

    return build


@pytest.fixture(scope="session")
def quick_happy(blob_model: Callable[..., Any]) -> Callable[..., Any]:
    """Builds a Happy with short recipes for the blobs, on a model of its own."""

    def build(
        model: Any = None, epochs: tuple[int, int] = (3, 2), batch_size: int = 16, **kwargs: Any
    ) -> Any:
        from cgcd.engine import Recipe
        from strategies import Happy
        from strategies.happy import BASE, CONTINUAL

        def short(recipe: Recipe, num_epochs: int, lr: float) -> Recipe:
            optimizer = partial(torch.optim.SGD, lr=lr, momentum=0.9, weight_decay=5e-5)
            return Recipe(
                epochs=num_epochs,
                batch_size=batch_size,
                optimizer=optimizer,
                weights=recipe.weights,
            )

        recipes = {
            "base": short(BASE, epochs[0], 0.1),
            "continual": short(CONTINUAL, epochs[1], 0.03),
        }
        settings = {**recipes, "kmeans_starts": 2, "teacher_temperature_epochs": 2, **kwargs}
        return Happy(model=model or blob_model(), **settings)

    return build


@pytest.fixture(scope="session")
def trained_happy(quick_happy: Callable[..., Any]) -> Callable[..., Any]:
    """A quick Happy after all experiences of a stock benchmark; see `stock_benchmarks.py`."""
    stock = runpy.run_path(str(Path(__file__).with_name("stock_benchmarks.py")))
    return partial(stock["trained"], quick_happy)


class _NoisyCopies:
    """V copies of a vector, each with noise that hangs on the engine's draw alone, (V, D)."""

    def __init__(self, noise: float) -> None:
        self.noise = noise

    def __call__(self, sample: Any) -> torch.Tensor:
        from cgcd.engine.seeding import current_draw, uniforms

        draw, width = current_draw(), len(sample.image)
        numbers = [uniforms(draw, sample.id, view, width) for view in range(draw.num_views)]
        noise = torch.as_tensor(np.stack(numbers) - 0.5, dtype=torch.float32)
        return sample.image + self.noise * noise


def _as_it_is(sample: Any) -> torch.Tensor:
    return sample.image


def _blob_scenario(
    num_base: int = 4,
    novel: tuple[int, ...] = (1, 2),
    *,
    per_class: int = 24,
    per_known: int = 6,
    spread: float = 0.5,
    seed: int = 0,
    num_novel: str = "given",
    hide_test: bool = False,
) -> Any:
    """Labeled base classes, then unlabeled stages of some known and all novel samples.

    Classes are Gaussian blobs in 16 dimensions around corners of a scaled cube; class k has row k.
    Train and test samples have numbers of their own: training from 0 on, test from 0 on.
    """
    from cgcd.stages import DiscoveryScenario, Stage, stage_dataset
    from cgcd.vocabulary import UNLABELED

    generator = np.random.default_rng(seed)
    total, width = num_base + sum(novel), 16
    corners = np.sign(generator.standard_normal((total, width)))

    def drawn(row: int, count: int) -> np.ndarray:
        return corners[row] + spread * generator.standard_normal((count, width))

    parts: dict[str, list[np.ndarray]] = {"train": [], "test": []}

    def stage(split: str, index: int, counts: dict[int, int], shown: bool) -> Any:
        start = sum(map(len, parts[split]))
        labels = np.concatenate([np.full(n, row) for row, n in counts.items()])
        parts[split].append(np.concatenate([drawn(row, n) for row, n in counts.items()]))
        order = generator.permutation(len(labels))
        visible = labels[order] if shown else np.full(len(labels), UNLABELED)
        told = None
        if num_novel == "given":
            told = num_base if index == 0 else novel[index - 1]
        dataset = (split, start + order, visible)
        return dataset, index, told

    bounds = np.cumsum([num_base, *novel])
    plans = {"train": [], "test": []}
    for index, stop in enumerate(bounds):
        first = bounds[index - 1] if index else 0
        counts = {row: per_known if row < first else per_class for row in range(stop)}
        plans["train"].append(stage("train", index, counts, index == 0))
        fresh = {row: per_class // 2 for row in range(first, stop)}
        plans["test"].append(stage("test", index, fresh, not hide_test))
    images = {
        split: torch.as_tensor(np.concatenate(arrays), dtype=torch.float32)
        for split, arrays in parts.items()
    }

    def build(split: str) -> list[Any]:
        return [
            Stage(
                stage_dataset(
                    images[split],
                    rows,
                    labels,
                    train_transform=_NoisyCopies(0.5),
                    eval_transform=_as_it_is,
                ),
                index,
                told,
            )
            for (_, rows, labels), index, told in plans[split]
        ]

    return DiscoveryScenario(
        build("train"),
        build("test"),
        name="blobs",
        class_names=[f"blob {row}" for row in range(total)],
        num_base=num_base,
        num_novel=num_novel,
        stream_hash=f"blobs-{seed}-{num_base}-{novel}",
    )


def _blob_stream(
    num_base: int = 8,
    num_novel: int = 4,
    *,
    per_class: int = 24,
    spread: float = 0.4,
    window: int = 40,
    seed: int = 0,
    relabel: Callable[[np.ndarray], np.ndarray] = np.copy,
    hide_truth: bool = False,
) -> Any:
    """Labeled blobs, then a shuffled stream of the same and of novel ones; class k has row k.

    `relabel` changes the labels of the base stage, for tests that must see a change.
    """
    from cgcd.stages import OnlineScenario, Stage, stage_dataset
    from cgcd.vocabulary import UNLABELED

    generator = np.random.default_rng(seed)
    corners = np.sign(generator.standard_normal((num_base + num_novel, 16)))
    shown = np.repeat(np.arange(num_base), per_class)
    truth = generator.permutation(np.repeat(np.arange(num_base + num_novel), per_class // 2))
    rows = np.concatenate([shown, truth])
    drawn = corners[rows] + spread * generator.standard_normal((len(rows), 16))
    images = torch.as_tensor(drawn, dtype=torch.float32)
    stream = np.arange(len(shown), len(rows))
    hidden = np.full(len(stream), UNLABELED)

    def stage(index: int, which: np.ndarray, labels: np.ndarray) -> Any:
        views = {"train_transform": _NoisyCopies(0.5), "eval_transform": _as_it_is}
        return Stage(stage_dataset(images, which, labels, **views), index, None)

    return OnlineScenario(
        stage(0, np.arange(len(shown)), relabel(shown)),
        stage(1, stream, hidden),
        stage(1, stream, hidden if hide_truth else truth),
        window=window,
        name="blob_stream",
        class_names=[f"blob {row}" for row in range(num_base + num_novel)],
        num_base=num_base,
        stream_hash=f"blob-stream-{seed}",
    )


def _blob_single_stage(
    num_base: int = 4,
    num_novel: int = 3,
    *,
    per_class: int = 24,
    spread: float = 0.5,
    seed: int = 0,
    given: bool = True,
    with_test: bool = True,
    relabel: Callable[[np.ndarray], np.ndarray] = np.copy,
    retell: Callable[[np.ndarray], np.ndarray] = np.copy,
) -> Any:
    """Half of each of the first blobs labeled, all others not, in one stage; class k has row k.

    `relabel` changes the labels that are shown, `retell` the truth of the others.
    """
    from cgcd.stages import SingleStageScenario, Stage, stage_dataset
    from cgcd.vocabulary import UNLABELED

    generator = np.random.default_rng(seed)
    total = num_base + num_novel
    corners = np.sign(generator.standard_normal((total, 16)))
    classes = generator.permutation(np.repeat(np.arange(total), per_class))
    test_classes = np.repeat(np.arange(total), per_class // 2)

    def drawn(rows: np.ndarray) -> torch.Tensor:
        noisy = corners[rows] + spread * generator.standard_normal((len(rows), 16))
        return torch.as_tensor(noisy, dtype=torch.float32)

    images, test_images = drawn(classes), drawn(test_classes)
    turn = np.array([(classes[:i] == row).sum() for i, row in enumerate(classes)])
    labeled = (classes < num_base) & (turn % 2 == 0)
    shown = np.full(len(classes), UNLABELED)
    shown[labeled] = relabel(classes[labeled])

    def stage(source: Any, which: np.ndarray, labels: np.ndarray, told: int | None) -> Any:
        views = {"train_transform": _NoisyCopies(0.5), "eval_transform": _as_it_is}
        return Stage(stage_dataset(source, which, labels, **views), 0, told)

    everything, others = np.arange(len(classes)), np.flatnonzero(~labeled)
    tests = stage(test_images, np.arange(len(test_classes)), test_classes, None)
    return SingleStageScenario(
        stage(images, everything, shown, num_novel if given else None),
        stage(images, others, retell(classes[others]), None),
        tests if with_test else None,
        name="blobs_gcd",
        class_names=[f"blob {row}" for row in range(total)],
        num_base=num_base,
        num_novel="given" if given else "estimate",
        stream_hash=f"blobs-gcd-{seed}",
    )
