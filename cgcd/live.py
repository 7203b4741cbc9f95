"""The live door: a finished on-line run that goes on answering, image by image.

    with open_run("runs/digits_online-phe-s0-...") as live:
        answer = live.observe(image)

One process may write, many may read: the book is stored whole after every call that opens a
category, so a reader sees it as it was before or after that call, never in between.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from filelock import FileLock, Timeout
from hydra.utils import get_class
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException
from PIL import Image
from torch import Tensor

from cgcd.cli.folders import stored_results
from cgcd.cli.parts import check_targets, instantiated
from cgcd.engine import OnlineStrategy
from cgcd.engine.cache import read_whole, write_whole
from cgcd.engine.checkpoint import latest, restore
from cgcd.engine.stream import stored_words
from cgcd.memory import Assignment
from cgcd.stages import Sample
from cgcd.vocabulary import InputError


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
            optimizers and Avalanche's plugins; they are imported and called.

    Raises:
        InputError: if the folder holds no finished on-line run, another process writes to it, or
            its config names a foreign class.
    """
    folder = Path(folder)
    results = stored_results(folder)
    if results is None or results.get("setting") != "online":
        raise InputError(
            f"{folder} holds no finished on-line run; make one with cgcd run strategy=phe "
            "scenario=digits_online"
        )
    try:
        config = OmegaConf.load(folder / "config.yaml")
    except (OSError, OmegaConfBaseException, ValueError) as error:
        raise InputError(f"{folder / 'config.yaml'} cannot be read ({error})") from error
    assert isinstance(config, DictConfig)
    for part in (config.model, config.strategy):
        check_targets(part, trust_code)
    config.model.update({"pretrained": False, "weights": None})  # the run's own are stored
    config.strategy.update({"device": device, "warm_up": None})
    strategy: OnlineStrategy = instantiated(
        config.strategy, "strategy", model=instantiated(config.model, "model")
    )
    found = latest(folder / "checkpoints")
    if found is None:
        raise InputError(f"{folder} has lost its checkpoints; run it anew with overwrite=true")
    restore(strategy, found, folder / "checkpoints")
    return LiveRun(folder, strategy, config, results["known_class_names"], read_only)


class LiveRun:
    """Answers inputs with ids, for ever; close it, or use it in a `with` block.

    Attributes:
        strategy: the trained strategy; `strategy.book` holds the categories.
        known_names: names of the known classes by id.
    """

    def __init__(
        self,
        folder: Path,
        strategy: OnlineStrategy,
        config: DictConfig,
        known_names: Sequence[str],
        read_only: bool,
    ) -> None:
        self.folder, self.strategy, self.read_only = folder, strategy, read_only
        self.known_names = tuple(known_names)
        self._config = config
        self._path = folder / "live" / "book.safetensors"
        self._lock: FileLock | None = None
        if not read_only:
            self._path.parent.mkdir(exist_ok=True)
            self._lock = FileLock(folder / "live" / ".lock")
            try:
                self._lock.acquire(timeout=0)
            except Timeout as error:
                raise InputError(
                    f"another process answers with {folder}; open it with read_only=True"
                ) from error
        self.refresh()

    def observe(self, inputs: Any) -> Assignment:
        """Answer in order and keep what is new; when this returns, it is on disk.

        Args:
            inputs: an image (PIL, or uint8 (H, W, 3)), a list of images, or a tensor of inputs
                under the run's evaluation transform; vectors as they come for a model of vectors.

        Returns:
            Ids, whether each opened its category, and its distance in bits; see `Assignment`.

        Raises:
            InputError: if it was opened to read only, or an input does not fit the model.
        """
        if self.read_only:
            raise InputError(f"{self.folder} is open to read only; use look_up, or open it anew")
        answer = self.strategy.observe(self._tensor(inputs))
        if answer.is_new.any():
            self.save()
        return answer

    def look_up(self, inputs: Any) -> Assignment:
        """As `observe`, but nothing is kept; -1 for what would open a category."""
        return self.strategy.look_up(self._tensor(inputs))

    def names(self, ids: Sequence[int] | np.ndarray) -> list[str]:
        """Names of known classes, `new-<id>` of categories, `unknown` of -1."""
        named = self.known_names if self.strategy.book.num_known else ()  # type: ignore[union-attr]
        return [
            "unknown" if i < 0 else named[i] if i < len(named) else f"new-{i}"
            for i in np.asarray(ids).tolist()
        ]

    def refresh(self) -> None:
        """Read the book as it is on disk now.

        Raises:
            InputError: if it is damaged.
        """
        book = self.strategy.new_book()
        if self._path.is_file():
            stored = read_whole(self._path)
            if stored is None:
                raise InputError(
                    f"{self._path} is damaged; put a copy back, or remove it to go on from the end "
                    "of the run's stream"
                )
            book.load_state_dict(stored[0])
        else:
            for words in stored_words(self.folder / "checkpoints" / "stream"):
                book.observe(words)
        self.strategy.book = book

    def save(self) -> None:
        """Store the book, whole or not at all."""
        write_whole(self._path, self.strategy.book.state_dict(), {})  # type: ignore[union-attr]

    def close(self) -> None:
        """Let another process write."""
        if self._lock is not None:
            self._lock.release()

    def __enter__(self) -> LiveRun:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def _tensor(self, inputs: Any) -> Tensor:
        spec = self.strategy.model.inputs
        if spec.vector is not None:
            return self._vectors(torch.as_tensor(np.asarray(inputs, dtype=np.float32)))
        if isinstance(inputs, Tensor):
            return inputs
        one = isinstance(inputs, Image.Image) or (
            isinstance(inputs, np.ndarray) and inputs.ndim == 3
        )
        view = get_class("scenarios.views.CenterView")(spec)
        images = [inputs] if one else list(inputs)
        if not images:
            return torch.empty(0, *spec.shape)
        return torch.stack([view(Sample(_rgb(image), 0)) for image in images])

    def _vectors(self, vectors: Tensor) -> Tensor:
        if self._config.scenario.get("center"):
            raise InputError(
                "this run centered its embeddings, which the live door cannot; give the vectors to "
                "strategy.observe under the scenario's own view"
            )
        return F.normalize(vectors, dim=-1) if self._config.scenario.get("normalize") else vectors


def _rgb(image: Any) -> Image.Image:
    if isinstance(image, np.ndarray):
        if image.dtype != np.uint8:
            raise InputError(f"an image is {image.dtype}; wanted uint8 (H, W, 3), or a PIL image")
        image = Image.fromarray(image)
    if not isinstance(image, Image.Image):
        raise InputError(
            f"an input is a {type(image).__name__}; wanted a PIL image, uint8 (H, W, 3), or a "
            "tensor under the evaluation transform"
        )
    return image.convert("RGB")
