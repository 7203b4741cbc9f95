"""The stage-wise analysis: collected in the evaluation that is made anyway, then drawn up once."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from avalanche.evaluation.metric_results import MetricValue
from torch import Tensor

from cgcd.engine.analysis_files import (
    discard_later,
    earlier_analysis,
    store_analysis,
    write_categories,
)
from cgcd.engine.category_facts import (
    category_names,
    category_rows,
    gallery_places,
    sample_facts,
    shown_categories,
)
from cgcd.engine.evaluation import StageMetric
from cgcd.engine.norms import module_norms
from cgcd.engine.observation import ObservedPass, PassObserver, plain_images
from cgcd.engine.stage_arrays import StageState, stage_arrays, truth_kind
from cgcd.tracking.analysis import Analysis
from cgcd.vocabulary import SCHEMA_VERSION


class StageAnalysis(StageMetric):
    """What a stage found, forgot and confuses, as arrays, plain data and small images.

    It adds no number to the stage's row. Each analysis holds the columns of the stages before, read
    from the stored one of the stage before, so memory does not grow and a resumed run leaves the
    same files.

    Attributes:
        last: the analysis of the last evaluation; None before.
    """

    def __init__(self) -> None:
        super().__init__()
        self.last: Analysis | None = None
        self._observer: PassObserver | None = None
        self._parts: dict[str, Analysis] = {}
        self._features: Tensor | None = None
        self._handle: Any = None

    # ------------------------------------------------------------ the pass

    def after_training_epoch(self, strategy: Any) -> list[MetricValue]:
        """Norms of gradients and weights by module, at the last step of an epoch."""
        step = strategy.clock.train_iterations
        return [MetricValue(self, n, v, step) for n, v in module_norms(strategy.model).items()]

    def before_eval(self, strategy: Any) -> None:
        inside_training = strategy._eval_streams is not None
        self._observer = None if inside_training else PassObserver(strategy.model.num_classes)

    def before_eval_exp(self, strategy: Any) -> None:
        dataset = strategy.experience.dataset
        ids = getattr(dataset, "sample_id", None)
        self._ids = np.arange(len(dataset)) if ids is None else np.asarray(list(ids))
        self._experience, self._read = strategy.experience.current_experience, 0

    def before_eval_forward(self, strategy: Any) -> None:
        if self._observer is not None:
            self._features = None
            self._handle = strategy.model.backbone.tail.register_forward_hook(self._take)

    def _take(self, module: Any, inputs: Any, output: Any) -> None:
        self._features = output.detach()

    @torch.no_grad()
    def after_eval_forward(self, strategy: Any) -> None:
        if self._observer is None:
            return
        self._handle.remove()
        count = len(strategy.mb_y)
        if self._features is None or self._features.shape[:1] != (count,):  # predicts without it
            self._features = strategy.model.backbone.tail(strategy.mb_trunk)
        self._observer.add(
            strategy.mb_output,
            self._features.flatten(1),
            strategy.mb_y,
            self._ids[self._read : self._read + count],
            self._experience,
            plain_images(strategy.mb_x, strategy.model.inputs),
        )
        self._features = None
        self._read += count

    # ------------------------------------------------------------ what it shows

    def analyze(
        self, strategy: Any, scenario: Any, folder: Path | None = None, name: str | None = None
    ) -> Analysis | None:
        """Draw up the last evaluation, and store it where there is a folder; None without one.

        Args:
            strategy: as it was evaluated.
            scenario: has the names of classes and samples.
            folder: of the run.
            name: of the files; `stage_<t>` if None.
        """
        seen = None if self._observer is None else self._observer.finish()
        self._observer = None
        if seen is None:
            return None
        single = scenario.setting == "single_stage"
        state = stage_state(strategy, single)
        before = self._before(state.stage, folder)
        name = f"stage_{state.stage}" if name is None else name
        arrays = stage_arrays(seen, state, {} if before is None else before.arrays)
        self.last = stage_analysis(name, seen, arrays, state, scenario)
        self._parts = {**(self._parts if single else {}), name: self.last}
        if folder is not None:
            discard_later(folder, state.stage)
            store_analysis(self.last, folder)
            write_categories(list(self._parts.values()), folder)
        return self.last

    def forget_images(self) -> None:
        """Keep the arrays alone; whoever shows images has done so."""
        if self.last is not None:
            self.last = replace(self.last, images={}, tiles=None)
            self._parts = {
                name: replace(p, images={}, tiles=None) for name, p in self._parts.items()
            }

    def _before(self, stage: int, folder: Path | None) -> Analysis | None:
        if stage == 0:
            return None
        if self.last is not None and self.last.stage == stage - 1:
            return self.last
        return earlier_analysis(folder, stage - 1)


def stage_state(strategy: Any, single: bool) -> StageState:
    """What an analysis needs to know of a strategy."""
    return StageState(
        stage=strategy.stage_index,
        num_base=strategy.num_base,
        num_known=strategy.num_known or strategy.num_base,
        num_classes=strategy.model.num_classes,
        single=single,
        directions=strategy.model.head.directions.detach().float().cpu().numpy(),
    )


def stage_analysis(
    name: str, seen: ObservedPass, arrays: dict[str, np.ndarray], state: StageState, scenario: Any
) -> Analysis:
    """Arrays with names, galleries and small images."""
    explained = float(arrays.pop("explained"))
    kind = truth_kind(seen.targets)
    class_names = [str(n) for n in scenario.class_names]
    names = category_names(class_names, state.num_base, state.num_classes)
    groups = ["known", "novel"] if state.single else _group_names(state.stage)
    facts: dict[str, Any] = {
        "schema_version": SCHEMA_VERSION,
        "name": name,
        "stage": state.stage,
        "setting": scenario.setting,
        "part": name if state.single else "test",
        "num_base": state.num_base,
        "num_known": state.num_known,
        "num_classes": state.num_classes,
        "truth": kind,
        "sample_kind": scenario.sample_kind,
        "class_names": [] if kind == "none" else class_names[: len(arrays["class_stage"])],
        "category_names": names,
        "group_names": groups if kind == "all" else [],
        "feature_dim": seen.features.shape[1],
        "explained": round(explained, 4),
        "columns": [name] if state.single else [str(t) for t in range(state.stage + 1)],
    }
    table = category_rows(arrays, names, class_names)
    central = np.full(len(seen.predictions), np.inf)
    central[seen.points] = 1.0 - _closeness(seen)
    places = gallery_places(arrays, central, np.clip(seen.margins, 0, 1))
    names_of_images = _image_names(name if state.single else "", seen)
    sample_names = scenario.sample_names
    images: dict[str, np.ndarray] = {}
    shown = []
    tile_of_place = dict(zip(seen.points.tolist(), range(len(seen.points)), strict=True))
    for k in shown_categories(arrays["sizes"][:, -1], state.num_base):
        gallery: dict[str, list[dict[str, Any]]] = {}
        for kind_of, chosen in places[k].items():
            gallery[kind_of] = []
            for place in chosen:
                sample = sample_facts(arrays, place, class_names, sample_names)
                if seen.tiles is not None and place in tile_of_place:
                    sample["thumbnail"] = names_of_images(place)
                    images[sample["thumbnail"]] = seen.tiles[tile_of_place[place]]
                gallery[kind_of].append(sample)
        shown.append({**table[k], **gallery})
    return Analysis(name, arrays, {**facts, "categories": shown}, images, table, seen.tiles)


def timed_analysis(
    strategy: Any,
    scenario: Any,
    folder: Path | None,
    name: str | None = None,
    row: Mapping[str, float] | None = None,
) -> dict[str, float]:
    """Analyze the last evaluation where the strategy has a `StageAnalysis`, and tell the loggers.

    Args:
        strategy, scenario, folder, name: see `StageAnalysis.analyze`.
        row: numbers of the stage so far, for loggers.

    Returns:
        `seconds_analysis` of storing and showing it; empty where there is nothing to analyze.
    """
    found = [m for m in strategy.evaluator.metrics if isinstance(m, StageAnalysis)]
    started = time.perf_counter()
    analysis = found[0].analyze(strategy, scenario, folder, name) if found else None
    if analysis is None:
        return {}
    for logger in strategy.evaluator.loggers:
        if hasattr(logger, "log_analysis"):
            logger.log_analysis(analysis, row or {}, strategy.report)
    found[0].forget_images()
    return {"seconds_analysis": round(time.perf_counter() - started, 3)}


def _group_names(stage: int) -> list[str]:
    return ["base", *(f"stage {t}" for t in range(1, stage + 1))]


def _closeness(seen: ObservedPass) -> np.ndarray:
    """Cosine of each drawn feature with the mean of its category, (M,)."""
    means = seen.category_sums[seen.predictions[seen.points]]
    lengths = np.linalg.norm(means, axis=1)
    products = np.einsum("md,md->m", seen.features, means, dtype=np.float64)
    return products / np.where(lengths > 0, lengths, 1.0)


def _image_names(front: str, seen: ObservedPass) -> Any:
    """Path of a sample's small image: by its id, or by its place where ids are no names."""
    alone = len(np.unique(seen.sample_ids)) == len(seen.sample_ids)
    front = f"{front}-" if front else ""
    if alone:
        return lambda place: f"thumbnails/{front}{int(seen.sample_ids[place])}.png"
    return lambda place: f"thumbnails/{front}place-{place}.png"
