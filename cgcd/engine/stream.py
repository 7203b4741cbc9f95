"""The stream loop: train once, then answer sample by sample, window by window, and go on exactly.

What is stored of a window are its codes, packed ones or features: ids, distances and the book are
functions of the codes in their order, so a broken run is put back by answering the stored codes
again.
"""

from __future__ import annotations

import json
import logging
import re
import shutil
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.utils.data import Sampler

from cgcd.engine.baselines import Baselines
from cgcd.engine.batches import pass_batches
from cgcd.engine.cache import read_whole, write_text, write_whole
from cgcd.engine.checkpoint import save_stage
from cgcd.engine.costs import describe_run, log_end
from cgcd.engine.evaluation import stage_metrics
from cgcd.engine.online import OnlineStrategy
from cgcd.engine.processes import is_first, wait_for_all
from cgcd.engine.results import RESULTS, StreamResult
from cgcd.engine.resume import identity, resume
from cgcd.engine.stream_analysis import StreamAnswers, timed_stream_analysis
from cgcd.engine.tables import metrics_csv
from cgcd.memory import CategoryBook, PrototypeBook
from cgcd.metrics import AnswerTable, stream_accuracies
from cgcd.stages import OnlineScenario
from cgcd.tracking.cells import csv_text
from cgcd.vocabulary import UNLABELED

log = logging.getLogger(__name__)

_WINDOW_NAME = re.compile(r"window_(\d{6,})\.safetensors")


def run_stream(
    strategy: OnlineStrategy,
    scenario: OnlineScenario,
    folder: Path | None,
    facts: Mapping[str, Any],
    on_window: Callable[[Mapping[str, float]], None] | None,
) -> StreamResult:
    """Train on the labeled stage, then answer the stream in its order, a window at a time.

    Several processes share the training; each answers the whole stream, alike.

    With a folder every window leaves its codes, and the same call goes on after the last whole
    window with the same answers, bit for bit. At the end it leaves `predictions/stream.csv`,
    `metrics.csv` and `results.json`.

    Args:
        strategy: fresh; a stored state is put into it.
        scenario: base stage and stream.
        folder: of this run; None stores nothing.
        facts: plain data to keep in `results.json`.
        on_window: called with each window's row, stored ones first.
    """
    if folder is None:
        describe_run(strategy, facts)
        strategy.train(scenario.train_stream[0].train())
        stored: list[_Window] = []
    else:
        checkpoints = folder / "checkpoints"
        describe_run(strategy, facts)
        if not resume(strategy, scenario, checkpoints):
            if is_first():
                shutil.rmtree(checkpoints / "stream", ignore_errors=True)
            strategy.train(scenario.train_stream[0].train())
            kept = {"identity": identity(strategy, scenario), "rows": [{"stage": 0}]}
            if is_first():
                save_stage(strategy, checkpoints, kept)
        stored = list(_stored_windows(checkpoints / "stream"))
        wait_for_all()
        folder = folder if is_first() else None
    stream = _Stream(strategy, scenario)
    for logger in strategy.evaluator.loggers:
        if hasattr(logger, "begin_stage"):
            logger.begin_stage(1)
    for window in _windows(stream, stored, folder):
        row = stream.take(window)
        _log(strategy, stream, row)
        if on_window is not None:
            on_window(row)
    spent = timed_stream_analysis(
        strategy,
        scenario,
        folder,
        StreamAnswers(stream.ids, stream.truth, stream.is_new, stream.distance),
        [int(row["stream/seen"]) for row in stream.rows],
        stream.book.num_known,
    )
    stream.rows[-1] |= {**spent, **stream.after_merging()}
    facts = {
        **facts,
        "setting": scenario.setting,
        "stream_length": len(scenario.stream.dataset),
        "window": scenario.window,
        "known_class_names": list(scenario.class_names[: scenario.num_base]),
        **({"inverted": True} if scenario.description.get("inverted") else {}),
        **strategy.report,
    }
    result = StreamResult(stream.rows, facts)
    seconds = {f"seconds/{name.removeprefix('seconds_')}": s for name, s in spent.items()}
    log_end(strategy, 1, seconds, result.headline)
    if folder is not None:
        write_text(folder / "predictions" / "stream.csv", _predictions_csv(stream))
        write_text(folder / "metrics.csv", metrics_csv(result.rows))
        write_text(folder / RESULTS, json.dumps(result.to_json(), indent=1))
    return result


@dataclass(frozen=True)
class _Window:
    """Codes of consecutive samples as their books take them: packed words or features.

    Attributes:
        rows: of the method, (n, W) uint64 or (n, D) float32.
        closed: answers of the classifier of the known classes, (n,) int64.
        leader: the same of the untrained leader clustering, or (n, 0) without one.
        seconds: that it took.
    """

    rows: np.ndarray
    closed: np.ndarray
    leader: np.ndarray
    seconds: float


