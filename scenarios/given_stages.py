"""A stream somebody has: labeled samples and unlabeled stages as they are, with or without truth.

Nothing is drawn but the labeled samples that are held out. Where there is no truth, the stages do
not tell how many classes are new and every metric that needs labels is absent.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from cgcd.stages import DiscoveryScenario, Sample, Stage, stage_dataset
from cgcd.vocabulary import UNLABELED, InputError
from scenarios.draws import HELD_OUT_DRAW, draw_without_replacement
from scenarios.identity import data_hash


@dataclass(frozen=True, eq=False)
class GivenStages:
    """Labeled samples and unlabeled stages as somebody gave them; N samples in one index space.

    Attributes:
        samples: images or vectors, indexable, N of them; files where it has `paths`.
        sample_names: name of each for tables: its path, or the id of an embedding, (N,).
        labeled: indices trained on with their labels at stage 0, (n,).
        labels: their rows 0 .. K0 - 1, each at least once, (n,).
        held_out: indices of labeled samples that nobody trains on, (m,), may be empty.
        held_out_labels: their rows, (m,).
        stages: indices of each later stage in order, disjoint.
        truth: row of each sample's class, `UNLABELED` where unknown, (N,); rows from K0 on are
            novel classes in the order of the stages they first occur in. None: no truth at all.
        class_names: of the K0 labeled classes, then of the novel ones of the truth.

    Raises:
        InputError: if a stage is empty or there is none, an index occurs twice, or labels and truth
            are none of the above.
    """

    samples: Sequence[Any]
    sample_names: Sequence[str]
    labeled: np.ndarray
    labels: np.ndarray
    held_out: np.ndarray
    held_out_labels: np.ndarray
    stages: tuple[np.ndarray, ...]
    truth: np.ndarray | None
    class_names: tuple[str, ...]

    def __post_init__(self) -> None:
        if not self.stages or not all(map(len, self.stages)):
            empty = next((t for t, stage in enumerate(self.stages, 1) if not len(stage)), None)
            what = "there is no unlabeled stage" if empty is None else f"stage {empty} is empty"
            raise InputError(
                f"{what}; wanted at least one sample in each: set scenario.stages=[..]"
            )
        used = np.concatenate((self.labeled, self.held_out, *self.stages))
        count = len(self.samples)
        if len(np.unique(used)) < len(used) or used.min() < 0 or used.max() >= count:
            raise InputError(
                f"the labeled samples, the held-out ones and the stages share a sample or name one "
                f"outside 0 .. {count - 1}; wanted each of the {count} samples at most once"
            )
        if {len(self.sample_names), count if self.truth is None else len(self.truth)} != {count}:
            raise InputError(f"wanted one name and one truth for each of {count} samples")
        known = set(np.asarray(self.labels).tolist())
        if known != set(range(self.num_base)) or not set(self.held_out_labels.tolist()) <= known:
            raise InputError(
                f"the labels are {sorted(known)[:6]}...; wanted 0 .. K-1 with a sample to train on "
                "for each: label some more"
            )
        if self.truth is not None:
            self._check_truth(self.truth)

    @property
    def num_base(self) -> int:
        """Labeled classes K0."""
        return int(self.labels.max(initial=-1)) + 1

    @property
    def known_by_stage(self) -> list[int] | None:
        """Classes met by the end of each stage from the base stage on; None without whole truth."""
        truth = self.truth
        if truth is None or any((truth[stage] == UNLABELED).any() for stage in self.stages):
            return None
        largest = [self.num_base, *(int(truth[stage].max()) + 1 for stage in self.stages)]
        return np.maximum.accumulate(largest).tolist()

    @property
    def hash(self) -> str:
        """SHA-256 of every name, index, label and truth; 64 hex digits."""
        digest = hashlib.sha256("\0".join(map(str, self.sample_names)).encode())
        truth = np.empty(0) if self.truth is None else self.truth
        known = (self.labeled, self.labels, self.held_out, self.held_out_labels)
        for array in (*known, *self.stages, truth):
            digest.update(len(array).to_bytes(8, "little"))
            digest.update(np.ascontiguousarray(array, dtype="<i8").data)
        return digest.hexdigest()

    def describe(self) -> list[dict[str, Any]]:
        """Counts of each stage as plain data, as `Composition.describe`; rows stand for classes.

        `num_known`, `novel_classes` and `images_per_class` are None where nobody knows them.
        """
        by_stage, truth = self.known_by_stage, self.truth
        tested = len(self.held_out) or len(self.labeled)
        base = np.bincount(self.labels, minlength=self.num_base)
        table: list[dict[str, Any]] = [
            {
                "stage": 0,
                "num_known": 0,
                "novel_classes": list(range(self.num_base)),
                "labeled": len(self.labeled),
                "unlabeled": 0,
                "test": tested,
                "images_per_class": dict(enumerate(base.tolist())),
            }
        ]
        for index, stage in enumerate(self.stages, 1):
            tested += len(stage)
            told: dict[str, Any] = dict.fromkeys(("num_known", "novel_classes", "images_per_class"))
            if by_stage is not None and truth is not None:
                before, after = by_stage[index - 1 : index + 1]
                counts = np.bincount(truth[stage], minlength=after).tolist()
                told["num_known"], told["novel_classes"] = before, list(range(before, after))
                told["images_per_class"] = dict(enumerate(counts))
            counted = {"labeled": 0, "unlabeled": len(stage), "test": tested}
            table.append({"stage": index, **told, **counted})
        return table

    def _check_truth(self, truth: np.ndarray) -> None:
        for which, labels in ((self.labeled, self.labels), (self.held_out, self.held_out_labels)):
            if (truth[which] != labels).any():
                raise InputError("the truth of a labeled sample is another class than its label")
        met = self.num_base
        for index, stage in enumerate(self.stages, 1):
            fresh = np.unique(truth[stage])
            fresh = fresh[fresh >= met]
            if fresh.tolist() != list(range(met, met + len(fresh))):
                raise InputError(
                    f"the novel classes of stage {index} are the rows {fresh.tolist()}; wanted "
                    f"{met}, {met + 1}, ...: number classes in the order of their stages"
                )
            met += len(fresh)


def given_stages_scenario(
    given: GivenStages,
    train_view: Callable[[Sample], torch.Tensor],
    eval_view: Callable[[Sample], torch.Tensor],
    *,
    name: str,
    num_novel: str | int,
    description: Mapping[str, Any] | None = None,
) -> DiscoveryScenario:
    """A scenario of the labeled samples and of the stages, each measured on its own samples.

    Test stage 0 holds the labeled samples that were held out; where none were, those trained on,
    whose accuracy then says little, and `description["base_test"]` tells which. Test stage t holds
    the very samples of stage t, for it is them that somebody wants categories of, with their truth
    where it is known.

    Args:
        given: who is where.
        train_view, eval_view: of a sample.
        name: short name for folders and tables.
        num_novel: "given" tells each stage how many classes are new, where the whole truth is
            known; anything else leaves the stages silent.
        description: more plain facts for the report.
    """
    by_stage = given.known_by_stage if num_novel == "given" else None
    truth = given.truth

    def stage(index: int, which: np.ndarray, labels: np.ndarray) -> Stage:
        dataset = stage_dataset(
            given.samples, which, labels, train_transform=train_view, eval_transform=eval_view
        )
        known = [0, *(by_stage or [])]
        return Stage(dataset, index, known[index + 1] - known[index] if by_stage else None)

    train, test = [stage(0, given.labeled, given.labels)], []
    held_out = len(given.held_out) > 0
    if held_out:
        test.append(stage(0, given.held_out, given.held_out_labels))
    else:
        test.append(stage(0, given.labeled, given.labels))
    for index, which in enumerate(given.stages, 1):
        hidden = np.full(len(which), UNLABELED)
        train.append(stage(index, which, hidden))
        test.append(stage(index, which, hidden if truth is None else truth[which]))
    base_test = "held-out labeled samples" if held_out else "labeled samples trained on"
    return DiscoveryScenario(
        train,
        test,
        name=name,
        class_names=given.class_names,
        num_base=given.num_base,
        num_novel="given" if num_novel == "given" or isinstance(num_novel, int) else num_novel,
        stream_hash=given.hash,
        data_hash=data_hash(given.samples, train_view, eval_view),
        description={"stages": given.describe(), "base_test": base_test, **(description or {})},
        sample_names=given.sample_names,
        sample_kind="path" if hasattr(given.samples, "paths") else "id",
    )


def held_out_places(labels: np.ndarray, share: float, seed: int) -> np.ndarray:
    """Which labeled samples to hold out: a share of every class, drawn by the seed alone.

    Args:
        labels: rows 0 .. K0 - 1 of the labeled samples, (n,).
        share: in [0, 1). Of a class of at least two samples at least one is held out and one is
            not; 0 holds out none.
        seed: in [0, 2**64).

    Returns:
        Places among `labels`, ascending, (m,) int64.

    Raises:
        InputError: if the share is outside [0, 1).
    """
    if not 0 <= share < 1:
        raise InputError(
            f"held_out is {share}; wanted a share from 0 to below 1: set scenario.held_out=0.1"
        )
    if share == 0:
        return np.empty(0, dtype=np.int64)
    counts = np.bincount(labels)
    taken = np.minimum(np.maximum(np.rint(share * counts).astype(np.int64), 1), counts - 1)
    order = np.argsort(labels, kind="stable")
    drawn = draw_without_replacement(counts, np.maximum(taken, 0), seed, HELD_OUT_DRAW)
    return np.sort(order[drawn])


def rows_of_names(
    names: Sequence[str | None],
    known_names: Sequence[str],
    parts: Iterable[np.ndarray],
) -> tuple[np.ndarray, tuple[str, ...]]:
    """Rows of class names, novel classes numbered by the part they first occur in, then by name.

    Args:
        names: class of each sample, None where unknown, (N,).
        known_names: of the rows 0 .. K0 - 1.
        parts: indices of each stage, in order.

    Returns:
        The row of each sample that is in a part or of a known class, `UNLABELED` elsewhere, (N,)
        int64; and the names of all rows.
    """
    row_of = {name: row for row, name in enumerate(known_names)}
    for part in parts:
        there = {name for name in (names[i] for i in part) if name is not None}
        for name in sorted(there - row_of.keys()):
            row_of[name] = len(row_of)
    rows = [UNLABELED if name is None else row_of.get(name, UNLABELED) for name in names]
    return np.array(rows, dtype=np.int64), tuple(row_of)
