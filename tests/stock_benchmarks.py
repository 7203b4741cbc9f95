"""Stock Avalanche benchmarks of tiny vectors, in three experiences of 4, 2 and 2 classes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from avalanche.benchmarks import (
    benchmark_from_datasets,
    class_incremental_benchmark,
    nc_benchmark,
    with_classes_timeline,
)
from avalanche.benchmarks.utils import as_classification_dataset
from avalanche.benchmarks.utils.classification_dataset import (
    _make_taskaware_classification_dataset as _with_task_labels,
)
from torch.utils.data import TensorDataset

from cgcd.models import InputSpec
from scenarios import as_discovery

CLASSES, EACH = 8, 10
PARTS = np.split(np.arange(CLASSES * EACH), [4 * EACH, 6 * EACH])
LABELS = np.repeat(np.arange(CLASSES), EACH)


def _arrays() -> torch.Tensor:
    generator = np.random.default_rng(0)
    centers = 2 * generator.standard_normal((CLASSES, 16))
    noise = 0.3 * generator.standard_normal((len(LABELS), 16))
    return torch.tensor(centers[LABELS] + noise, dtype=torch.float32)


VECTORS = _arrays()


def noisy(vector: torch.Tensor) -> torch.Tensor:
    """A view, (D,); the engine calls it once for each."""
    return vector + 0.3 * torch.randn_like(vector)


def two_views(vector: torch.Tensor) -> torch.Tensor:
    """All views at once, (V, D)."""
    return torch.stack([vector, 0.9 * vector])


def labeled(part: Any = slice(None), labels: np.ndarray = LABELS) -> TensorDataset:
    """A plain data set with the `targets` that Avalanche wants."""
    data = TensorDataset(VECTORS[part], torch.tensor(labels[part]))
    data.targets = labels[part].tolist()
    return data


def grouped(
    part: Any = slice(None),
    labels: np.ndarray = LABELS,
    view: Callable[[torch.Tensor], torch.Tensor] = noisy,
    build: Callable[..., Any] = as_classification_dataset,
    **more: Any,
) -> Any:
    """An Avalanche data set with a view for training and none for evaluation."""
    groups = {"train": (view, None), "eval": (None, None)}
    return build(labeled(part, labels), transform_groups=groups, **more)


def data_sets(labels: np.ndarray = LABELS, **more: Any) -> Any:
    """Stages are the same samples whatever their labels are, so these may be poisoned."""
    parts = [grouped(part, labels, **more) for part in PARTS]
    valid = [grouped(part[::4], labels, **more) for part in PARTS]
    return benchmark_from_datasets(train=parts, test=parts, valid=valid)


def with_tasks(labels: np.ndarray = LABELS) -> Any:
    """Data sets with task labels, which Avalanche's own buffers need, and stacked views."""
    return data_sets(labels, view=two_views, build=_with_task_labels, task_labels=0)


def with_timeline(labels: np.ndarray = LABELS) -> Any:
    """Experiences that tell which classes came and will come."""
    return with_classes_timeline(data_sets(labels))


def nc(task_labels: bool = False, order: tuple[int, ...] = tuple(range(CLASSES))) -> Any:
    """Avalanche's oldest kind; the classes of an experience are fixed."""
    return nc_benchmark(
        *(labeled(), labeled(), 3, task_labels),
        fixed_class_order=list(order),
        per_exp_classes={0: 4, 1: 2, 2: 2},
        train_transform=noisy,
        eval_transform=None,
    )


def incremental() -> Any:
    """Experiences cut by class from one data set."""
    data = grouped()
    order = list(range(CLASSES))
    return class_incremental_benchmark(
        {"train": data, "test": data}, class_order=order, num_classes_per_exp=[4, 2, 2]
    )


def ours(labels: np.ndarray = LABELS) -> Any:
    """The same as a discovery scenario."""
    return as_discovery(data_sets(labels), inputs=InputSpec(vector=16), noise=0.3)


KINDS = {"stock": data_sets, "ours": ours}


def poisoned() -> np.ndarray:
    """Other labels for the hidden samples; each stage keeps its own classes."""
    labels, generator = LABELS.copy(), np.random.default_rng(1)
    for part in PARTS[1:]:
        labels[part] = generator.permutation(labels[part])
    assert (labels != LABELS).sum() > 10
    return labels


def one_changed() -> np.ndarray:
    """Another label for one sample of the first experience."""
    labels = LABELS.copy()
    labels[0] = 1
    return labels


def trained(
    build: Callable[..., Any],
    benchmark: Any,
    *plugins: Any,
    evaluate: bool = True,
    watched: Any = None,
    **settings: Any,
) -> Any:
    """A strategy after all experiences of a benchmark.

    Args:
        build: of the strategy.
        benchmark: a stock one, or a scenario of ours.
        *plugins: of the strategy.
        evaluate: it on the whole test stream at the end.
        watched: streams to evaluate while it trains.
        **settings: of the strategy.
    """
    kept = {"num_novel": 2, "epochs": (2, 1), "batch_size": 10, **settings}
    strategy = build(plugins=list(plugins), **kept)
    for experience in benchmark.train_stream:
        strategy.train(experience, watched)
    if evaluate:
        strategy.eval(benchmark.test_stream)
    return strategy


def bits(strategy: Any) -> dict[str, bytes]:
    """Everything that training leaves behind; nan equals nan."""
    modules = {"model": strategy.model, **strategy.state_modules()}
    return {
        f"{part}.{name}": tensor.detach().numpy().tobytes()
        for part, module in modules.items()
        for name, tensor in module.state_dict().items()
    }


def assert_hides(after: Callable[[np.ndarray], Any]) -> dict[str, bytes]:
    """The poison test and its control; gives what training on the right labels leaves.

    Args:
        after: a strategy trained on a benchmark with some labels.
    """
    clean = bits(after(LABELS))
    assert clean == bits(after(poisoned()))
    assert clean != bits(after(one_changed()))
    return clean
