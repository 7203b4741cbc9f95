"""What answers a stream: a book of categories, read and grown one sample at a time."""

from __future__ import annotations

from typing import Any, NamedTuple, Protocol

import numpy as np


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


class CategoryBook(Protocol):
    """Categories of a stream; ids are for life and depend on the samples in order, on nothing else.

    Samples come as an array of one row each, which the strategy makes: packed codes or features.
    Known classes have the ids below `num_known`.

    Attributes:
        distance_name: of what `Assignment.distance` measures.
        distance_type: its dtype.
    """

    distance_name: str
    distance_type: type

    def __len__(self) -> int:
        """Number of ids handed out."""

    @property
    def num_known(self) -> int:
        """Known classes; theirs are the ids below."""

    @property
    def num_created(self) -> int:
        """Categories opened by the stream."""

    @property
    def names_known(self) -> bool:
        """An answer below `num_known` is the name of a class."""

    @property
    def version(self) -> int:
        """Grows with every change."""

    def observe(self, rows: np.ndarray, /) -> Assignment:
        """Assigns samples in order and remembers them."""

    def look_up(self, rows: np.ndarray, /) -> Assignment:
        """What `observe` would answer to each sample if it came next; changes nothing."""

    def state_dict(self) -> dict[str, Any]:
        """A copy of everything kept, which no later change reaches."""

    def load_state_dict(self, state_dict: dict[str, Any]) -> Any:
        """Becomes the book of a state, of any number of entries."""
