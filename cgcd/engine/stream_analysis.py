"""The analysis of a stream: from all its answers at once, at its end.

A category is known by what it was answered for, so there are no features and no confidences here:
the distance of an answer, in bits or as 1 - cosine, says how doubtful it is.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from cgcd.discovery.matching import contingency, match
from cgcd.engine.analysis import StageAnalysis
from cgcd.engine.analysis_files import store_analysis, write_categories
from cgcd.engine.category_facts import (
    category_names,
    category_rows,
    gallery_places,
    sample_facts,
    shown_categories,
)
from cgcd.engine.observation import plain_images, small_images
from cgcd.engine.stage_arrays import table_arrays, truth_kind
from cgcd.metrics.classwise import group_shares, matched_class_accuracy, mean_by_group
from cgcd.tracking.analysis import Analysis
from cgcd.vocabulary import SCHEMA_VERSION

MOST_COLUMNS = 12


@dataclass(frozen=True, eq=False)
class StreamAnswers:
    """Every answer of a stream in its order, (N,) each.

    Attributes:
        ids: categories.
        truth: classes, `UNLABELED` where there is none.
        opened: the sample opened its category.
        distances: to the category, see `Assignment`.
    """

    ids: np.ndarray
    truth: np.ndarray
    opened: np.ndarray
    distances: np.ndarray


def timed_stream_analysis(
    strategy: Any,
    scenario: Any,
    folder: Path | None,
    answers: StreamAnswers,
    seen: Sequence[int],
    num_named: int,
) -> dict[str, float]:
    """Analyze a whole stream where the strategy has a `StageAnalysis`, and tell the loggers.

    Args:
        strategy: with its evaluator.
        scenario: of the stream.
        folder: of the run; None stores nothing.
        answers: of the stream.
        seen: samples answered at the end of each window.
        num_named: categories that are known classes.

    Returns:
        `seconds_analysis`; empty where nothing is to be analyzed.
    """
    found = [m for m in strategy.evaluator.metrics if isinstance(m, StageAnalysis)]
    if not found:
        return {}
    started = time.perf_counter()
    places = np.linspace(0, len(seen) - 1, min(MOST_COLUMNS, len(seen))).round().astype(int)
    columns = [seen[place] for place in np.unique(places)]
    arrays = stream_arrays(
        answers, scenario.stream.dataset.sample_id, columns, num_named, strategy.num_base
    )
    spec = strategy.model.inputs
    analysis = stream_analysis(arrays, scenario, columns, num_named, spec)
    found[0].last = analysis
    if folder is not None:
        store_analysis(analysis, folder)
        write_categories([analysis], folder)
    for logger in strategy.evaluator.loggers:
        if hasattr(logger, "log_analysis"):
            logger.log_analysis(analysis, {}, strategy.report)
    found[0].forget_images()
    return {"seconds_analysis": round(time.perf_counter() - started, 3)}


def stream_arrays(
    answers: StreamAnswers,
    sample_ids: Sequence[int],
    columns: Sequence[int],
    num_named: int,
    num_base: int,
) -> dict[str, np.ndarray]:
    """All arrays of a stream; see the fields of a stage's, with a column for some windows each."""
    number = int(answers.ids.max()) + 1
    sizes = [np.bincount(answers.ids[:end], minlength=number) for end in columns]
    group = np.where(answers.ids < num_named, 0, 2)
    shares = [group_shares(group[:end]) for end in columns]
    arrays: dict[str, Any] = {
        "sample_ids": np.asarray(list(sample_ids), dtype=np.int64),
        "predictions": answers.ids,
        "targets": answers.truth,
        "distances": answers.distances,
        "opened": answers.opened,
        "seen": np.asarray(columns),
        "sizes": np.stack(sizes, 1),
        "first_stage": (np.arange(number) >= num_named).astype(np.int64),
        "prediction_shares": np.stack(shares),
    }
    if truth_kind(answers.truth) == "all":
        arrays |= _truth_arrays(answers, columns, number, num_base)
    return {name: np.asarray(value) for name, value in arrays.items()}


def _truth_arrays(
    answers: StreamAnswers, columns: Sequence[int], number: int, num_base: int
) -> dict[str, Any]:
    truth = answers.truth
    num_classes = int(truth.max()) + 1
    class_stage = (np.arange(num_classes) >= num_base).astype(np.int64)
    accuracies, groups, shares = [], [], []
    for end in columns:
        counts = contingency(answers.ids[:end], truth[:end], number, num_classes)
        matching = match(counts)
        accuracies.append(matched_class_accuracy(counts, matching))
        groups.append(mean_by_group(accuracies[-1], counts.sum(0), class_stage, 2))
        shares.append(group_shares(2 * class_stage[truth[:end]]))
    return {
        **table_arrays(counts, matching),
        "class_stage": class_stage,
        "class_accuracy": np.stack(accuracies, 1),
        "group_accuracy": np.stack(groups),
        "truth_shares": np.stack(shares),
    }


def stream_analysis(
    arrays: Mapping[str, np.ndarray],
    scenario: Any,
    columns: Sequence[int],
    num_named: int,
    spec: Any,
) -> Analysis:
    """Arrays of a stream with names, galleries and small images."""
    kind = "all" if "contingency" in arrays else truth_kind(arrays["targets"])
    class_names = [str(n) for n in scenario.class_names]
    number = len(arrays["sizes"])
    names = category_names(class_names, num_named, number)
    distances = arrays["distances"].astype(np.float64)
    doubt = 1.0 - distances / max(1.0, distances.max())
    places = gallery_places(arrays, distances, doubt)
    table = category_rows(arrays, names, class_names)
    dataset = scenario.stream.dataset.eval()
    images: dict[str, np.ndarray] = {}
    shown = []
    for k in shown_categories(arrays["sizes"][:, -1], num_named):
        gallery: dict[str, list[dict[str, Any]]] = {}
        for kind_of, chosen in places[k].items():
            gallery[kind_of] = []
            for place in chosen:
                sample = sample_facts(arrays, place, class_names, scenario.sample_names)
                picture = plain_images(dataset[place][0].unsqueeze(0), spec)
                if picture is not None:
                    sample["thumbnail"] = f"thumbnails/{sample['sample']}.png"
                    images[sample["thumbnail"]] = small_images(picture)[0].numpy()
                gallery[kind_of].append(sample)
        shown.append({**table[k], **gallery})
    facts = {
        "schema_version": SCHEMA_VERSION,
        "name": "stream",
        "stage": 1,
        "setting": scenario.setting,
        "part": "stream",
        "num_base": scenario.num_base,
        "num_known": scenario.num_base,
        "num_classes": number,
        "truth": kind,
        "sample_kind": scenario.sample_kind,
        "class_names": class_names[: len(arrays["class_stage"])] if kind == "all" else [],
        "category_names": names,
        "group_names": ["known", "novel"] if kind == "all" else [],
        "columns": [str(end) for end in columns],
        "categories": shown,
    }
    return Analysis("stream", arrays, facts, images, table)
