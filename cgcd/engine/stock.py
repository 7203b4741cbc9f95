"""Stock Avalanche experiences inside our strategies: which labels show, and as which rows.

A stock experience is labeled throughout and knows nothing of views. What a strategy and its plugins
get of it is a copy whose data set yields rows of the head instead of labels, or `UNLABELED`, and as
many random views as the strategy wants.
"""

from __future__ import annotations

import copy
import logging
from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from avalanche.benchmarks.scenarios.generic_scenario import ExperienceAttribute
from torch import Tensor

from cgcd.engine.optimization import Recipe
from cgcd.engine.seeding import Draw, current_draw, drawing, sample_randomness
from cgcd.models import InputSpec
from cgcd.stages import Sample, stage_dataset
from cgcd.vocabulary import UNLABELED, InputError

log = logging.getLogger(__name__)

STOCK_LABELS = ("mask", "use")

_MODES = {
    "mask": "labels after the first experience are hidden (stock_labels=mask)",
    "use": "labels of every experience are used (stock_labels=use): plain class-incremental "
    "learning, nothing is discovered",
}
_TOLD = {"classes_in_this_experience", "previous_classes", "classes_seen_so_far", "future_classes"}
_WAYS_BACK = ("_origin_stream", "_benchmark")  # to the stream and its labels
_FEW = 4


class StockViews:
    """V random views of a stock sample by the benchmark's own training transform, (V, ...).

    The transform is called once a view, each time with global generators that are a function of
    the draw, the sample and the view; where it stacks views itself its answer is taken as it is.

    Args:
        dataset: an Avalanche data set in the mode whose transform counts.
        inputs: what the model takes.
    """

    def __init__(self, dataset: Any, inputs: InputSpec) -> None:
        self.dataset, self.inputs = dataset, inputs

    def __call__(self, sample: Sample) -> Tensor:
        draw, seen = current_draw(), []
        with sample_randomness(draw, sample.id) as seed_view:
            for view in range(draw.num_views):
                seed_view(view)
                seen.append(fitting(self.dataset[sample.image][0], self.inputs, "train"))
                if seen[0].dim() > len(self.inputs.shape):
                    return seen[0]
        return torch.stack(seen)


class StockView:
    """A stock sample under the benchmark's own evaluation transform; arguments as `StockViews`."""

    def __init__(self, dataset: Any, inputs: InputSpec) -> None:
        self.dataset, self.inputs = dataset, inputs

    def __call__(self, sample: Sample) -> Tensor:
        return fitting(self.dataset[sample.image][0], self.inputs, "evaluation")


def fitting(sample: Any, inputs: InputSpec, which: str) -> Tensor:
    """The sample, if the model can take it: one input or a stack of views.

    Raises:
        InputError: if it is no tensor, or has another number of axes or channels.
    """
    wanted = inputs.shape
    shape = tuple(sample.shape) if torch.is_tensor(sample) else None
    if shape is None or len(shape) - len(wanted) not in (0, 1) or shape[-len(wanted)] != wanted[0]:
        given = type(sample).__name__ if shape is None else f"a tensor of shape {shape}"
        raise InputError(
            f"the benchmark's {which} transform gives {given}; the model takes tensors of shape "
            f"{wanted}: change the transform, or let scenarios.as_discovery(benchmark, "
            "inputs=model.inputs) make the views"
        )
    return sample


