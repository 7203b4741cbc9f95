"""Mean and spread over seeds, and paired differences."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

SPREAD = "sample standard deviation (n - 1)"


@dataclass(frozen=True)
class Summary:
    """Of one number over seeds.

    Attributes:
        mean: arithmetic.
        std: sample standard deviation, None of a single value.
        n: values.
    """

    mean: float
    std: float | None
    n: int

    @classmethod
    def of(cls, values: Sequence[float]) -> Summary | None:
        """Of at least one value; None of none."""
        if not values:
            return None
        std = float(np.std(values, ddof=1)) if len(values) > 1 else None
        return cls(float(np.mean(values)), std, len(values))


@dataclass(frozen=True)
class Difference:
    """One group minus another over the seeds that both have.

    Attributes:
        summary: of the differences.
        num_better: seeds with a difference above 0.
        num_worse: seeds with a difference below 0.
    """

    summary: Summary
    num_better: int
    num_worse: int

    @classmethod
    def of(cls, first: Mapping[int, float], second: Mapping[int, float]) -> Difference | None:
        """Of values by seed; None without a common seed."""
        gains = [first[seed] - second[seed] for seed in sorted(first.keys() & second.keys())]
        summary = Summary.of(gains)
        if summary is None:
            return None
        return cls(summary, sum(g > 0 for g in gains), sum(g < 0 for g in gains))
