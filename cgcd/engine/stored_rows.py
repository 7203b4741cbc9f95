"""What a stage holds as `stage_dataset` made it, so that whole batches can be read at once."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from avalanche.benchmarks.utils.transform_groups import EmptyTransformGroups, TransformGroups
from torch import Tensor

from cgcd.stages import VisibleRows


@dataclass(frozen=True, eq=False)
class StoredRows:
    """A stage's samples and what is known of them; N samples.

    Attributes:
        source: all samples of the scenario, indexable.
        rows: places of the stage's samples among them, which are their sample ids, (N,).
        labels: visible labels, int64, (N,).
        tasks: task labels, int64, (N,).
        view: transform of the data set's current group.
    """

    source: Any
    rows: np.ndarray
    labels: Tensor
    tasks: Tensor
    view: Any

    @classmethod
    def of(cls, dataset: Any) -> StoredRows | None:
        """What such a data set holds; None for any other, and for one that a plugin changed."""
        flat = inside = getattr(dataset, "_flat_data", None)
        while not isinstance(inside, VisibleRows):
            parts: tuple[Any, ...] = getattr(inside, "_datasets", ())
            changed = getattr(inside, "_indices", None) is not None or not (
                _empty(getattr(inside, "_frozen_transform_groups", None))
                and (inside is flat or _empty(getattr(inside, "_transform_groups", None)))
            )
            if len(parts) != 1 or changed:
                return None
            inside = parts[0]
        groups = getattr(flat, "_transform_groups", None)
        pair = None if groups is None else groups.transform_groups.get(groups.current_group)
        transforms = list(getattr(pair, "transforms", ()))
        in_batches = [a for a in dataset._data_attributes.values() if a.use_in_getitem]
        ours = (
            len(transforms) > 0
            and transforms[1:] in ([], [None])
            and [a.name for a in in_batches] == ["targets_task_labels"]
            and np.array_equal(np.asarray(list(dataset.sample_id)), inside.rows)
        )
        if not ours:
            return None
        labels, tasks = (
            torch.from_numpy(np.fromiter(values, dtype=np.int64, count=len(inside)))
            for values in (inside.targets, in_batches[0])
        )
        return cls(inside.images, np.asarray(inside.rows), labels, tasks, transforms[0])


def _empty(groups: TransformGroups | None) -> bool:
    """Nothing is transformed."""
    return groups is None or isinstance(groups, EmptyTransformGroups)
