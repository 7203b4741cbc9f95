"""Categories as prototypes: an open-ended book of unit vectors, read and grown sample by sample.

Source: ours, in the frame of on-line prototype memories: nearest prototype or a new one (TALON,
arXiv 2603.08075), a threshold for each known class (AGE, ICLR 2026), known, existing or new (PACO,
arXiv 2604.11484).
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from cgcd.memory.book import Assignment, CategoryBook
from cgcd.vocabulary import InputError

_TYPES = {
    "sums": np.float64,
    "counts": np.int64,
    "thresholds": np.float64,
    "origin": np.float64,
    "joins": np.float64,
    "numbers": np.int64,
    "lineage": np.int64,
}


class CategoryMerge(NamedTuple):
    """Two categories that were found to be one.

    Attributes:
        kept: id that answers from then on.
        merged: id that answers no more; what it answered before stays as it is.
        at: samples that had been observed.
    """

    kept: int
    merged: int
    at: int


class PrototypeBook(CategoryBook):
    """Answers each feature of a stream with a category at once, and opens one where none is near.

    A feature is scaled to length 1, moved so that `origin` becomes 0, and scaled again. Every
    category has a prototype and a cosine it takes at least: known classes one each, opened
    categories one for all. Of the categories that would take a sample the most similar has it; a
    sample that none would take opens one, under the next id. An opened category's prototype is the
    direction of the sum of its samples; those of known classes stay. Rows are looked at one by one
    in float64, so answers do not depend on how a stream is cut into batches.

    Every `merge_every` samples, opened categories that are each other's most similar and have a
    cosine of at least `merge_threshold` become one, where both have `mature` samples or one has a
    single one. The older id is kept; the other answers no more and is never given again, so no id
    changes its meaning.

    All methods take features, (N, D) float, where N may be 0. Thresholds and origin are part of a
    state dict.

    Args:
        dim: D, width of the features.
        running: False leaves an opened category's prototype at the sample that opened it.
        merge_every: samples between two looks for categories to merge, >= 0; 0: never.
        mature: samples of a category that may be merged with another such, >= 1.

    Raises:
        InputError: if an argument is out of range, features are not (N, D), or a state does not
            fit.

    Source: ours, after TALON, arXiv 2603.08075, whose update is by batches.
    """

    distance_name: str = "cosine_distance"
    distance_type: type = np.float64

    def __init__(
        self, dim: int, *, running: bool = True, merge_every: int = 0, mature: int = 10
    ) -> None:
        super().__init__()
        if merge_every < 0:
            raise InputError(
                f"merge_every is {merge_every}; wanted at least 0: set strategy.merge_every=0 for "
                "no merging"
            )
        if mature < 1:
            raise InputError(f"mature is {mature}; wanted at least 1: set strategy.mature=10")
        self.dim, self.running = dim, running
        self.merge_every, self.mature = merge_every, mature
        self._fill(
            sums=np.empty((0, dim)),
            counts=np.empty(0, np.int64),
            thresholds=np.empty(0),
            origin=np.zeros(dim),
            joins=np.ones(2),
            numbers=np.zeros(2, np.int64),
            lineage=np.empty((0, 3), np.int64),
        )

    @property
    def version(self) -> int:
        """Samples observed."""
        return self._seen

    @property
    def prototypes(self) -> np.ndarray:
        """A copy of all unit vectors by id, those of merged categories too, (P, D) float64."""
        return self._units[: self._size].copy()

    @property
    def thresholds(self) -> np.ndarray:
        """A copy of the cosine from which on each category takes a sample, by id, (P,) float64."""
        return self._thresholds[: self._size].copy()

    @property
    def join_threshold(self) -> float:
        """The same of every category still to be opened."""
        return self._join_threshold

    @property
    def origin(self) -> np.ndarray:
        """A copy of what is subtracted from a unit feature, (D,) float64."""
        return self._origin.copy()

    @property
    def lineage(self) -> list[CategoryMerge]:
        """What was merged, in order."""
        return list(self._lineage)

    def add_known(
        self,
        directions: np.ndarray,
        thresholds: np.ndarray,
        *,
        join_threshold: float,
        merge_threshold: float = 1.0,
        origin: np.ndarray | None = None,
    ) -> None:
        """Enters the known classes in order, ids 0..K-1, before anything else.

        Args:
            directions: of their prototypes from the origin, of any length, (K, D).
            thresholds: cosine from which on each class takes a sample, (K,).
            join_threshold: the same of every opened category.
            merge_threshold: cosine from which on two opened categories are one.
            origin: what is subtracted from a unit feature, (D,); None: 0.

        Raises:
            ValueError: if the book is not empty or a shape does not fit.
        """
        wanted = (len(directions), self.dim)
        if self._size or directions.shape != wanted or thresholds.shape != wanted[:1]:
            raise ValueError(
                f"prototypes {directions.shape} and thresholds {thresholds.shape} for a book of "
                f"{self._size} entries; wanted (K, {self.dim}) and (K,) for an empty one"
            )
        self._fill(
            sums=directions,
            counts=np.ones(len(directions), np.int64),
            thresholds=thresholds,
            origin=np.zeros(self.dim) if origin is None else origin,
            joins=np.array([join_threshold, merge_threshold]),
            numbers=np.array([len(directions), 0]),
            lineage=np.empty((0, 3), np.int64),
        )

    def resolved(self, ids: np.ndarray) -> np.ndarray:
        """The categories that answer today for those of `ids`, (N,) int64 >= 0."""
        alias = np.arange(self._size)
        for merge in reversed(self._lineage):  # what was merged later is an alias already
            alias[merge.merged] = alias[merge.kept]
        return alias[ids]

    def _assign(self, features: np.ndarray, learn: bool) -> Assignment:
        if features.ndim != 2 or features.shape[1] != self.dim:
            raise InputError(
                f"features have the shape {features.shape}; wanted (N, {self.dim}), as the "
                "prototypes have"
            )
        ids = np.empty(len(features), np.int64)
        is_new = np.empty(len(features), bool)
        distance = np.empty(len(features))
        for i, feature in enumerate(features):
            row = _unit(_unit(feature.astype(np.float64)) - self._origin)
            ids[i], distance[i] = self._nearest(row)
            is_new[i] = ids[i] < 0
            if learn:
                ids[i] = self._learn(int(ids[i]), row)
        return Assignment(ids, is_new, distance)

    def _nearest(self, row: np.ndarray) -> tuple[int, float]:
        """The category that takes a row, or -1, and the distance to it or to the nearest one."""
        if not self._size:
            return -1, -1.0
        cosines = self._units[: self._size] @ row
        if self._merged:
            cosines[self._merged] = -np.inf
        taking = np.where(cosines >= self._thresholds[: self._size], cosines, -np.inf)
        best = int(taking.argmax())
        if taking[best] == -np.inf:
            return -1, 1 - float(cosines.max())
        return best, 1 - float(cosines[best])

    def _learn(self, category: int, row: np.ndarray) -> int:
        """Remember a row under its category, or under a new one for -1; which one that is."""
        if category < 0:
            category = self._open(row)
        elif category >= self._num_known:
            self._counts[category] += 1
            if self.running:
                self._sums[category] += row
                self._units[category] = _unit(self._sums[category])
        self._seen += 1
        if self.merge_every and self._seen % self.merge_every == 0:
            self._merge()
        return category

    def _open(self, row: np.ndarray) -> int:
        new = self._size
        if new == len(self._counts):
            for name in ("_sums", "_units", "_counts", "_thresholds"):
                rows = getattr(self, name)
                wider = np.zeros((max(16, 2 * new), *rows.shape[1:]), rows.dtype)
                wider[:new] = rows
                setattr(self, name, wider)
        self._sums[new] = row
        self._units[new] = _unit(row)  # as a restored book has it, to the bit
        self._counts[new] = 1
        self._thresholds[new] = self._join_threshold
        self._size += 1
        return new

    def _merge(self) -> None:
        opened = np.arange(self._num_known, self._size)
        living = opened[~np.isin(opened, self._merged)]
        if len(living) < 2:
            return
        cosines = self._units[living] @ self._units[living].T
        np.fill_diagonal(cosines, -np.inf)
        nearest = cosines.argmax(1)
        for i, j in enumerate(nearest.tolist()):
            counts = self._counts[living[[i, j]]]
            old_enough = counts.min() >= self.mature or counts.min() == 1
            mutual = nearest[j] == i and i < j
            if mutual and old_enough and cosines[i, j] >= self._merge_threshold:
                kept, merged = living[[i, j]].tolist()
                self._sums[kept] += self._sums[merged]
                self._units[kept] = _unit(self._sums[kept])
                self._counts[kept] += self._counts[merged]
                self._lineage.append(CategoryMerge(kept, merged, self._seen))
                self._merged.append(merged)

    def _fill(
        self,
        *,
        sums: np.ndarray,
        counts: np.ndarray,
        thresholds: np.ndarray,
        origin: np.ndarray,
        joins: np.ndarray,
        numbers: np.ndarray,
        lineage: np.ndarray,
    ) -> None:
        """Become the book of these, which are copied; see `_state`."""
        self._sums, self._counts = sums.astype(np.float64), counts.copy()
        self._units = np.array([_unit(row) for row in self._sums]).reshape(-1, self.dim)
        self._thresholds, self._origin = thresholds.astype(np.float64), origin.astype(np.float64)
        self._join_threshold, self._merge_threshold = joins.tolist()
        self._num_known, self._seen = numbers.tolist()
        self._lineage = [CategoryMerge(*row) for row in lineage.tolist()]
        self._merged = [merge.merged for merge in self._lineage]
        self._size = len(sums)

    def _state(self) -> dict[str, np.ndarray | int]:
        return {
            "sums": self._sums[: self._size],
            "counts": self._counts[: self._size],
            "thresholds": self._thresholds[: self._size],
            "origin": self._origin,
            "joins": np.array([self._join_threshold, self._merge_threshold]),
            "numbers": np.array([self._num_known, self._seen]),
            "lineage": np.array(self._lineage, np.int64).reshape(-1, 3),
        }

    def _restore(self, state: dict[str, np.ndarray]) -> None:
        self._check_state(state)
        self._fill(**state)

    def _check_state(self, state: dict[str, np.ndarray]) -> None:
        size = len(state["sums"]) if state["sums"].ndim else 0
        shapes = {
            "sums": (size, self.dim),
            "counts": (size,),
            "thresholds": (size,),
            "origin": (self.dim,),
            "joins": (2,),
            "numbers": (2,),
            "lineage": (len(state["lineage"]) if state["lineage"].ndim else 0, 3),
        }
        wrong = [
            name
            for name, value in state.items()
            if value.shape != shapes[name] or value.dtype != _TYPES[name]
        ]
        if wrong or not 0 <= state["numbers"][0] <= size:
            given = ", ".join(f"{name} {state[name].shape}" for name in wrong or ["numbers"])
            raise InputError(
                f"the stored book has {given}, which is none of {size} prototypes of width "
                f"{self.dim}; load the state of the same model, or another checkpoint"
            )


def _unit(row: np.ndarray) -> np.ndarray:
    """A row (D,) at length 1; 0 stays 0."""
    length = np.sqrt(row @ row)
    return row / length if length > 0 else row
