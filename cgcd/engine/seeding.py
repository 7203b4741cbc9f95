"""One seed, many independent streams: every random choice is a function of what it is for.

Nothing here depends on what ran before, so the number of workers, the place where a run resumes and
the order in which stages are asked for cannot change a result.
"""

from __future__ import annotations

import hashlib
import random
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
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

_lent = np.random.MT19937(0)  # stands in for numpy's global generator, see `sample_randomness`

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


def batch_uniforms(
    draw: Draw,
    sample_ids: Sequence[int] | np.ndarray,
    count: int,
    repeats: Sequence[int] | np.ndarray | None = None,
) -> np.ndarray:
    """The same numbers for many samples, (B, V, count): what augmenting a whole batch needs.

    Args:
        draw: its `repeat` counts where `repeats` is None.
        sample_ids: (B,).
        count: numbers of each view.
        repeats: how often each sample was drawn before in this epoch, (B,).
    """
    numbers = np.empty((len(sample_ids), draw.num_views, count))
    bits = np.random.Philox(key=[draw.seed, _VIEWS + 2 * draw.stage + draw.phase])
    generator, state = np.random.Generator(bits), bits.state
    counter = state["state"]["counter"]  # putting one state back is cheaper than a new generator
    counter[3] = draw.epoch
    again = [draw.repeat] * len(sample_ids) if repeats is None else repeats
    for row, sample_id, repeat in zip(numbers, sample_ids, again, strict=True):
        counter[0], counter[2] = int(repeat) << 32, sample_id
        for view, out in enumerate(row):
            counter[1] = view
            bits.state = state
            generator.random(out=out)
    return numbers


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
def sample_randomness(draw: Draw, sample_id: int) -> Iterator[Callable[[int], None]]:
    """Gives a function of a view that seeds the global generators; outside nothing is noticed.

    For random transforms of others, which know no other randomness: what they draw is a function
    of the draw, the sample and the view. Of torch's generators only the CPU's is set, so nothing
    waits for another device.
    """
    python, legacy, own = random.getstate(), np.random.get_bit_generator(), torch.get_rng_state()
    np.random.set_bit_generator(_lent)  # ten times faster than copying a state
    fields = (draw.seed, draw.stage, draw.phase, draw.epoch, draw.repeat, sample_id)

    def seed_view(view: int) -> None:
        digest = hashlib.blake2b(repr((*fields, view)).encode(), digest_size=8).digest()
        number = int.from_bytes(digest, "little")
        torch.default_generator.manual_seed(number >> 1)
        random.seed(number)
        np.random.seed(number % 2**32)

    try:
        yield seed_view
    finally:
        random.setstate(python)
        np.random.set_bit_generator(legacy)
        torch.set_rng_state(own)


def generator_states() -> dict[str, torch.Tensor]:
    """States of the global generators of torch, numpy and Python, as tensors by name."""
    _, words, waiting = random.getstate()
    _, key, place, has_gauss, gauss = np.random.get_state()  # type: ignore[misc]
    numbers = [int(place), int(has_gauss), *(int(word) for word in key)]
    states = {
        "torch": torch.get_rng_state(),
        "numpy": torch.tensor(numbers),
        "numpy_gauss": torch.tensor(gauss, dtype=torch.float64),
        "python": torch.tensor(words),
        "python_gauss": torch.tensor([] if waiting is None else [waiting], dtype=torch.float64),
    }
    if torch.cuda.is_initialized():
        states |= {f"cuda{i}": s for i, s in enumerate(torch.cuda.get_rng_state_all())}
    return states


def set_generator_states(states: Mapping[str, torch.Tensor]) -> None:
    """Put back what `generator_states` gave; those of devices that are not here are left out."""
    torch.set_rng_state(states["torch"])
    place, has_gauss, *key = states["numpy"].tolist()
    keys = np.array(key, dtype=np.uint32)
    np.random.set_state(("MT19937", keys, place, has_gauss, float(states["numpy_gauss"])))
    waiting = states["python_gauss"].tolist()
    random.setstate((3, tuple(states["python"].tolist()), waiting[0] if waiting else None))
    if torch.cuda.is_initialized():
        for device in range(torch.cuda.device_count()):
            if f"cuda{device}" in states:
                torch.cuda.set_rng_state(states[f"cuda{device}"], device)


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
