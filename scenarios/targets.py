"""The class ids of a data set's images, checked and grouped by the rows of a protocol."""

from __future__ import annotations

import numpy as np

from cgcd.vocabulary import UNLABELED, InputError
from scenarios.composition import row_table
from scenarios.fields import CheckedFields, is_whole, refuse, shortened

_MAX_CLASS_ID = 10**7  # tables are as long as the largest class id


def checked_targets(targets: np.ndarray, name: str) -> np.ndarray:
    """Class ids of images as int64, (N,).

    Raises:
        InputError: if they are no integers from 0 on, naming them `name`.
    """
    targets = np.asarray(targets)
    if targets.ndim != 1 or targets.dtype.kind not in "iu" or not len(targets):
        raise InputError(
            f"{name} is {targets.dtype} of shape {targets.shape}; wanted one integer class id for"
            " each image, and at least one image"
        )
    if targets.min() < 0 or targets.max() >= _MAX_CLASS_ID:
        raise InputError(
            f"{name} run from {targets.min()} to {targets.max()}; wanted class ids from 0 to"
            f" {_MAX_CLASS_ID - 1}: number the classes 0, 1, 2, ..."
        )
    return targets.astype(np.int64, copy=False)


def check_run_seed(seed: object) -> None:
    """Refuses what is no key of `draw_without_replacement`."""
    if not is_whole(seed) or not 0 <= seed < 2**64:  # type: ignore[operator]
        raise InputError(f"seed is {shortened(seed)}; wanted 0 to 2**64 - 1: set seed=0")


def listed_classes(
    protocol: CheckedFields, field: str, classes: np.ndarray, which: str = "of the data set"
) -> np.ndarray:
    """The ids a field lists, in its order.

    Raises:
        InputError: if one of them is none of `classes`.
    """
    listed = np.array(getattr(protocol, field))
    foreign = listed[~np.isin(listed, classes)]
    if len(foreign):
        refuse(
            field,
            f"{shortened(listed.tolist())}, with class {foreign[0]}",
            f"only classes {which} (and of its subset, where one is drawn)",
            f"leave class {foreign[0]} out of scenario.protocol.{field}",
        )
    return listed


def grouped(targets: np.ndarray, class_order: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Indices of the images of used classes, row after row, and how many each row has."""
    rows = rows_of(targets, class_order)
    used = np.flatnonzero(rows != UNLABELED)
    members = used[np.argsort(rows[used], kind="stable")]
    return members, np.bincount(rows[used], minlength=len(class_order))


def rows_of(targets: np.ndarray, class_order: np.ndarray) -> np.ndarray:
    """Row of each image's class, `UNLABELED` where the class is not used, (N,) int64."""
    table = row_table(class_order)
    rows = np.full(len(targets), UNLABELED)
    inside = targets < len(table)
    rows[inside] = table[targets[inside]]
    return rows


def check_not_empty(
    class_order: np.ndarray,
    counts: np.ndarray,
    part: str,
    fields: tuple[str, str] = ("base_classes", "novel_order"),
) -> None:
    """Refuses a class without images; `fields` are those in which it could be left out."""
    if not counts.all():
        empty = class_order[counts == 0]
        raise InputError(
            f"class {empty[0]} has 0 {part} images ({len(empty)} such classes); wanted at least 1:"
            f" list the other classes in scenario.protocol.{fields[0]}=[...] or"
            f" scenario.protocol.{fields[1]}=[...], or look into data_root"
        )
