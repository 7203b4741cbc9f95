"""What a benchmark hands to the suite: measured rows, series that grow, and the clock it used.

A row holds one value a round, so that the table can show a median and its spread. Whoever runs a
benchmark alone reads what it prints; `suite.py` names a file in $BENCHMARK_ROWS and reads the rows
from there.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

ROWS_FILE = "BENCHMARK_ROWS"
_SCALES = {"s": 1.0, "ms": 1e3, "µs": 1e6}


@dataclass(frozen=True)
class Row:
    """One measured quantity.

    Attributes:
        name: what was measured.
        values: one a round; what the bar is about.
        unit: of the values: "times", "%", "s", "µs", "MiB".
        ours, other: both sides of a comparison for people to read, "" where there is one side.
        against: what the other side is.
        bar: what the median should reach, None where nothing is wanted.
        at_least: the bar is a lower bound.
    """

    name: str
    values: list[float]
    unit: str
    ours: str = ""
    other: str = ""
    against: str = ""
    bar: float | None = None
    at_least: bool = False

    @property
    def median(self) -> float:
        return float(np.median(self.values))

    @property
    def measured(self) -> str:
        """The median, and between which values the middle half of the rounds lies."""
        low, high = (_short(value) for value in np.quantile(self.values, [0.25, 0.75]))
        spread = f" ({low} to {high})" if len(self.values) > 1 else ""
        return f"{_short(self.median)}{spread} {self.unit}".rstrip()

    @property
    def wanted(self) -> str:
        if self.bar is None:
            return ""
        return f"{'at least' if self.at_least else 'at most'} {self.bar:g} {self.unit}".rstrip()

    @property
    def met(self) -> str:
        """yes, no, or nothing where nothing is wanted."""
        if self.bar is None:
            return ""
        reached = self.median >= self.bar if self.at_least else self.median <= self.bar
        return "yes" if reached else "no"

    def __str__(self) -> str:
        sides = f"{self.ours} against {self.other}, {self.against}" if self.other else self.against
        verdict = f"{self.wanted}: {self.met}" if self.wanted else ""
        return "; ".join(part for part in (f"{self.name}: {self.measured}", sides, verdict) if part)


@dataclass(frozen=True)
class Growth:
    """Seconds of one operation over growing sizes.

    Attributes:
        name: the operation, and what stays fixed.
        letter: what grows: N samples, K classes, T stages.
        sizes, seconds: one each.
    """

    name: str
    letter: str
    sizes: list[int]
    seconds: list[float]

    @property
    def slope(self) -> float:
        """Of the line through the logarithms: 1 is proportional, 2 quadratic."""
        return float(np.polyfit(np.log(self.sizes), np.log(self.seconds), 1)[0])

    def __str__(self) -> str:
        series = ", ".join(
            f"{size:,}: {seconds:.3g} s"
            for size, seconds in zip(self.sizes, self.seconds, strict=True)
        )
        return f"{self.name}, {self.letter} = {series}; slope {self.slope:.2f}"


Handed = TypeVar("Handed", Row, Growth)


def hand_over(found: Handed) -> Handed:
    """Give a row to the suite, where one is running; the same row comes back, for printing."""
    file = os.environ.get(ROWS_FILE)
    if file:
        with Path(file).open("a", encoding="utf-8") as rows:
            rows.write(json.dumps({"kind": type(found).__name__, **asdict(found)}) + "\n")
    return found


def handed_over(file: Path) -> list[Row | Growth]:
    """What benchmarks have written into a file, in their order."""
    kinds: dict[str, type[Row] | type[Growth]] = {"Row": Row, "Growth": Growth}
    lines = file.read_text(encoding="utf-8").splitlines() if file.is_file() else []
    parts: list[dict[str, Any]] = [json.loads(line) for line in lines]
    return [kinds[part.pop("kind")](**part) for part in parts]


def faster(
    name: str,
    ours: Sequence[float],
    other: Sequence[float],
    against: str,
    *,
    scale: str = "s",
    bar: float | None = None,
) -> Row:
    """How many times less time ours takes, round by round; both in seconds."""
    ratios = np.asarray(other) / np.asarray(ours)
    return _compared(name, ratios, "times", ours, other, against, scale, bar, at_least=True)


def overhead(
    name: str,
    ours: Sequence[float],
    other: Sequence[float],
    against: str,
    *,
    unit: str,
    scale: str = "ms",
    bar: float | None = None,
) -> Row:
    """What ours takes more, round by round, in percent of the other or in `unit` of time."""
    more = np.asarray(ours) - np.asarray(other)
    values = 100 * more / np.asarray(other) if unit == "%" else more * _SCALES[unit]
    return _compared(name, values, unit, ours, other, against, scale, bar, at_least=False)


def seconds_of(run: Callable[[], Any], rounds: int = 1) -> list[float]:
    """Seconds of the processor, every thread counted, of each call."""
    found = []
    for _ in range(rounds):
        started = time.process_time()
        run()
        found.append(time.process_time() - started)
    return found


def _short(value: float) -> str:
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.3g}"


def _compared(
    name: str,
    values: np.ndarray,
    unit: str,
    ours: Sequence[float],
    other: Sequence[float],
    against: str,
    scale: str,
    bar: float | None,
    at_least: bool,
) -> Row:
    shown = [f"{np.median(side) * _SCALES[scale]:.4g} {scale}" for side in (ours, other)]
    return Row(name, values.tolist(), unit, *shown, against, bar, at_least)