class StockLabels:
    """Rows of the head for the labels of one stock benchmark.

    A label gets the next free row when it first shows: experience by experience, ascending within
    one, so rows hang on no order of samples.

    Args:
        mode: "mask" shows the labels of the first experience alone, "use" those of every one.

    Attributes:
        labels: original label of row k, at place k.
    """

    def __init__(self, mode: str) -> None:
        if mode not in STOCK_LABELS:
            raise InputError(f"stock_labels is {mode!r}; wanted 'mask' or 'use'")
        self.mode = mode
        self.labels: list[int] = []
        self._num_seen = 0
        self._order: tuple[Any, list[int]] = (None, [])

    def adopt(self, experience: Any, stage: int, inputs: InputSpec, num_views: int) -> Any:
        """What a strategy trains on in place of a stock experience: a copy, see above.

        Stock memories keep the data set of this copy, so they hold no hidden label either.

        Raises:
            InputError: if the run did not begin with a stock experience, or see `fitting`.
        """
        if stage and not self.labels:
            raise InputError(
                "stage 0 was no stock experience, so no label has a row yet; give the experiences "
                "of one benchmark in order, or the stages of one scenario"
            )
        given = _targets(experience)
        if stage and self.mode == "mask":
            rows = np.full(len(given), UNLABELED)
        else:
            fresh = set(given.tolist()) - {UNLABELED} - set(self.labels)
            self.labels += sorted(fresh)
            rows = _rows(given, self.labels)
        if not stage:
            log.info("stock benchmark: %s", _MODES[self.mode])
        adopted = _copied(experience, rows, inputs, self._num_seen)
        self._num_seen += len(rows)
        _tell(adopted, rows)
        for name in _WAYS_BACK:
            if not isinstance(adopted.__dict__.get(name), ExperienceAttribute | None):
                adopted.__dict__[name] = ExperienceAttribute(adopted.__dict__[name])
        if not stage and num_views > 1:
            _notice_equal_views(adopted.dataset, num_views)
        return adopted

    def shows(self, experience: Any) -> bool:
        """A label of an adopted experience can be seen."""
        return self.mode == "use" and set(experience.dataset.targets) != {UNLABELED}

    def answers(self, experience: Any, inputs: InputSpec) -> Any:
        """What is evaluated in place of a stock experience: its labels as rows.

        Labels that have no row are numbered behind those that have one, in the order of the
        experiences of the stream under evaluation; so they count as novel classes.
        """
        stream = getattr(experience, "origin_stream", None)
        if stream is None or self._order[0] is not stream:
            whole = stream if hasattr(stream, "__len__") and len(stream) else [experience]
            self._order = stream, _first_met(whole)
        known = [*self.labels, *(c for c in self._order[1] if c not in set(self.labels))]
        given = _targets(experience)
        known += sorted(set(given.tolist()) - set(known) - {UNLABELED})
        return _copied(experience, _rows(given, known), inputs)

    def state_dict(self) -> dict[str, Any]:
        """Plain data for the checkpoint."""
        return {"labels": list(self.labels), "num_seen": self._num_seen}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.labels = [int(label) for label in state["labels"]]
        self._num_seen = int(state["num_seen"])


def supervised_recipe(base: Recipe, continual: Recipe, kept_terms: Sequence[str]) -> Recipe:
    """Of a later stage whose labels are used: the continual one, for the base terms.

    Args:
        base, continual: recipes of a strategy.
        kept_terms: names of continual terms to add, with their weights there if it has them.
    """
    kept = {name: continual.weights[name] for name in kept_terms if name in continual.weights}
    return replace(continual, weights={**base.weights, **kept})


def _copied(experience: Any, rows: np.ndarray, inputs: InputSpec, first: int = 0) -> Any:
    """The experience with another data set, sharing its samples but no attribute box.

    Its samples are numbered from `first` on: random views of two experiences differ.
    """
    copied = copy.copy(experience)
    for name, value in list(copied.__dict__.items()):
        if isinstance(value, ExperienceAttribute):
            copied.__dict__[name] = copy.copy(value)
    dataset = experience.dataset
    tasks = getattr(dataset, "targets_task_labels", None)
    copied._dataset = stage_dataset(
        range(-first, len(rows)),  # from a sample's number to its place
        first + np.arange(len(rows)),
        rows,
        train_transform=StockViews(dataset.train(), inputs),
        eval_transform=StockView(dataset.eval(), inputs),
        task_labels=None if tasks is None else [int(task) for task in tasks],
    )
    return copied


def _tell(adopted: Any, rows: np.ndarray) -> None:
    """Sets of classes that some benchmarks keep: the rows that show here, nothing of others."""
    for name in _TOLD & adopted.__dict__.keys():
        kind = type(adopted.__dict__[name])
        shown = sorted(set(rows.tolist()) - {UNLABELED})
        adopted.__dict__[name] = kind(shown if name == "classes_in_this_experience" else ())


def _notice_equal_views(dataset: Any, num_views: int) -> None:
    with drawing(Draw(num_views=num_views)):
        few = [dataset.train()[place][0] for place in range(min(_FEW, len(dataset)))]
    if few and all(torch.equal(views[0], view) for views in few for view in views[1:]):
        log.warning(
            "the benchmark's training transform draws nothing, so all views of a sample are equal "
            "and contrast learns little; give it a random one, or use scenarios.as_discovery"
        )


def _targets(experience: Any) -> np.ndarray:
    return np.asarray([int(label) for label in experience.dataset.targets], dtype=np.int64)


def _rows(labels: np.ndarray, known: Sequence[int]) -> np.ndarray:
    """Place of each label in `known`, `UNLABELED` stays."""
    row = {label: place for place, label in enumerate(known)} | {UNLABELED: UNLABELED}
    return np.asarray([row[label] for label in labels.tolist()], dtype=np.int64)


def _first_met(experiences: Iterable[Any]) -> list[int]:
    """Labels in the order of the experiences they first occur in, ascending within one."""
    met: dict[int, None] = {}
    for experience in experiences:
        met |= dict.fromkeys(sorted(set(_targets(experience).tolist()) - {UNLABELED} - met.keys()))
    return list(met)
