"""A stage of the stream: an Avalanche experience whose hidden labels are not there at all.

Labels are per sample and `UNLABELED` where hidden, so a labeled base stage, a mixed stage and an
unlabeled stage are one type. The truth of unlabeled training samples is never part of a train
stage, and no way leads to it from `Stage.train()`, which is all that a strategy trains on.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, ClassVar, NamedTuple

import numpy as np
import torch
from avalanche.benchmarks import CLScenario, DatasetExperience, EagerCLStream
from avalanche.benchmarks.scenarios.generic_scenario import ExperienceAttribute
from avalanche.benchmarks.utils import DataAttribute, TaskLabels
from avalanche.benchmarks.utils.classification_dataset import (
    TaskAwareSupervisedClassificationDataset,
)
from torch.utils.data import Dataset

from cgcd.vocabulary import UNLABELED, InputError


class Sample(NamedTuple):
    """An image before its transform, with the number that its random draws depend on."""

    image: Any
    id: int


class VisibleRows(Dataset):
    """Some rows of a source of images, with the labels that may be seen.

    Args:
        images: anything indexable that gives an image.
        rows: which of them, (N,).
        labels: visible label of each, `UNLABELED` where hidden, (N,).
    """

    def __init__(self, images: Sequence[Any], rows: np.ndarray, labels: np.ndarray) -> None:
        self.images, self.rows = images, rows
        hidden = len(labels) > 0 and bool((np.asarray(labels) == UNLABELED).all())
        self.targets: Sequence[int] = (
            _Constant(UNLABELED, len(labels)) if hidden else np.asarray(labels).tolist()
        )

    def __len__(self) -> int:
        return len(self.targets)

    def __getitem__(self, index: int) -> tuple[Sample, int]:
        row = int(self.rows[index])
        return Sample(self.images[row], row), self.targets[index]


def stage_dataset(
    images: Sequence[Any],
    rows: np.ndarray,
    labels: np.ndarray,
    *,
    train_transform: Callable[[Sample], torch.Tensor],
    eval_transform: Callable[[Sample], torch.Tensor],
    task_labels: Sequence[int] | None = None,
) -> TaskAwareSupervisedClassificationDataset:
    """An Avalanche data set of `Sample`s: "train" gives (V, C, H, W), "eval" gives (C, H, W).

    Every stage has the same attributes in the same order, which is what concatenation needs:
    `targets`, `sample_id` and, last, the task label that stock code reads, 0 unless `task_labels`
    (N,) are given. Beside its rows a stage costs a few bytes a sample, so a stream may hold
    millions.
    """
    source = VisibleRows(images, rows, labels)
    return TaskAwareSupervisedClassificationDataset(
        [source],
        data_attributes=[
            DataAttribute(source.targets, "targets"),
            DataAttribute(np.asarray(rows), "sample_id"),
            TaskLabels(_Constant(0, len(source)) if task_labels is None else list(task_labels)),
        ],
        transform_groups={"train": (train_transform, None), "eval": (eval_transform, None)},
    )


class Stage(DatasetExperience):
    """One step of a continual category discovery stream.

    Args:
        dataset: see `stage_dataset`.
        index: position in the stream, 0 is the base stage.
        num_novel: classes that first occur here, at a mixed stage those of which no sample is
            labeled; None where the method must estimate it.
    """

    def __init__(self, dataset: Any, index: int, num_novel: int | None) -> None:
        super().__init__(dataset=dataset, current_experience=index)
        self.index = index
        self.num_novel = num_novel
        self.task_labels, self.task_label = [0], 0
        self._as_attributes("_origin_stream")

    def train(self) -> Stage:
        """What a strategy trains on: a copy cut off from its stream, its scenario and their truth.

        Of the stream it keeps the name, which loggers ask for.
        """
        seen = super().train()
        stream = self.__dict__["_origin_stream"].value
        alone = None if stream is None else EagerCLStream(stream.name, [])
        seen.__dict__["_origin_stream"] = ExperienceAttribute(alone)  # a box of its own
        return seen

    @property
    def labels(self) -> np.ndarray:
        """Visible labels, (N,), `UNLABELED` where hidden."""
        return np.fromiter(self.dataset.targets, dtype=np.int64, count=len(self.dataset))

    @property
    def labeled(self) -> bool:
        """Every sample shows its label."""
        return bool((self.labels != UNLABELED).all())

    @property
    def mixed(self) -> bool:
        """Some samples show their label and some do not."""
        return len(np.unique(self.labels != UNLABELED)) == 2

    @property
    def classes_in_this_experience(self) -> list[int]:
        """Classes with a visible label (Avalanche's name)."""
        return sorted(set(self.labels.tolist()) - {UNLABELED})

    @property
    def benchmark(self) -> Any:
        """What Avalanche's confusion matrix asks for."""
        return self.origin_stream.benchmark


class DiscoveryScenario(CLScenario):
    """Train and test stream of `Stage`s, with what reports need to know about them.

    `test_stream[: t + 1]` is the cumulative test set of stage t.

    Args:
        train, test: the stages; test stage t holds the classes first met at train stage t, with
            their labels if there is a truth.
        name: short name for folders and tables.
        class_names: name of each class in row order, original names first given by the data set.
        num_base: labeled classes.
        valid: labeled stages of samples of base classes that nobody trains on, for what may look
            at labels while training; where there are none, there is no `valid_stream`.
        num_novel: "given" if the stages tell the method how many classes are new.
        stream_hash: digest of who is where; results may only be averaged over equal ones.
        data_hash: digest of the samples and the settings of their views; a run goes on with equal
            ones only.
        description: numbers for the report.
        sample_names: of each sample by its number, for tables; None where numbers must do.
        sample_kind: what those names are: "path" or "id".
    """

    setting: ClassVar[str] = "continual"

    def __init__(
        self,
        train: Sequence[Stage],
        test: Sequence[Stage],
        *,
        name: str,
        class_names: Sequence[str],
        num_base: int,
        valid: Sequence[Stage] = (),
        num_novel: str = "given",
        stream_hash: str = "",
        data_hash: str = "",
        description: dict[str, Any] | None = None,
        sample_names: Sequence[str] | None = None,
        sample_kind: str = "sample",
    ) -> None:
        streams = [EagerCLStream("train", list(train)), EagerCLStream("test", list(test))]
        if valid:
            streams.append(EagerCLStream("valid", list(valid)))
        super().__init__(streams)
        for stream in streams:
            stream.benchmark = self  # Avalanche 0.6.0 leaves it None, its strict checks want it
        self.name = name
        self.class_names = tuple(class_names)
        self.num_base = num_base
        self.num_novel = num_novel
        self.stream_hash = stream_hash
        self.data_hash = data_hash
        self.description = description or {}
        self.sample_names, self.sample_kind = sample_names, sample_kind
        self.n_classes = len(self.class_names)


class OnlineScenario(DiscoveryScenario):
    """A labeled base stage, then ONE stage that is answered sample by sample, in its order.

    A window is an interval of metrics and checkpoints, not an experience: answers do not depend on
    it.

    Args:
        base: labeled stage 0.
        stream: stage 1, without any label, in the order in which its samples arrive.
        answers: the same samples in the same order with the rows of their classes, `UNLABELED`
            where there is no truth; read by `truth` for the rows of metrics, never given to a
            strategy that trains or answers.
        window: samples between two rows of metrics, >= 1.
        **more: of `DiscoveryScenario`; `num_base` is the number of known classes.

    Raises:
        InputError: if the window is smaller than 1, the stream is empty or shows a label.
    """

    setting: ClassVar[str] = "online"

    def __init__(
        self, base: Stage, stream: Stage, answers: Stage, *, window: int, **more: Any
    ) -> None:
        if window < 1:
            raise InputError(f"window is {window}; wanted at least 1: set scenario.window=100")
        if not len(stream.dataset):
            raise InputError(
                "the stream is empty; wanted at least one sample that is not labeled: lower "
                "scenario.protocol.labeled_fraction or leave classes unknown"
            )
        if (stream.labels != UNLABELED).any() or len(answers.dataset) != len(stream.dataset):
            raise InputError(
                "a stream shows no label and has one answer a sample; give the labels to `answers`"
            )
        super().__init__([base, stream], [answers], **{"num_novel": "not used", **more})
        self.window = window

    @property
    def stream(self) -> Stage:
        """The unlabeled stage."""
        return self.train_stream[1]

    @property
    def truth(self) -> np.ndarray:
        """Row of each sample's class in stream order, (N,), `UNLABELED` where unknown."""
        return self.test_stream[0].labels


class SingleStageScenario(DiscoveryScenario):
    """Labeled and unlabeled samples in ONE stage: generalized category discovery's own setting.

    Args:
        train: stage 0 with the row of its class for each labeled sample and `UNLABELED` for the
            others; the labeled classes are the rows 0 .. K_old - 1.
        unlabeled: stage 0 of the very unlabeled samples of `train`, in their order, with the rows
            of their classes, `UNLABELED` where there is no truth; a strategy meets it after
            training only, when it is evaluated.
        test: stage 0 of samples that nobody trains on, with their rows; None where there are none.
        **more: of `DiscoveryScenario`; `num_base` is the number of labeled classes K_old.

    Raises:
        InputError: if no sample of `train` is labeled or none is unlabeled, the labels are not
            0 .. num_base - 1, or `unlabeled` holds other samples than those without a label.
    """

    setting: ClassVar[str] = "single_stage"

    def __init__(
        self, train: Stage, unlabeled: Stage, test: Stage | None = None, **more: Any
    ) -> None:
        hidden = train.labels == UNLABELED
        if not len(hidden) or hidden.all():
            raise InputError(
                "no sample is labeled; wanted some of each known class: raise "
                "scenario.protocol.labeled_fraction"
            )
        if not hidden.any():
            raise InputError(
                "every sample is labeled, so there is nothing to discover; lower "
                "scenario.protocol.labeled_fraction or leave classes unknown"
            )
        super().__init__([train], [] if test is None else [test], **more)
        if train.classes_in_this_experience != list(range(self.num_base)):
            raise InputError(
                f"the labels are {train.classes_in_this_experience[:6]}... and num_base is "
                f"{self.num_base}; wanted 0 .. num_base - 1: let `scenarios` renumber the classes"
            )
        ids = np.asarray(list(train.dataset.sample_id))[hidden]
        if not np.array_equal(ids, np.asarray(list(unlabeled.dataset.sample_id))):
            raise InputError(
                "`unlabeled` does not hold the samples that `train` shows no label of, in their "
                "order; build both from the same rows"
            )
        self.unlabeled_stream = EagerCLStream("unlabeled", [unlabeled])
        self.unlabeled_stream.benchmark = self

    @property
    def parts(self) -> dict[str, Any]:
        """Streams to evaluate by name: `unlabeled`, and `test` where there is one."""
        test = {"test": self.test_stream} if len(self.test_stream) else {}
        return {"unlabeled": self.unlabeled_stream, **test}


class _Constant(Sequence[int]):
    """A value `size` times, in the memory of one."""

    def __init__(self, value: int, size: int) -> None:
        self.value, self.size = value, size

    def __len__(self) -> int:
        return self.size

    def __getitem__(self, index: Any) -> Any:
        if isinstance(index, slice):
            return _Constant(self.value, len(range(self.size)[index]))
        if not -self.size <= index < self.size:
            raise IndexError(f"{index} is not in 0..{self.size - 1}")
        return self.value
