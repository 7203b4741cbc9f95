"""The arrays of a stage's analysis, from what its evaluation showed and the columns before it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from cgcd.discovery.matching import Matching, contingency, match
from cgcd.engine.observation import ObservedPass
from cgcd.metrics.categories import NONE, majority, nearest_rows, principal_components
from cgcd.metrics.classwise import (
    cosine_rows,
    group_shares,
    hungarian_order,
    matched_class_accuracy,
    mean_by_group,
    own_row_accuracy,
)
from cgcd.vocabulary import UNLABELED

BINS = np.linspace(0.0, 1.0, 21)
MOST_COMPONENTS = 32


@dataclass(frozen=True, eq=False)
class StageState:
    """What the strategy was when it was evaluated.

    Attributes:
        stage: t.
        num_base: labeled classes.
        num_known: rows of classes met before the stage; at stage 0 those of the base classes.
        num_classes: rows K.
        single: this is the one stage of labeled and unlabeled samples.
        directions: of the head, (K, D); None where there is none.
    """

    stage: int
    num_base: int
    num_known: int
    num_classes: int
    single: bool
    directions: np.ndarray | None


def truth_kind(targets: np.ndarray) -> str:
    """ "all", "some" or "none" of the samples show their class."""
    hidden = targets == UNLABELED
    return "none" if hidden.all() else "some" if hidden.any() else "all"


def table_arrays(counts: np.ndarray, matching: Matching) -> dict[str, np.ndarray]:
    """Of the table of categories and classes (K, C) and their matching: order, best class."""
    rows, classes = hungarian_order(counts, matching)
    best, share = majority(counts)
    return {
        "contingency": counts,
        "class_of_row": matching.class_of_row,
        "row_order": rows,
        "class_order": classes,
        "best_class": best,
        "purity": share,
    }


def stage_arrays(
    seen: ObservedPass, state: StageState, before: Mapping[str, Any]
) -> dict[str, np.ndarray]:
    """All arrays of a stage.

    Args:
        seen: of the evaluation after the stage.
        state: of the strategy then.
        before: arrays of the stage before, empty if there is none to be had.
    """
    stage, rows = state.stage, state.num_classes
    sizes = np.bincount(seen.predictions, minlength=rows)
    row_groups = _groups(np.arange(rows), state.num_base, state.num_known)
    sums = np.bincount(seen.predictions, seen.confidences, minlength=rows)
    nearest, cosines = nearest_rows(seen.category_sums)
    arrays: dict[str, Any] = {
        "sample_ids": seen.sample_ids,
        "predictions": seen.predictions.astype(np.int32),
        "targets": seen.targets.astype(np.int32),
        "confidences": seen.confidences,
        "margins": seen.margins,
        "novelty": seen.novelty,
        "sizes": _appended(before, "sizes", sizes, stage, 0).astype(np.int64),
        "first_stage": _first_stages(before, state),
        "mean_confidence": np.where(sizes > 0, sums / np.maximum(sizes, 1), np.nan),
        "prediction_shares": _rows_appended(
            before, "prediction_shares", group_shares(row_groups[seen.predictions]), stage
        ),
        "nearest": nearest,
        "nearest_cosine": cosines,
        "point_places": seen.points.astype(np.int32),
        "bins": BINS,
    }
    arrays["points"], arrays["explained"] = principal_components(seen.features, MOST_COMPONENTS)
    if state.directions is not None:
        first = _first_rows(before, "first_directions", state.directions)
        drift = cosine_rows(state.directions, first)
        arrays["first_directions"] = first
        arrays["direction_drift"] = _appended(before, "direction_drift", drift, stage, np.nan)
    kind = truth_kind(seen.targets)
    if kind != "none":
        arrays |= _class_arrays(seen, state, before, kind)
    if kind == "all":
        arrays |= _matched_arrays(seen, state, before, arrays)
    arrays |= _histograms(seen, arrays.get("class_stage"), state, kind)
    return {name: np.asarray(value) for name, value in arrays.items()}


def _class_arrays(
    seen: ObservedPass, state: StageState, before: Mapping[str, Any], kind: str
) -> dict[str, Any]:
    """Of the true classes that are shown: first stage, accuracy by own row, drift of the mean."""
    num_classes = int(seen.targets.max()) + 1
    means = seen.class_sums
    first = _first_rows(before, "first_means", means)
    drift = cosine_rows(means, first)
    arrays = {
        "first_means": first,
        "mean_drift": _appended(before, "mean_drift", drift, state.stage, np.nan),
        "class_stage": _class_stages(seen, state, num_classes),
    }
    if kind == "some":
        own = np.full(num_classes, np.nan)
        base = min(num_classes, state.num_base)
        own[:base] = own_row_accuracy(seen.predictions, seen.targets, state.num_base)[:base]
        arrays["class_accuracy"] = _appended(before, "class_accuracy", own, state.stage, np.nan)
    return arrays


def _matched_arrays(
    seen: ObservedPass, state: StageState, before: Mapping[str, Any], arrays: Mapping[str, Any]
) -> dict[str, Any]:
    """Of categories and classes together, where every sample shows its class."""
    counts = contingency(seen.predictions, seen.targets, num_rows=state.num_classes)
    matching = match(counts)
    accuracy = matched_class_accuracy(counts, matching)
    class_stage = arrays["class_stage"]
    number = 2 if state.single else state.stage + 1
    groups = mean_by_group(accuracy, counts.sum(0), np.clip(class_stage, 0, number - 1), number)
    of_class = np.where(class_stage >= (1 if state.single else max(1, state.stage)), 2, 1)
    of_class[np.arange(len(of_class)) < state.num_base] = 0
    shares = group_shares(of_class[seen.targets])
    return {
        **table_arrays(counts, matching),
        "class_accuracy": _appended(before, "class_accuracy", accuracy, state.stage, np.nan),
        "group_accuracy": _rows_appended(before, "group_accuracy", groups, state.stage),
        "truth_shares": _rows_appended(before, "truth_shares", shares, state.stage),
    }


def _histograms(
    seen: ObservedPass, class_stage: np.ndarray | None, state: StageState, kind: str
) -> dict[str, np.ndarray]:
    """Confidence and novelty score of all samples, and of known and novel classes apart."""
    parts = {"all": np.ones(len(seen.targets), bool)}
    if kind == "all" and class_stage is not None:
        newest = 1 if state.single else max(1, state.stage)
        novel = class_stage[seen.targets] >= newest
        parts |= {"known": ~novel, "novel": novel}
    return {
        f"{name}_{part}": np.histogram(np.clip(values[which], 0, 1), BINS)[0]
        for name, values in (("confidence", seen.confidences), ("novelty", seen.novelty))
        for part, which in parts.items()
    }


def _class_stages(seen: ObservedPass, state: StageState, number: int) -> np.ndarray:
    """Test stage of each class (C,); of a single stage 0 for labeled classes and 1 for others."""
    if state.single:
        return (np.arange(number) >= state.num_base).astype(np.int64)
    stages = np.full(number, NONE, dtype=np.int64)
    shown = seen.targets != UNLABELED
    latest_first = np.argsort(-seen.experiences[shown], kind="stable")
    stages[seen.targets[shown][latest_first]] = seen.experiences[shown][latest_first]
    stages[: state.num_base] = 0
    return stages


def _first_stages(before: Mapping[str, Any], state: StageState) -> np.ndarray:
    """Stage at which each row came, (K,); `NONE` where the stages before were not analyzed."""
    rows = np.arange(state.num_classes)
    if state.single or state.stage == 0:
        return np.zeros_like(rows)
    stages = np.where(rows >= state.num_known, state.stage, NONE)
    stages[: state.num_base] = 0
    if "first_stage" in before:
        known = min(len(before["first_stage"]), state.num_known)
        stages[:known] = before["first_stage"][:known]
    return stages


def _groups(rows: np.ndarray, num_base: int, num_known: int) -> np.ndarray:
    """0 base, 1 earlier, 2 novel."""
    return np.where(rows < num_base, 0, np.where(rows < num_known, 1, 2))


def _first_rows(before: Mapping[str, Any], name: str, rows: np.ndarray) -> np.ndarray:
    """Rows (K, D) as they were when they first were more than zeros."""
    first = np.array(rows, dtype=np.float32)
    if name in before and before[name].shape[1] == first.shape[1]:
        old = before[name][: len(first)]
        there = old.any(1)
        first[: len(old)][there] = old[there]
    return first


def _appended(
    before: Mapping[str, Any], name: str, column: np.ndarray, stage: int, missing: float
) -> np.ndarray:
    """The columns of the stages before, (rows, stage), and this one's, with rows for the new."""
    table = np.full((len(column), stage + 1), missing, dtype=np.float64)
    old = before.get(name)
    if old is not None:
        rows, columns = min(len(old), len(column)), min(old.shape[1], stage)
        table[:rows, :columns] = old[:rows, :columns]
    table[:, stage] = column
    return table


def _rows_appended(before: Mapping[str, Any], name: str, row: np.ndarray, stage: int) -> np.ndarray:
    """One row a stage, as wide as this one's; nan where there was nothing."""
    table = np.full((stage + 1, len(row)), np.nan)
    old = before.get(name)
    if old is not None:
        rows, columns = min(len(old), stage), min(old.shape[1], len(row))
        table[:rows, :columns] = old[:rows, :columns]
    table[stage] = row
    return table
