"""The values of a protocol, checked field by field, each message by the name of the field."""

from __future__ import annotations

from collections.abc import Sequence
from numbers import Integral, Real
from typing import NoReturn

import numpy as np

from cgcd.vocabulary import InputError


class CheckedFields:
    """A dataclass of a protocol whose values are checked field by field, each message by name."""

    def check_whole(
        self, field: str, low: int, wanted: str, example: str, below: int | None = None
    ) -> None:
        """Refuses what is no whole number in [low, below)."""
        value = getattr(self, field)
        if not is_whole(value) or value < low or (below is not None and value >= below):
            self.refuse(field, wanted, example)
        object.__setattr__(self, field, int(value))

    def check_seed(self, field: str) -> None:
        """Refuses what is no seed of NumPy's legacy generator."""
        self.check_whole(field, 0, "a seed from 0 to 2**32 - 1", "0", below=2**32)

    def check_share(self, field: str, example: str) -> None:
        """Refuses what is no share in (0, 1]."""
        value = getattr(self, field)
        if not is_number(value) or not 0 < float(value) <= 1:
            self.refuse(field, "a share above 0 and at most 1", example)

    def check_range(
        self, field: str, low: float, high: float, wanted: str, example: str | None = None
    ) -> None:
        """Refuses what is no finite number in [low, high]."""
        value = getattr(self, field)
        if not is_number(value) or not low <= float(value) <= high or np.isinf(float(value)):
            self.refuse(field, wanted, example or low)

    def check_word(self, field: str, words: Sequence[str]) -> None:
        """Refuses what is none of `words`."""
        if getattr(self, field) not in words:
            self.refuse(field, " or ".join(words), words[0])

    def check_list(self, field: str, low: int, wanted: str, example: str) -> None:
        """Refuses what is no list of whole numbers >= low, and makes it a tuple."""
        value = getattr(self, field)
        is_list = isinstance(value, Sequence | np.ndarray) and not isinstance(value, str)
        if not is_list or not len(value) or not all(is_whole(v) and v >= low for v in value):
            self.refuse(field, wanted, example)
        object.__setattr__(self, field, tuple(int(v) for v in value))

    def check_classes(self, field: str, words: Sequence[str]) -> None:
        """Refuses what is neither one of `words` nor a list of different class ids."""
        value = getattr(self, field)
        if isinstance(value, str) and value in words:
            return
        wanted = f"{', '.join(words)}, or a list of different class ids, 0 or more"
        self.check_list(field, 0, wanted, words[0])
        if len(set(getattr(self, field))) != len(value):
            self.refuse(field, wanted, words[0])

    def refuse(self, field: str, wanted: str, example: object) -> NoReturn:
        """Raises the InputError that names the field, its value and a value that would do."""
        given = shortened(getattr(self, field))
        refuse(field, given, wanted, f"set scenario.protocol.{field}={example}")


def is_whole(value: object) -> bool:
    """An integer of any kind that is no truth value."""
    return isinstance(value, Integral) and not isinstance(value, bool)


def is_number(value: object) -> bool:
    """A real number of any kind that is no truth value."""
    return isinstance(value, Real) and not isinstance(value, bool)


def shortened(value: object) -> str:
    """A value for a message, at most 60 characters."""
    text = repr(value) if not isinstance(value, tuple) else repr(list(value))
    return text if len(text) <= 60 else f"{text[:57]}..."


def refuse(field: str, given: str, wanted: str, mend: str) -> NoReturn:
    """Raises the InputError about a field of a protocol."""
    raise InputError(f"protocol.{field} is {given}; wanted {wanted}: {mend}")
