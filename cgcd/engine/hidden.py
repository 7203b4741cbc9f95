"""A small scenario inside a large one: some labeled classes play the novel ones.

What it holds comes from the labeled samples of stage 0 alone, whose classes everybody may know, so
whatever is chosen on it is chosen without a hidden or a test label.

Source: ours, after the calibration of novelty thresholds by hiding known classes.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from numbers import Integral, Real
from typing import Any

import numpy as np

from cgcd.engine.seeding import numpy_generator
from cgcd.stages import (
    DiscoveryScenario,
    OnlineScenario,
    SingleStageScenario,
    Stage,
    VisibleRows,
    stage_dataset,
)
from cgcd.vocabulary import UNLABELED, InputError

_FEWEST_VISIBLE = 2


def hidden_class_scenario(
    scenario: DiscoveryScenario,
    *,
    fold: int,
    num_folds: int,
    hidden: float = 0.4,
    held_out: float = 0.25,
    kept_for_later: float = 0.2,
    num_stages: int | None = None,
    seed: int = 0,
) -> DiscoveryScenario:
    """A scenario of the same setting in which some labeled classes of stage 0 are the novel ones.

    Continual: stage 0 labels the visible classes, the hidden ones come unlabeled, spread over the
    later stages, beside the samples of visible and of earlier hidden classes that were kept for
    later; held-out samples are the test streams. Single-stage: held-out samples are the test part,
    those kept and those of hidden classes are unlabeled. On-line: the stream is a shuffle of all
    samples but the labeled ones. Samples keep their numbers and their views; visible classes keep
    their order and become rows 0, 1, ..., the hidden ones follow in the order of their stages.

    Args:
        scenario: nothing of it is read but the labeled samples of stage 0, the number of stages,
            and whether they tell how many classes are new; inner stages tell it where those do.
        fold: which classes are hidden, 0 <= fold < num_folds. Folds hide different classes, with
            none in common where num_folds * hidden <= 1.
        num_folds: 1 .. classes that can be hidden.
        hidden: share of the classes to hide, in (0, 1); at least 1, and at least 2 stay visible.
        held_out: share of each class for testing, in (0, 1), at least 1 sample.
        kept_for_later: share of each class for stages after its first, in [0, 1 - held_out), each
            sample at one of them.
        num_stages: stages of hidden classes, >= 1; None: as many as `scenario` has. Never more than
            hidden classes.
        seed: of all draws, >= 0; the split of a class depends on it and the class alone.

    Raises:
        InputError: if an argument is none of the above or there are too few labeled classes or
            samples.
    """
    _check(fold, num_folds, held_out, kept_for_later, num_stages, hidden)
    base = scenario.train_stream[0]
    source = _Labeled(base)
    order, num_visible = _class_order(source, scenario.name, hidden, fold, num_folds, seed)
    parts = [source.split(row, held_out, kept_for_later, seed) for row in order]
    if not any(len(part.test) for part in parts[:num_visible]):
        raise InputError(
            f"no visible class of {scenario.name} has two labeled samples; wanted one to train on "
            "and one to test: raise scenario.protocol.labeled_fraction"
        )
    later = scenario.train_stream[1:] or [base]
    inner = _Inner(
        source,
        parts,
        num_visible,
        told=all(stage.num_novel is not None for stage in later),
        common={
            "name": scenario.name,
            "class_names": [scenario.class_names[row] for row in order],
            "num_base": num_visible,
            "num_novel": scenario.num_novel,
            "data_hash": scenario.data_hash,
        },
    )
    if scenario.setting == "online":
        return inner.online(numpy_generator(seed, "hidden stream", fold))
    if scenario.setting == "single_stage":
        return inner.single_stage()
    wanted = num_stages or len(scenario.train_stream) - 1
    return inner.continual(min(wanted, len(order) - num_visible))


@dataclass(frozen=True)
class _Part:
    """Places of one class in stage 0: for testing, for later stages, for its own."""

    test: np.ndarray
    kept: np.ndarray
    rest: np.ndarray


class _Labeled:
    """The labeled samples of a stage, with their numbers and the stage's own views.

    Attributes:
        labels: visible label of every sample of the stage, (N,).
        classes, counts: those that occur, ascending, and their samples.
    """

    def __init__(self, stage: Stage) -> None:
        self.labels = stage.labels
        shown = self.labels[self.labels != UNLABELED]
        self.classes, self.counts = np.unique(shown, return_counts=True)
        self.ids = np.asarray(list(stage.dataset.sample_id))
        self.images, self.views = _images_and_views(stage.dataset)

    def split(self, row: int, held_out: float, kept_for_later: float, seed: int) -> _Part:
        """Cut the samples of a class by shares; a lone sample is neither tested nor kept."""
        places = np.flatnonzero(self.labels == row)
        places = numpy_generator(seed, "hidden samples", int(row)).permutation(places)
        count = len(places)
        num_test = min(max(round(held_out * count), 1), count - 1)
        num_kept = min(round(kept_for_later * count), count - 1 - num_test)
        return _Part(*np.split(places, [num_test, num_test + num_kept]))

    def stage(self, places: np.ndarray, labels: np.ndarray, index: int, told: int | None) -> Stage:
        """A stage of the samples at some places, with other labels."""
        dataset = stage_dataset(self.images, self.ids[places], labels, **self.views)
        return Stage(dataset, index, told)


@dataclass(frozen=True)
class _Inner:
    """What all three settings are built from; `parts` are in the order of the inner rows."""

    source: _Labeled
    parts: Sequence[_Part]
    num_visible: int
    told: bool
    common: dict[str, Any]

    def continual(self, num_stages: int) -> DiscoveryScenario:
        groups = np.array_split(np.arange(self.num_visible, len(self.parts)), num_stages)
        visible = range(self.num_visible)
        first = [0] * self.num_visible + [t for t, group in enumerate(groups, 1) for _ in group]
        train = [self._stage({row: self.parts[row].rest for row in visible}, 0, shown=True)]
        test = [self._stage({row: self.parts[row].test for row in visible}, 0, shown=True)]
        for index, group in enumerate(groups, 1):
            met = range(int(group[-1]) + 1)
            there = {row: self._share(row, first[row], index, num_stages) for row in met}
            train.append(self._stage(there, index, shown=False, num_novel=len(group)))
            tested = {int(row): self.parts[row].test for row in group}
            test.append(self._stage(tested, index, shown=True, num_novel=len(group)))
        return DiscoveryScenario(train, test, **self._facts([*train, *test]))

    def _share(self, row: int, first: int, index: int, num_stages: int) -> np.ndarray:
        """Places of a class at a stage: its own part where it is new, then what was kept."""
        part = self.parts[row]
        if index == first:
            return part.rest if first < num_stages else np.concatenate((part.rest, part.kept))
        return np.array_split(part.kept, num_stages - first)[index - first - 1]

    def single_stage(self) -> SingleStageScenario:
        shown = np.concatenate([part.rest for part in self.parts[: self.num_visible]])
        everything = {row: np.concatenate((p.kept, p.rest)) for row, p in enumerate(self.parts)}
        places, rows = _in_order(everything)
        labeled = np.isin(places, shown)
        num_novel = len(self.parts) - self.num_visible if self.told else None
        labels = np.where(labeled, rows, UNLABELED)
        train = self.source.stage(places, labels, 0, num_novel)
        unlabeled = self.source.stage(places[~labeled], rows[~labeled], 0, None)
        test = self._stage({row: p.test for row, p in enumerate(self.parts)}, 0, shown=True)
        facts = self._facts([train, unlabeled, test])
        return SingleStageScenario(train, unlabeled, test, **facts)

    def online(self, generator: np.random.Generator) -> OnlineScenario:
        visible = range(self.num_visible)
        base = self._stage({row: self.parts[row].rest for row in visible}, 0, shown=True)
        there = {
            row: np.concatenate((p.test, p.kept) if row in visible else (p.test, p.kept, p.rest))
            for row, p in enumerate(self.parts)
        }
        places, rows = _in_order(there)
        order = generator.permutation(len(places))
        places, rows = places[order], rows[order]
        stream = self.source.stage(places, np.full(len(rows), UNLABELED), 1, None)
        answers = self.source.stage(places, rows, 1, None)
        facts = self._facts([base, stream, answers])
        return OnlineScenario(base, stream, answers, window=len(rows), **facts)

    def _stage(
        self, there: dict[int, np.ndarray], index: int, *, shown: bool, num_novel: int | None = None
    ) -> Stage:
        places, rows = _in_order(there)
        labels = rows if shown else np.full(len(rows), UNLABELED)
        count = self.num_visible if index == 0 else num_novel
        return self.source.stage(places, labels, index, count if self.told else None)

    def _facts(self, stages: Sequence[Stage]) -> dict[str, Any]:
        digest = hashlib.sha256()
        for stage in stages:
            for array in (np.asarray(list(stage.dataset.sample_id)), stage.labels):
                digest.update(len(array).to_bytes(8, "little"))
                digest.update(np.ascontiguousarray(array, dtype="<i8").tobytes())
        hidden = self.common["class_names"][self.num_visible :]
        description = {"hidden_classes": [str(name) for name in hidden]}
        return {**self.common, "stream_hash": digest.hexdigest(), "description": description}


def _images_and_views(dataset: Any) -> tuple[Any, dict[str, Any]]:
    """What `stage_dataset` was given but rows and labels.

    The data set itself, as the source of another one, would lead to the labels of hidden classes.
    """
    inside = flat = dataset._flat_data
    while not isinstance(inside, VisibleRows):
        inner = getattr(inside, "_datasets", [])
        if len(inner) != 1:
            raise ValueError("stage 0 was not made by stage_dataset; wanted one that was")
        inside = inner[0]
    groups = flat._transform_groups.transform_groups
    return inside.images, {f"{name}_transform": groups[name].transforms[0] for name in groups}


def _in_order(there: dict[int, np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    """Places ascending, so that no place tells a class, and the row of each."""
    places = np.concatenate(list(there.values()))
    rows = np.repeat(list(there), [len(part) for part in there.values()])
    order = np.argsort(places)
    return places[order], rows[order]


def _class_order(
    source: _Labeled, name: str, hidden: float, fold: int, num_folds: int, seed: int
) -> tuple[list[int], int]:
    """Outer rows in the order of the inner ones, and how many of them are visible.

    Each fold hides a run of one random circle of classes; the runs start at equal distances.
    """
    can_hide = source.classes[source.counts > 1]
    room = min(len(source.classes) - _FEWEST_VISIBLE, len(can_hide))
    if room < 1:
        raise InputError(
            f"{name} labels {len(source.classes)} classes, {len(can_hide)} of them with two samples"
            f" or more; wanted at least 1 such class to hide and {_FEWEST_VISIBLE} others: take a "
            "scenario with more labeled classes"
        )
    if num_folds > len(can_hide):
        raise InputError(
            f"{num_folds} folds cannot hide different classes of the {len(can_hide)} of {name}; "
            f"wanted at most as many folds: set tune.num_folds={min(2, len(can_hide))}"
        )
    count = min(max(round(hidden * len(source.classes)), 1), room)
    circle = numpy_generator(seed, "hidden classes").permutation(can_hide)
    start = fold * len(circle) // num_folds
    chosen = np.roll(circle, -start)[:count]
    visible = np.setdiff1d(source.classes, chosen)
    return [*visible.tolist(), *chosen.tolist()], len(visible)


def _check(
    fold: int,
    num_folds: int,
    held_out: float,
    kept_for_later: float,
    num_stages: int | None,
    hidden: float,
) -> None:
    if not _whole(num_folds) or num_folds < 1:
        _refuse("num_folds", num_folds, "a whole number from 1 on", "2")
    if not _whole(fold) or not 0 <= fold < num_folds:
        raise InputError(f"fold is {fold}; wanted a whole number from 0 to {num_folds - 1}")
    if not _number(hidden) or not 0 < hidden < 1:
        _refuse("hidden", hidden, "a share above 0 and below 1", "0.4")
    if not _number(held_out) or not 0 < held_out < 1:
        _refuse("held_out", held_out, "a share above 0 and below 1", "0.25")
    if not _number(kept_for_later) or not 0 <= kept_for_later < 1 - held_out:
        wanted = f"a share from 0 to below {1 - held_out:g}, which held_out leaves"
        _refuse("kept_for_later", kept_for_later, wanted, "0.2")
    if num_stages is not None and (not _whole(num_stages) or num_stages < 1):
        _refuse("num_stages", num_stages, "a whole number from 1 on, or null", "null")


def _whole(value: object) -> bool:
    return isinstance(value, Integral) and not isinstance(value, bool)


def _number(value: object) -> bool:
    return isinstance(value, Real) and not isinstance(value, bool)


def _refuse(name: str, given: object, wanted: str, example: str) -> None:
    raise InputError(f"{name} is {given}; wanted {wanted}: set tune.{name}={example}")
