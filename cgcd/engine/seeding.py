"""One seed, many independent streams: every random choice is a function of what it is for.

Nothing here depends on what ran before, so the number of workers, the place where a run resumes and
the order in which stages are asked for cannot change a result.
"""

from __future__ import annotations

import random
import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass

import numpy as np
import torch


@dataclass(frozen=True)
class Draw:
    """Which random views are wanted: set by the engine around every access to a training image.

    Attributes:
        seed, stage, epoch: of the run, all >= 0.
        num_views: random views V of one image.
        phase: 0 in a stage's training, 1 in the warm-up.
        repeat: how often the image was drawn before in this epoch; 0 but for samplers that draw
            with replacement.
    """

    seed: int = 0
    stage: int = 0
    epoch: int = 0
    num_views: int = 2
    phase: int = 0
    repeat: int = 0


_VIEWS = 1 << 62  # keeps the keys of views apart from those of the composer's draws

_NOBODY_ASKED = Draw()

_draw: ContextVar[Draw] = ContextVar("draw", default=_NOBODY_ASKED)


def current_draw() -> Draw:
    """The draw that is wanted now; seed 0, stage 0, epoch 0, two views where nobody asked."""
    return _draw.get()


@contextmanager
def drawing(draw: Draw) -> Iterator[None]:
    """Everything inside sees `draw` as the current one."""
    token = _draw.set(draw)
    try:
        yield
    finally:
        _draw.reset(token)


def uniforms(draw: Draw, sample_id: int, view: int, count: int) -> np.ndarray:
    """`count` numbers in [0, 1), a function of the fields of `draw`, the sample and the view."""
    bits = np.random.Philox(
        key=[draw.seed, _VIEWS + 2 * draw.stage + draw.phase],
        counter=[draw.repeat << 32, view, sample_id, draw.epoch],
    )
    return np.random.Generator(bits).random(count)


def batch_uniforms(draw: Draw, sample_ids: Sequence[int], count: int) -> np.ndarray:
    """The same numbers for many samples, (B, V, count): what augmenting a whole batch needs."""
    return np.stack(
        [[uniforms(draw, i, v, count) for v in range(draw.num_views)] for i in sample_ids]
    )


def numpy_generator(seed: int, *purpose: int | str) -> np.random.Generator:
    """A generator of its own for `purpose`, such as `numpy_generator(seed, stage, "order")`."""
    return np.random.default_rng(_entropy(seed, purpose))


def torch_generator(seed: int, *purpose: int | str) -> torch.Generator:
    """As `numpy_generator`, for torch, on the CPU."""
    return torch.Generator().manual_seed(_number(seed, purpose))


@contextmanager
def isolated_randomness(seed: int, *purpose: int | str) -> Iterator[None]:
    """Inside, the global generators of torch, numpy and Python are a function of the arguments.

    For code that knows no other randomness: timm's initialization, dropout, stock plugins. Outside
    nothing is noticed: all three states are put back.
    """
    python, legacy = random.getstate(), np.random.get_state()
    devices = range(torch.cuda.device_count()) if torch.cuda.is_initialized() else ()
    number = _number(seed, purpose)
    try:
        with torch.random.fork_rng(devices=devices):
            torch.manual_seed(number)
            random.seed(number)
            np.random.seed(number % 2**32)
            yield
    finally:
        random.setstate(python)
        np.random.set_state(legacy)


@contextmanager
def preserved_randomness() -> Iterator[None]:
    """Whatever is drawn inside leaves the global generators as they were."""
    python, legacy = random.getstate(), np.random.get_state()
    devices = range(torch.cuda.device_count()) if torch.cuda.is_initialized() else ()
    try:
        with torch.random.fork_rng(devices=devices):
            yield
    finally:
        random.setstate(python)
        np.random.set_state(legacy)


def _entropy(seed: int, purpose: Sequence[int | str]) -> list[int]:
    return [seed, *(zlib.crc32(p.encode()) if isinstance(p, str) else p for p in purpose)]


def _number(seed: int, purpose: Sequence[int | str]) -> int:
    return int(np.random.SeedSequence(_entropy(seed, purpose)).generate_state(1, np.uint64)[0]) >> 1
