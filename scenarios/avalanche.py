"""A stock class-incremental Avalanche benchmark as a stream of category discovery."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import numpy as np

from cgcd.engine.seeding import numpy_generator
from cgcd.engine.stock import StockView, StockViews
from cgcd.models import InputSpec
from cgcd.stages import DiscoveryScenario, Stage, stage_dataset
from cgcd.vocabulary import UNLABELED, InputError
from scenarios.composition import Composition, StagePlan
from scenarios.features import NoisyViews, VectorView
from scenarios.identity import data_hash
from scenarios.stock_samples import (
    Joined,
    Raw,
    StockImages,
    StockInputs,
    StockVectors,
    class_names,
    labels_of,
    origin,
)
from scenarios.stream import image_views
from scenarios.views import STANDARD, Augmentation

log = logging.getLogger(__name__)

_VIEWS = ("augmentations", "stock")


def as_discovery(
    benchmark: Any,
    *,
    inputs: InputSpec,
    num_base: int | None = None,
    labeled_fraction: float = 1.0,
    known_share: float = 0.0,
    seed: int = 0,
    num_novel: str | int = "estimate",
    views: str = "augmentations",
    augmentations: Sequence[Augmentation] = STANDARD,
    noise: float = 0.0,
    name: str = "stock",
) -> DiscoveryScenario:
    """The first experiences of a benchmark labeled, each later one a stage without labels.

    Rows are given experience by experience, ascending by label within one, and carry the names of
    the data set below. A test stage holds the test samples of the classes first met at its stage,
    however the benchmark cuts its test stream. A validation stream becomes `valid_stream`: one
    stage, the labeled validation samples of the base classes; those of later classes are left out,
    for whatever watches it would choose weights by labels that nobody shall have.

    Args:
        benchmark: with a `train_stream` and a `test_stream` whose experiences bring classes:
            `nc_benchmark`, `class_incremental_benchmark`, `benchmark_from_datasets`, `SplitMNIST`
            and its like, or `benchmark_with_validation_stream` of one. Task labels are not kept.
        inputs: what the backbone wants, `model.inputs`.
        num_base: labeled classes; experiences are joined until there are so many. None: those of
            experience 0.
        labeled_fraction: share in (0, 1] of each base class's samples that stage 0 labels; the
            others come unlabeled, each at one of the later stages.
        known_share: share in [0, 1) of each novel class's samples that its first stage leaves to
            later ones, each to one of them; what the last stage brings stays there.
        seed: of these draws; that of a class hangs on the seed and the class alone.
        num_novel: see `discovery_scenario`.
        views: "augmentations" makes ours of the samples as the data set below the benchmark gives
            them, "stock" calls the benchmark's own training transform once a view.
        augmentations: of the training views of images.
        noise: of the training views of vectors, see `NoisyViews`.
        name: short name for folders and tables.

    Raises:
        InputError: if the benchmark is none of the above, an argument is out of range, no boundary
            between experiences has `num_base` classes before it, or the samples do not fit the
            model.
    """
    _check(labeled_fraction, known_share, views, seed)
    train, test = _datasets(benchmark, "train"), _datasets(benchmark, "test")
    order = _Order([labels_of(dataset) for dataset in train], num_base)
    labels = np.concatenate(order.labels)
    test_labels = np.concatenate([labels_of(dataset) for dataset in test])
    composition = order.compose(
        _first_copies(train, labels),
        _first_copies(test, test_labels),
        test_labels,
        (1 - labeled_fraction, known_share),
        seed,
    )
    names = class_names(train, labels)
    source, train_views = _views(train, inputs, views, augmentations, noise)
    test_source, test_views = _views(test, inputs, views, augmentations, noise)
    rows = composition.rows(test_labels)

    def stage(plan: StagePlan) -> Stage:
        dataset = stage_dataset(source[0], plan.indices, plan.labels, **train_views)
        return Stage(dataset, plan.index, _told(plan, num_novel))

    def test_stage(plan: StagePlan) -> Stage:
        which = plan.test_indices
        dataset = stage_dataset(test_source[0], which, rows[which], **test_views)
        return Stage(dataset, plan.index, _told(plan, num_novel))

    return DiscoveryScenario(
        [stage(plan) for plan in composition.stages],
        [test_stage(plan) for plan in composition.stages],
        valid=_valid(benchmark, composition, inputs, views, augmentations, noise),
        name=name,
        class_names=[names[int(label)] for label in composition.class_order],
        num_base=composition.num_base,
        num_novel="given" if num_novel == "given" or isinstance(num_novel, int) else num_novel,
        stream_hash=composition.hash,
        data_hash=data_hash(source[1], *train_views.values(), data_hash(test_source[1])),
        description={"stages": composition.describe()},
    )


class _Order:
    """Which experience belongs to which stage, and which class gets which row.

    Attributes:
        labels: of each experience's samples, (N_e,).
        stage_of: stage of each experience.
        classes: labels first met at each stage, in the order of their rows.
    """

    def __init__(self, labels: Sequence[np.ndarray], num_base: int | None) -> None:
        self.labels = list(labels)
        fresh, met = [], set[int]()
        for part in self.labels:
            fresh.append(sorted(set(part.tolist()) - met))
            met |= set(fresh[-1])
        ends = np.cumsum([len(classes) for classes in fresh]).tolist()
        num_first = _experiences_of(num_base, ends)
        joined = [c for classes in fresh[:num_first] for c in classes]
        self.classes = [joined, *fresh[num_first:]]
        self.stage_of = [max(e - num_first + 1, 0) for e in range(len(self.labels))]
        for index, classes in enumerate(self.classes):
            if not classes:
                raise InputError(
                    f"experience {index + num_first - 1} brings no class that is not in an earlier "
                    "one; wanted a class-incremental benchmark, where each experience brings some"
                )

    def compose(
        self,
        kept_train: np.ndarray,
        kept_test: np.ndarray,
        test_labels: np.ndarray,
        shares: tuple[float, float],
        seed: int,
    ) -> Composition:
        """The stages as indices into the joined experiences.

        Args:
            kept_train, kept_test: samples that are no copy of an earlier one, ascending.
            test_labels: of all test samples.
            shares: of each base class and of each later one, for the stages after its first.
            seed: of these draws.
        """
        labels = np.concatenate(self.labels)
        stage = np.repeat(self.stage_of, [len(part) for part in self.labels])
        last = len(self.classes) - 1
        for first, classes in enumerate(self.classes[:-1]):
            for label in classes:
                own = kept_train[(labels[kept_train] == label) & (stage[kept_train] == first)]
                count = min(round(shares[min(first, 1)] * len(own)), len(own) - 1)
                left = numpy_generator(seed, "left for later", label).permutation(own)[:count]
                for later, part in enumerate(np.array_split(left, last - first), first + 1):
                    stage[part] = later
        class_order = np.asarray([label for classes in self.classes for label in classes])
        row = {int(label): k for k, label in enumerate(class_order)}
        rows = np.asarray([row[label] for label in labels.tolist()])
        test_rows = np.asarray([row.get(label, UNLABELED) for label in test_labels.tolist()])
        _notice_unmet(test_labels[test_rows == UNLABELED])
        plans, known = [], 0
        for index, classes in enumerate(self.classes):
            which = kept_train[stage[kept_train] == index]
            novel = range(known, known + len(classes))
            tested = test_rows[kept_test]
            plans.append(
                StagePlan(
                    index=index,
                    indices=which,
                    labels=rows[which] if index == 0 else np.full(len(which), UNLABELED),
                    novel_rows=novel,
                    num_known=known,
                    class_counts=np.bincount(rows[which], minlength=novel.stop),
                    test_indices=kept_test[(tested >= known) & (tested < novel.stop)],
                )
            )
            known = novel.stop
        return Composition(tuple(plans), class_order, len(self.classes[0]))


def _experiences_of(num_base: int | None, ends: list[int]) -> int:
    """Experiences that make stage 0; `ends` counts the classes up to each."""
    if len(ends) < 2:
        raise InputError(
            f"the benchmark has {len(ends)} training experiences; wanted one with labels and at "
            "least one without: cut it into more"
        )
    if num_base is None:
        return 1
    possible = sorted(set(ends[:-1]))
    if num_base not in possible:
        nearest = min(possible, key=lambda end: abs(end - num_base))
        raise InputError(
            f"num_base is {num_base}, and the experiences but the last end after "
            f"{', '.join(map(str, possible))} classes; wanted one of these: set num_base={nearest}"
        )
    return ends.index(num_base) + 1


def _datasets(benchmark: Any, stream: str) -> list[Any]:
    found = getattr(benchmark, f"{stream}_stream", None)
    datasets = [] if found is None else [experience.dataset for experience in found]
    if not sum(map(len, datasets)):
        raise InputError(
            f"{type(benchmark).__name__} has no {stream}_stream with samples; wanted an Avalanche "
            "benchmark with a train_stream and a test_stream, such as nc_benchmark(...)"
        )
    return datasets


def _first_copies(datasets: Sequence[Any], labels: np.ndarray) -> np.ndarray:
    """Samples that are no copy of an earlier one, ascending: some benchmarks repeat samples.

    Only where a class occurs in two experiences can one be.
    """
    bounds = np.cumsum([0, *map(len, datasets)])
    parts = [np.unique(labels[a:b]) for a, b in pairwise(bounds)]
    if len(np.unique(np.concatenate(parts))) == sum(map(len, parts)):
        return np.arange(len(labels))
    first: dict[tuple[int, int], int] = {}
    for start, dataset in zip(bounds, datasets, strict=False):
        for place in range(len(dataset)):
            source, own = origin(dataset, place)
            first.setdefault((id(source), int(own)), int(start) + place)
    return np.asarray(sorted(first.values()))


def _views(
    datasets: Sequence[Any],
    inputs: InputSpec,
    views: str,
    augmentations: Sequence[Augmentation],
    noise: float,
) -> tuple[tuple[Any, Any], dict[str, Any]]:
    """What `stage_dataset` reads, what tells the data apart, and the two transforms."""
    if views == "stock":
        trained = Joined([dataset.train() for dataset in datasets])
        evaluated = Joined([dataset.eval() for dataset in datasets])
        pair: tuple[Any, Any] = StockViews(trained, inputs), StockView(evaluated, inputs)
        images: Any = range(len(trained))
        told: Any = StockInputs(evaluated)
    elif inputs.vector is not None:
        images = told = StockVectors(Raw(datasets), inputs.vector)
        view = VectorView(None, normalize=False)
        pair = NoisyViews(view, float(noise)), view
        _ = images[0]  # says what is wrong with the samples
    else:
        images = told = StockImages(Raw(datasets))
        pair = image_views(images, inputs, augmentations)
    return (images, told), {"train_transform": pair[0], "eval_transform": pair[1]}


def _valid(
    benchmark: Any,
    composition: Composition,
    inputs: InputSpec,
    views: str,
    augmentations: Sequence[Augmentation],
    noise: float,
) -> list[Stage]:
    """One stage of the validation samples of base classes; none without a validation stream."""
    if "valid" not in benchmark.streams:
        return []
    datasets = _datasets(benchmark, "valid")
    labels = np.concatenate([labels_of(dataset) for dataset in datasets])
    rows = composition.rows(labels)
    kept = _first_copies(datasets, labels)
    which = kept[(rows[kept] >= 0) & (rows[kept] < composition.num_base)]
    source, transforms = _views(datasets, inputs, views, augmentations, noise)
    return [Stage(stage_dataset(source[0], which, rows[which], **transforms), 0, None)]


def _told(plan: StagePlan, num_novel: str | int) -> int | None:
    return len(plan.novel_rows) if num_novel == "given" else None


def _notice_unmet(labels: np.ndarray) -> None:
    if len(labels):
        log.warning(
            "%d test samples of %d classes that no training experience holds are left out",
            *(len(labels), len(np.unique(labels))),
        )


def _check(labeled_fraction: float, known_share: float, views: str, seed: int) -> None:
    if not 0 < labeled_fraction <= 1:
        raise InputError(
            f"labeled_fraction is {labeled_fraction}; wanted a share above 0 and up to 1, such as "
            "labeled_fraction=0.8"
        )
    if not 0 <= known_share < 1:
        raise InputError(
            f"known_share is {known_share}; wanted a share from 0 to below 1, such as "
            "known_share=0.2"
        )
    if views not in _VIEWS:
        raise InputError(f"views is {views!r}; wanted one of {', '.join(_VIEWS)}")
    if seed < 0:
        raise InputError(f"seed is {seed}; wanted a whole number >= 0")
