"""What answers a stream: a book of categories, read and grown one sample at a time."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn


class Assignment(NamedTuple):
    """What a book answers to N samples.

    Attributes:
        ids: category of each, >= 0, (N,) int64; -1 where `look_up` finds none.
        is_new: whether the sample opened its category, or to `look_up` would open one, (N,) bool.
        distance: to the nearest entry there was when the sample came, (N,): to the entry of `ids`
            or, where `is_new`, too far for one; -1 where there was none to compare. Of codes the
            bits that differ, int64; of prototypes 1 - cosine, float64.
    """

    ids: np.ndarray
    is_new: np.ndarray
    distance: np.ndarray


class CategoryBook(nn.Module, ABC):
    """Categories of a stream; ids are for life and depend on the samples in order, on nothing else.

    Samples come as an array of one row each, which the strategy makes: packed codes or features.
    Known classes have the ids below `num_known`. Everything stays in numpy on the processor;
    `.to()` moves nothing. A state dict of any number of entries loads.

    Attributes:
        distance_name: of what `Assignment.distance` measures.
        distance_type: its dtype.
    """

    distance_name: str
    distance_type: type

    _size: int
    _num_known: int

    def __len__(self) -> int:
        """Number of ids handed out: `num_known` + `num_created`."""
        return self._size

    @property
    def num_known(self) -> int:
        """Known classes; theirs are the ids below."""
        return self._num_known

    @property
    def num_created(self) -> int:
        """Categories opened by the stream, those that answer no more too."""
        return self._size - self._num_known

    @property
    def names_known(self) -> bool:
        """An answer below `num_known` is the name of a class."""
        return self._num_known > 0

    @property
    @abstractmethod
    def version(self) -> int:
        """Grows with every change."""

    def observe(self, rows: np.ndarray) -> Assignment:
        """Assigns samples in order and remembers them."""
        return self._assign(rows, learn=True)

    def look_up(self, rows: np.ndarray) -> Assignment:
        """What `observe` would answer to each sample if it came next; changes nothing."""
        return self._assign(rows, learn=False)

    @abstractmethod
    def _assign(self, rows: np.ndarray, learn: bool) -> Assignment:
        """The answers, in order; with `learn` the book changes by each before the next."""

    @abstractmethod
    def _state(self) -> dict[str, np.ndarray | int]:
        """Everything kept, by name."""

    @abstractmethod
    def _restore(self, state: dict[str, np.ndarray]) -> None:
        """Becomes the book of a state with the names of `_state`.

        Raises:
            InputError: if it is damaged, or that of another kind of book.
        """

    def _save_to_state_dict(
        self, destination: dict[str, Any], prefix: str, keep_vars: bool
    ) -> None:
        for name, value in self._state().items():
            destination[prefix + name] = torch.from_numpy(np.array(value, order="C"))

    def _load_from_state_dict(
        self,
        state_dict: Mapping[str, Tensor],
        prefix: str,
        local_metadata: dict[str, Any],
        strict: bool,
        missing_keys: list[str],
        unexpected_keys: list[str],
        error_msgs: list[str],
    ) -> None:
        wanted = {prefix + name: name for name in self._state()}
        if strict:
            others = [key for key in state_dict if key.startswith(prefix) and key not in wanted]
            unexpected_keys.extend(others)
        missing = [key for key in wanted if key not in state_dict]
        if missing:  # half a state is no book; torch reports what is missing
            missing_keys.extend(missing)
            return
        self._restore({name: state_dict[key].numpy(force=True) for key, name in wanted.items()})