class _Stream:
    """What has come so far: the books, every answer, a row a window."""

    def __init__(self, strategy: OnlineStrategy, scenario: OnlineScenario) -> None:
        self.strategy, self.scenario = strategy, scenario
        self.book = strategy.book = strategy.new_book()
        found = [m for m in stage_metrics(strategy) if isinstance(m, Baselines)]
        self.leader = strategy.new_leader(found[0]) if found else None
        self.truth = scenario.truth
        count = len(self.truth)
        self.seen = 0
        self.ids = np.empty(count, np.int64)
        self.distance = np.empty(count, self.book.distance_type)
        self.is_new = np.empty(count, bool)
        num_known = strategy.num_base
        self.answers, self.closed, self.leader_answers = (AnswerTable(num_known) for _ in range(3))
        self.is_used = np.zeros(16, bool)  # ids that were given
        self.is_blind = False  # a sample without truth has come
        self.rows: list[dict[str, float]] = []

    def read(self, batches: Iterator[Any], count: int) -> _Window:
        """Codes of the next `count` samples; nothing is answered yet."""
        started = time.perf_counter()
        rows, closed, leader = [], [], []
        while count:
            inputs = next(batches)[0]
            count -= len(inputs)
            for trunk, real in self.strategy.fixed_batches(inputs):
                rows.append(self.strategy.book_rows(self.strategy.encode(trunk)[:real]))
                closed.append(self.strategy.predict(trunk)[:real].argmax(-1).cpu().numpy())
                if self.leader is not None:
                    leader.append(self.leader.rows(trunk)[:real])
        joined = np.concatenate(rows)
        none = np.empty((len(joined), 0), np.uint64)
        return _Window(
            joined,
            np.concatenate(closed),
            np.concatenate(leader) if leader else none,
            time.perf_counter() - started,
        )

    def take(self, window: _Window) -> dict[str, float]:
        """Answer a window and add its row."""
        part = slice(self.seen, self.seen + len(window.rows))
        self.ids[part], self.is_new[part], self.distance[part] = self.book.observe(window.rows)
        top = int(self.ids[part].max(initial=-1)) + 1
        if top > len(self.is_used):
            self.is_used = np.concatenate([self.is_used, np.zeros(2 * top, bool)])
        self.is_used[self.ids[part]] = True
        leader = None if self.leader is None else self.leader.book.observe(window.leader).ids
        truth = self.truth[part]
        self.is_blind |= bool((truth == UNLABELED).any())
        if not self.is_blind:
            self.answers.add(self.ids[part], truth)
            self.closed.add(window.closed, truth)
            if leader is not None:
                self.leader_answers.add(leader, truth)
        self.seen = part.stop
        self.rows.append(self._row(part, window.seconds))
        return self.rows[-1]

    def after_merging(self) -> dict[str, float]:
        """Of a book that merges: how often it did, and the accuracies as if it had known before.

        The merges themselves go to the strategy's report.
        """
        if not (isinstance(self.book, PrototypeBook) and self.book.merge_every):
            return {}
        self.strategy.report["merges"] = [list(merge) for merge in self.book.lineage]
        row: dict[str, float] = {"stream/merged": len(self.book.lineage)}
        if self.is_blind:
            return row
        scores = stream_accuracies(self.book.resolved(self.ids), self.truth, self.strategy.num_base)
        return row | {f"merged/{name.replace('/', '_')}": value for name, value in scores.items()}

    def _row(self, part: slice, seconds: float) -> dict[str, float]:
        row: dict[str, float] = {
            "stage": 1,
            "stream/seen": part.stop,
            "stream/num_known": self.strategy.num_base,
            "stream/categories": int(self.is_used.sum()),
            "stream/created": self.book.num_created,
            "stream/opened": float(self.is_new[part].mean()),
            "seconds": round(seconds, 3),
        }
        if self.is_blind:
            return row
        row["stream/true_novel"] = self.answers.num_novel
        row |= _scores("", self.answers, self.book)
        row |= _scores("bound/closed_set_", self.closed, None)
        if self.leader is not None:
            row |= _scores("floor/leader_", self.leader_answers, self.leader.book)
            row["floor/leader_created"] = self.leader.book.num_created
        return row


def _scores(front: str, answers: AnswerTable, book: CategoryBook | None) -> dict[str, float]:
    """Every dialect; rates by name only where ids below the number of known classes are names."""
    scores = answers.accuracies()
    if book is None or book.names_known:
        scores |= answers.rates()
    return {front + (key.replace("/", "_") if front else key): v for key, v in scores.items()}


# -------------------------------------------------------------------- reading and storing


