"""A protocol in shares: every class is divided among the stages, and no image comes twice."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from scenarios.fields import is_number, refuse
from scenarios.staged import Schedule, SizedProtocol

_NOISE = 1e-9  # 0.7 + 0.2 + 0.1 is not 1 in floating point


@dataclass(frozen=True, kw_only=True)
class ShareProtocol(SizedProtocol):
    """Which share of each group of classes each stage holds.

    Stages are disjoint; where the shares of every group sum to 1 they hold every training image of
    the classes used.

    Attributes: those of `SizedProtocol`, and
        shares: a square table of T + 1 rows and columns, T continual stages. Row g is the group of
            classes first met at stage g, column t a stage: the share in [0, 1] of each class's
            images that the stage holds. 0 left of the diagonal, above 0 on it, at most 1 in a row.
            shares[0][0] is labeled. Numbers of images are whole by largest remainder, class by
            class.

    Raises:
        InputError: if a value is none of the above; what depends on the data is checked by
            `compose`.

    Source: Cendra et al., PromptCCD, ECCV 2024, arXiv 2407.19001, whose table this generalizes.
    """

    shares: Sequence[Sequence[float]]

    def __post_init__(self) -> None:
        super().__post_init__()
        size = self.num_stages + 1
        rows = self.shares if _is_row(self.shares) else ()
        if len(rows) != size or not all(_is_row(row) and len(row) == size for row in rows):
            self.refuse(
                "shares",
                f"{size} rows of {size} shares, one for each of stages 0 to {self.num_stages}",
                "[[0.9,0.1],[0,1]] and num_stages=1",
            )
        for group, row in enumerate(rows):
            if not all(is_number(share) and 0 <= share <= 1 for share in row):
                self._refuse_row(group, "shares from 0 to 1")
            if any(row[:group]):
                self._refuse_row(group, f"0 before stage {group}, the first of these classes")
            if not row[group] > 0:
                self._refuse_row(group, f"a share above 0 at stage {group}, the first")
            if sum(row) > 1 + _NOISE:
                self._refuse_row(group, "a sum of at most 1")
        table = tuple(tuple(float(share) for share in row) for row in rows)
        object.__setattr__(self, "shares", table)

    def _refuse_row(self, group: int, wanted: str) -> None:
        row = list(self.shares[group])
        refuse(f"shares[{group}]", f"{row}", wanted, "change scenario.protocol.shares=[[...],...]")

    def schedule(self, classes: np.ndarray, counts: np.ndarray, seed: int) -> Schedule:
        first = self.first_stages(len(counts))
        taken = by_largest_remainder(counts, np.array(self.shares)[first])
        missed = taken[np.arange(len(first)), first] == 0
        if missed.any():
            row = int(np.argmax(missed))
            refuse(
                f"shares[{first[row]}]",
                f"{list(self.shares[first[row]])}, of which stage {first[row]} gets none of the"
                f" {counts[row]} training images of class {classes[row]}",
                "at least 1 image at the first stage",
                "raise that share or leave the class out of scenario.protocol.novel_order",
            )
        return Schedule(first, [taken[: self.num_base, 0], *taken[:, 1:].T], once=True)


def by_largest_remainder(totals: np.ndarray, shares: np.ndarray) -> np.ndarray:
    """Whole numbers nearest to shares of each total; ties go to the earlier column.

    Args:
        totals: whole numbers >= 0, (R,).
        shares: in [0, 1], each row at most 1 in sum, (R, P).

    Returns:
        (R, P) int64. A row sums to its total where its shares sum to 1, else to
        floor(total * sum).
    """
    quotas = totals[:, None] * shares
    parts = np.floor(quotas + _NOISE).astype(np.int64)
    left = np.floor(totals * shares.sum(1) + _NOISE * np.maximum(totals, 1)).astype(np.int64)
    left = np.minimum(left, totals) - parts.sum(1)
    remainders = np.round(np.maximum(quotas - parts, 0), 9)
    order = np.argsort(-remainders, axis=1, kind="stable")
    extra = (np.arange(parts.shape[1]) < left[:, None]).astype(np.int64)
    np.put_along_axis(parts, order, np.take_along_axis(parts, order, 1) + extra, 1)
    return parts


def _is_row(value: object) -> bool:
    return isinstance(value, Sequence | np.ndarray) and not isinstance(value, str)
