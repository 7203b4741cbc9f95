"""Names, galleries and numbers of each category as plain data, from the arrays of an analysis."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from cgcd.metrics.categories import galleries, hashes

MOST_GALLERIES = 200
"""Categories with a gallery: found ones before labeled ones, large ones before small ones."""
GALLERY = {"central": 3, "doubtful": 2, "random": 3}
_LAST = 2.0  # added to a key in [0, 1]: samples without a small image come after those with one


def category_names(class_names: Sequence[str], num_named: int, number: int) -> list[str]:
    """Base classes by their name, all others `new-<id>`."""
    return [class_names[k] if k < num_named else f"new-{k}" for k in range(number)]


def shown_categories(sizes: np.ndarray, num_named: int) -> list[int]:
    """Which categories get a gallery, ascending, at most `MOST_GALLERIES`."""
    numbers = np.arange(len(sizes))
    order = np.lexsort((numbers, -sizes, numbers < num_named))
    return sorted(order[:MOST_GALLERIES].tolist())


def gallery_places(
    arrays: Mapping[str, np.ndarray], central: np.ndarray, doubt: np.ndarray
) -> list[dict[str, list[int]]]:
    """Places of the gallery of each category: the most central, the most doubtful, some others.

    Args:
        arrays: of the analysis.
        central: distance to the category's mean, infinite where unknown, (N,).
        doubt: smallest for the most doubtful sample, in [0, 1], (N,).
    """
    count = len(arrays["predictions"])
    late = np.full(count, _LAST if "point_places" in arrays else 0.0)
    late[arrays.get("point_places", [])] = 0.0
    keys = {
        "central": central,
        "doubtful": doubt + late,
        "random": hashes(arrays["sample_ids"]) / 2.0**64 + late,
    }
    return galleries(arrays["predictions"], keys, GALLERY, len(arrays["sizes"]))


def category_rows(
    arrays: Mapping[str, np.ndarray], names: Sequence[str], class_names: Sequence[str]
) -> list[dict[str, Any]]:
    """Numbers of every category; what needs truth or features is left out where there is none."""
    rows = []
    for k, name in enumerate(names):
        row: dict[str, Any] = {
            "id": k,
            "name": name,
            "first_stage": int(arrays["first_stage"][k]),
            "sizes": [int(size) for size in arrays["sizes"][k]],
        }
        if "mean_confidence" in arrays:
            row["mean_confidence"] = _number(arrays["mean_confidence"][k])
        if "class_of_row" in arrays:
            for key in ("class_of_row", "best_class"):
                found = int(arrays[key][k])
                title = {"class_of_row": "matched_class"}.get(key, key)
                row[title] = None if found < 0 else found
                row[f"{title}_name"] = None if found < 0 else class_names[found]
            row["purity"] = _number(arrays["purity"][k])
        if "nearest" in arrays:
            nearest = int(arrays["nearest"][k])
            row["nearest"] = None if nearest < 0 else nearest
            row["nearest_cosine"] = _number(arrays["nearest_cosine"][k])
        rows.append(row)
    return rows


def sample_facts(
    arrays: Mapping[str, np.ndarray],
    place: int,
    class_names: Sequence[str],
    sample_names: Sequence[str] | None,
) -> dict[str, Any]:
    """What is told of one sample of a gallery."""
    sample, target = int(arrays["sample_ids"][place]), int(arrays["targets"][place])
    facts: dict[str, Any] = {
        "sample": sample,
        "name": str(sample) if sample_names is None else str(sample_names[sample]),
    }
    if "confidences" in arrays:
        facts["confidence"] = round(float(arrays["confidences"][place]), 4)
    if "distances" in arrays:
        facts["distance"] = round(arrays["distances"][place].item(), 6)
    if target >= 0:
        facts["true_class"] = class_names[target]
    return facts


def _number(value: float) -> float | None:
    return round(float(value), 4) if np.isfinite(value) else None