class _Batches(Sampler[list[int]]):
    """Positions from `start` on, in order, no batch across the end of a window."""

    def __init__(self, start: int, stop: int, window: int, size: int) -> None:
        self.start, self.stop, self.window, self.size = start, stop, window, size

    def __iter__(self) -> Iterator[list[int]]:
        for first in range(self.start, self.stop, self.window):
            end = min(first + self.window, self.stop)
            for place in range(first, end, self.size):
                yield list(range(place, min(place + self.size, end)))


def _windows(stream: _Stream, stored: list[_Window], folder: Path | None) -> Iterator[_Window]:
    """The stored windows as far as they fit, then the others, each stored before it is given."""
    strategy, scenario = stream.strategy, stream.scenario
    total, size = len(stream.truth), scenario.window
    position = taken = 0
    for window in stored:
        if len(window.rows) != min(size, total - position):
            log.warning("the stored windows have another size; they are answered anew")
            break
        yield window
        position += len(window.rows)
        taken += 1
    if folder is not None:  # nobody may take what is left for a part of this stream
        for index, path in _numbered(folder / "checkpoints" / "stream"):
            if index >= taken:
                path.unlink()
    samples = scenario.stream.dataset.eval()
    order = _Batches(position, total, size, strategy.observe_batch_size)
    loader = pass_batches(
        samples,
        order,
        device=strategy.device,
        workers=strategy.workers,
        generator=strategy.generator("loader"),
    )
    batches = iter(loader)
    while position < total:
        window = stream.read(batches, min(size, total - position))
        if folder is not None:
            path = folder / "checkpoints" / "stream" / f"window_{position // size:06d}.safetensors"
            write_whole(path, _tensors(window), {"seconds": repr(window.seconds)})
        yield window
        position += len(window.rows)


def _tensors(window: _Window) -> dict[str, torch.Tensor]:
    return {
        "words": _as_tensor(window.rows),
        "closed": torch.from_numpy(window.closed),
        "leader": _as_tensor(window.leader),
    }


def _as_tensor(rows: np.ndarray) -> torch.Tensor:
    """Rows to store; torch and safetensors know int64 better than uint64."""
    return torch.from_numpy(rows.view(np.int64) if rows.dtype == np.uint64 else rows)


def _as_rows(stored: torch.Tensor) -> np.ndarray:
    return stored.numpy().view(np.uint64) if stored.dtype == torch.int64 else stored.numpy()


def stored_rows(folder: Path) -> Iterator[np.ndarray]:
    """Rows of the stored windows, (n, W) or (n, D) each, in order; nothing on disk changes."""
    return (window.rows for window in _stored_windows(folder))


def _stored_windows(folder: Path) -> Iterator[_Window]:
    """Windows without a gap from the first on; a damaged one ends them."""
    for place, (index, path) in enumerate(_numbered(folder)):
        window = _read_window(path) if index == place else None
        if window is None:
            log.warning("%s is damaged or stands alone; the stream goes on before it", path)
            return
        yield window


def _read_window(path: Path) -> _Window | None:
    found = read_whole(path)
    if found is None:
        return None
    tensors, kept = found
    try:
        rows, leader = (_as_rows(tensors[name]) for name in ("words", "leader"))
        return _Window(rows, tensors["closed"].numpy(), leader, float(kept["seconds"]))
    except (KeyError, TypeError, ValueError):  # whole, but no window
        return None


def _numbered(folder: Path) -> list[tuple[int, Path]]:
    """Window files and their numbers, ascending."""
    found = ((_WINDOW_NAME.fullmatch(path.name), path) for path in folder.glob("window_*"))
    return sorted((int(name[1]), path) for name, path in found if name)


def _log(strategy: OnlineStrategy, stream: _Stream, row: Mapping[str, float]) -> None:
    """A window's row to the strategy's loggers, over the number of samples seen."""
    seen = int(row["stream/seen"])
    size = stream.scenario.window
    last = slice((seen - 1) // size * size, seen)
    distances = torch.from_numpy(stream.distance[last]).float()
    for logger in strategy.evaluator.loggers:
        for key, value in row.items():
            if key not in ("stage", "stream/seen"):
                name = key if key.startswith("stream/") else f"stream/{key}"
                logger.log_single_metric(name, float(value), seen)
        logger.log_single_metric(f"stream/{stream.book.distance_name}", distances, seen)


def _predictions_csv(stream: _Stream) -> str:
    """One line a sample, in the order of the stream."""
    columns = "position sample true_class category category_name opened distance"
    names = stream.scenario.class_names
    num_named = stream.book.num_known
    samples = stream.scenario.stream.dataset.sample_id
    rows = (
        (
            place,
            sample,
            names[target] if target >= 0 else "",
            category,
            names[category] if category < num_named else f"new-{category}",
            int(stream.is_new[place]),
            round(stream.distance[place].item(), 6),
        )
        for place, (sample, target, category) in enumerate(
            zip(samples, stream.truth.tolist(), stream.ids.tolist(), strict=True)
        )
    )
    return csv_text([columns.split(), *rows])
