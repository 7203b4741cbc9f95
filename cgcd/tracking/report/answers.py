"""What a run answered for every sample, read back from its CSV."""

from __future__ import annotations

import csv
import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np

from cgcd.vocabulary import UNLABELED, InputError

_GUARDED = ("'=", "'+", "'-", "'@", "'\t", "'\r")


@dataclass(frozen=True, eq=False)
class Answers:
    """Answers to one evaluation; N samples.

    Attributes:
        true_names: class of each sample, "" where it is hidden, (N,) texts.
        categories: (N,) int64.
        category_names: by category.
        is_new: categories that were not labeled at stage 0.
        confidences: largest softmax value, (N,) in [0, 1]; None of a stream.
    """

    true_names: np.ndarray
    categories: np.ndarray
    category_names: dict[int, str]
    is_new: frozenset[int]
    confidences: np.ndarray | None

    @cached_property
    def classes(self) -> list[str]:
        """True classes that occur: labeled ones by their category, then by name."""
        labeled = {n: k for k, n in self.category_names.items() if k not in self.is_new}
        names = set(self.true_names.tolist()) - {""}
        return sorted(
            names, key=lambda name: (labeled.get(name, len(labeled) + 1e9), natural(name))
        )

    @property
    def has_truth(self) -> bool:
        """Whether any sample shows its class."""
        return bool(self.classes)

    @property
    def is_complete(self) -> bool:
        """Whether every sample shows its class."""
        return self.has_truth and bool((self.true_names != "").all())

    def truth(self, classes: Sequence[str]) -> np.ndarray:
        """Place in `classes` of each sample's class, (N,) int64; `UNLABELED`: in none."""
        place = {name: index for index, name in enumerate(classes)}
        return np.array([place.get(n, UNLABELED) for n in self.true_names.tolist()], np.int64)


def read_answers(path: Path) -> Answers:
    """Answers of a `predictions/*.csv`.

    Raises:
        InputError: if the file is not such a table.
    """
    with path.open(encoding="utf-8", errors="replace", newline="") as file:
        rows = csv.reader(file)
        header = next(rows, [])
        try:
            truth, category, name = map(header.index, ("true_class", "category", "category_name"))
            confidence = header.index("confidence") if "confidence" in header else None
            new = header.index("is_new") if "is_new" in header else None
            table = [
                (
                    unguarded(row[truth]),
                    int(row[category]),
                    unguarded(row[name]),
                    row[name] == f"new-{row[category]}" if new is None else row[new] == "1",
                    float("nan") if confidence is None else float(row[confidence]),
                )
                for row in rows
                if row
            ]
        except (ValueError, IndexError, csv.Error) as error:
            raise InputError(
                f"{path} is no table of answers ({error}); wanted the file as cgcd run wrote it: "
                "give another run, or run it anew with overwrite=true"
            ) from error
    true_names = np.array([row[0] for row in table], dtype=object)
    return Answers(
        true_names,
        np.array([row[1] for row in table], dtype=np.int64),
        {row[1]: row[2] for row in table},
        frozenset(row[1] for row in table if row[3]),
        None if confidence is None else np.array([row[4] for row in table], dtype=np.float64),
    )


def unguarded(cell: str) -> str:
    """A cell as it was before `guarded` put a quote before what looks like a formula."""
    return cell[1:] if cell.startswith(_GUARDED) else cell


def natural(name: str) -> list[tuple[int, int, str]]:
    """Key that sorts "class 9" before "class 10"."""
    parts = re.split(r"(\d{1,18})", name)
    return [(1, int(p), "") if p.isdecimal() else (0, 0, p.casefold()) for p in parts if p]
