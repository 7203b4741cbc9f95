"""The live door: a finished on-line run that goes on answering, image by image.

    with open_run("runs/digits_online-phe-s0-...") as live:
        answer = live.observe(image)

One process may write, many may read: the book is stored whole after every call that changes it, so
a reader sees it as it was before or after that call, never in between.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
from filelock import FileLock, Timeout

from cgcd.cli.folders import LIVE, LIVE_LOCK, stored_results
from cgcd.cli.parts import instantiated, set_computation, usable_device
from cgcd.cli.stored_config import stored_config
from cgcd.engine import OnlineStrategy
from cgcd.engine.cache import read_whole, write_whole
from cgcd.engine.checkpoint import latest, restore
from cgcd.engine.stream import stored_rows
from cgcd.live_inputs import LiveInputs
from cgcd.memory import Assignment, CategoryBook
from cgcd.models import GCDModel
from cgcd.vocabulary import InputError

_MAKE_ONE = "make one with cgcd run strategy=phe scenario=digits_online"
_ANEW = "run it anew with overwrite=true"


def open_run(
    folder: str | Path,
    *,
    read_only: bool = False,
    device: str = "cpu",
    trust_code: bool = False,
) -> LiveRun:
    """Open a finished on-line run for live use; it goes on from the end of its stream.

    Args:
        folder: of the run, as `cgcd run` left it.
        read_only: look up only; any number of readers may be open beside one writer.
        device: where the model lives.
        trust_code: let the stored config name classes of other packages than ours, torch's
            optimizers, torchvision's transforms and Avalanche's plugins; they are imported and
            called.

    Raises:
        InputError: if the folder holds no finished on-line run or a damaged one, another process
            writes to it, the device cannot be used, or its config names a foreign class.
    """
    folder = Path(folder)
    device = str(usable_device(device))
    _stored(folder)  # nothing is written to a folder that is no run
    lock = None if read_only else _lock(folder)
    try:
        results = _stored(folder)  # of the run that is there now, under the lock
        config = stored_config(folder, trust_code)
        strategy, run = _trained(folder, config, device)
        inputs = LiveInputs(strategy.model.inputs, config["scenario"], results)
        return LiveRun(folder, strategy, inputs, results, run=run, lock=lock)
    except BaseException:
        if lock is not None:
            lock.release()
        raise


class LiveRun:
    """Answers inputs with ids, for ever; close it, or use it in a `with` block.

    Attributes:
        strategy: the trained strategy; `strategy.book` holds the categories.
        known_names: names of the known classes by id.
        read_only: it looks up only.
    """

    def __init__(
        self,
        folder: Path,
        strategy: OnlineStrategy,
        inputs: LiveInputs,
        results: Mapping[str, Any],
        *,
        run: str,
        lock: FileLock | None,
    ) -> None:
        self.folder, self.strategy, self.read_only = folder, strategy, lock is None
        self.known_names = tuple(results["known_class_names"])
        self._inputs, self._run, self._lock = inputs, run, lock
        self._stream_length: int = results["stream_length"]
        self._path = folder / LIVE / "book.safetensors"
        self.refresh()

    def observe(self, inputs: Any) -> Assignment:
        """Answer in order and keep what is new; when this returns, it is on disk.

        If it cannot be stored, nothing has happened: the book is the one before.

        Args:
            inputs: an image (PIL, or uint8 (H, W, 3)) as it is in the run's data, a list of images,
                or a tensor of inputs under the run's evaluation transform; for a model of vectors
                one (D,) or several (N, D), as they come. Nothing may be given.

        Returns:
            Ids, whether each opened its category, and its distance; see `Assignment`.

        Raises:
            InputError: if it is closed or was opened to read only, or an input does not fit.
            OSError: if the book cannot be written.
        """
        self._check_writable()
        tensor, before, version = self._inputs(inputs), self._book.state_dict(), self._book.version
        try:
            answer = self.strategy.observe(tensor)
            if self._book.version != version:
                self.save()
        except BaseException:
            self.strategy.book = self.strategy.new_book()
            self.strategy.book.load_state_dict(before)
            raise
        return answer

    def look_up(self, inputs: Any) -> Assignment:
        """As `observe`, but nothing is kept; -1 for what would open a category."""
        return self.strategy.look_up(self._inputs(inputs))

    def names(self, ids: Sequence[int] | np.ndarray) -> list[str]:
        """Names of known classes, `new-<id>` of categories, `unknown` of -1."""
        named = self.known_names if self._book.num_known else ()
        return [
            "unknown" if i < 0 else named[i] if i < len(named) else f"new-{i}"
            for i in np.asarray(ids).tolist()
        ]

    def refresh(self) -> None:
        """Read the book as it is on disk now.

        Raises:
            InputError: if it is damaged, incomplete, or of another run.
        """
        self.strategy.book = self._live_book() if self._path.is_file() else self._book_of_stream()

    def save(self) -> None:
        """Store the book, whole or not at all.

        Raises:
            InputError: if it is closed or was opened to read only.
            OSError: if it cannot be written.
        """
        self._check_writable()
        write_whole(self._path, self._book.state_dict(), {"run": self._run})

    def close(self) -> None:
        """Let another process write; looking up goes on."""
        if self._lock is not None:
            self._lock.release()
            self._lock = None

    def __enter__(self) -> LiveRun:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    @property
    def _book(self) -> CategoryBook:
        book = self.strategy.book
        assert book is not None  # `refresh` made it
        return book

    def _check_writable(self) -> None:
        if self._lock is None:
            state = "open to read only" if self.read_only else "closed"
            raise InputError(f"{self.folder} is {state}; use look_up, or open it anew")

    def _live_book(self) -> CategoryBook:
        go_on = "put a copy back, or remove it to go on from the end of the run's stream"
        stored = read_whole(self._path)
        if stored is None:
            raise InputError(f"{self._path} is damaged; {go_on}")
        tensors, texts = stored
        if texts.get("run") != self._run:
            raise InputError(f"{self._path} belongs to another run than the folder holds; {go_on}")
        book = self.strategy.new_book()
        try:
            book.load_state_dict(tensors)
        except RuntimeError as error:  # torch's word for missing and unexpected tensors
            reason = " ".join(str(error).split())
            raise InputError(f"{self._path} holds no book ({reason}); {go_on}") from error
        return book

    def _book_of_stream(self) -> CategoryBook:
        book, count = self.strategy.new_book(), 0
        for rows in stored_rows(self.folder / "checkpoints" / "stream"):
            book.observe(rows)
            count += len(rows)
        if count != self._stream_length:
            raise InputError(
                f"{self.folder} holds whole windows of {count} of the {self._stream_length} samples"
                " of its stream; remove its results.json and give the command that made it again, "
                "which answers the others, or run it anew with overwrite=true"
            )
        return book


# -------------------------------------------------------------------- opening


def _stored(folder: Path) -> dict[str, Any]:
    """Results of a finished on-line run."""
    results = stored_results(folder)
    if results is None or results.get("setting") != "online":
        raise InputError(f"{folder} holds no finished on-line run; {_MAKE_ONE}")
    names, length = results.get("known_class_names"), results.get("stream_length")
    if not isinstance(names, list) or not isinstance(length, int):
        raise InputError(
            f"{folder / 'results.json'} lacks known_class_names or stream_length; {_ANEW}"
        )
    return results


def _lock(folder: Path) -> FileLock:
    path = folder / LIVE_LOCK
    lock = FileLock(path)
    try:
        path.parent.mkdir(exist_ok=True)
        lock.acquire(timeout=0)
    except Timeout as error:
        raise InputError(
            f"another process answers with {folder}; open it with read_only=True"
        ) from error
    except OSError as error:
        raise InputError(
            f"{folder} cannot be written ({error.strerror}); open it with read_only=True"
        ) from error
    return lock


def _trained(folder: Path, config: Mapping[str, Any], device: str) -> tuple[OnlineStrategy, str]:
    """The strategy as its training left it, and the digest of that state."""
    own = {"pretrained": False, "weights": None}  # the run's own weights are stored
    model = instantiated({**config["model"], **own}, "model")
    if not isinstance(model, GCDModel):
        raise InputError(f"model in {folder / 'config.yaml'} names no GCDModel; {_ANEW}")
    set_computation(model, config)
    given = {**config["strategy"], "device": device, "warm_up": None}
    strategy = instantiated(given, "strategy", model=model)
    if not isinstance(strategy, OnlineStrategy):
        raise InputError(f"strategy in {folder / 'config.yaml'} is no on-line one; {_ANEW}")
    found = latest(folder / "checkpoints")
    if found is None:
        raise InputError(f"{folder} has lost its checkpoints; {_ANEW}")
    try:
        restore(strategy, found, folder / "checkpoints")
    except (KeyError, TypeError) as error:
        raise InputError(f"the checkpoint in {folder} is damaged ({error}); {_ANEW}") from error
    return strategy, found.state["sha256"]
