"""Reads the pickles in which published data sets come, without running anything they hold.

A pickle may name any function and have it called. Here it may name the few that NumPy arrays and
byte strings are written with, and each name leads to a stand-in of ours that only collects plain
data: no function of NumPy or any other package is looked up for the file.
"""

from __future__ import annotations

import pickle
import re
from collections.abc import Callable
from pathlib import Path

import numpy as np

from cgcd.vocabulary import InputError

_NUMBER = re.compile(r"[iuf][1248]|b1")


def read_pickled_dict(path: Path, mend: str) -> dict[str, object]:
    """The dictionary of arrays, lists, numbers and byte strings that a pickle holds.

    Args:
        path: a pickle of protocol 0 to 4, of Python 2 or 3; its text comes back as `bytes`.
        mend: what the user is to do, the end of every message.

    Returns:
        The dictionary; keys are decoded to `str`, arrays among the values are read-only.

    Raises:
        InputError: if there is no such file, it is cut off or damaged, names anything but plain
            data, or holds no dictionary.
    """
    if not path.is_file():
        raise InputError(f"{path} is not a file; wanted a pickled dictionary of arrays: {mend}")
    try:
        with path.open("rb") as file:
            content = _PlainUnpickler(file, fix_imports=False, encoding="bytes").load()
        if not isinstance(content, dict):
            raise ValueError(f"it holds a {type(content).__name__}")
        return {_text(key): _unwrapped(value) for key, value in content.items()}
    except _RefusedName as error:
        raise InputError(
            f"{path} asks for {error}, which plain arrays do not need, and was refused; wanted a"
            f" pickle of arrays, lists and byte strings only: fetch the original file or {mend}"
        ) from error
    except Exception as error:  # a damaged pickle can raise nearly anything; all mean the same
        raise InputError(
            f"{path} cannot be read ({type(error).__name__}: {error}); wanted a whole pickled"
            f" dictionary of arrays: fetch the file again or {mend}"
        ) from error


class _RefusedName(Exception):
    """A name outside the list of permitted ones; the message is `module.name`."""


class _PlainUnpickler(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Callable[..., object]:
        # Fresh functions each time: whatever the file does to one of them dies with this load.
        match module, name:
            case (("numpy.core.multiarray" | "numpy._core.multiarray"), "_reconstruct"):
                return lambda *_: _Array()
            case "numpy", "ndarray":  # only ever an argument of _reconstruct
                return lambda *_: None
            case "numpy", "dtype":
                return lambda code, *_: _Number(code)
            case "_codecs", "encode":  # how Python 3 writes bytes in protocols 0 to 2
                return lambda text, _: text.encode("latin1")
            case (("__builtin__" | "builtins"), "bytes"):  # the same, of no bytes at all
                return lambda: b""
        raise _RefusedName(f"{module}.{name}")


class _Number:
    """Stands in for a dtype: one of the plain numbers, its byte order given later."""

    def __init__(self, code: bytes | str) -> None:
        if not _NUMBER.fullmatch(_text(code)):
            raise ValueError(f"an array of {code!r} is not an array of plain numbers")
        self.dtype = np.dtype(_text(code))

    def __setstate__(self, state: tuple) -> None:
        order = _text(state[1])  # (version, byte order, subarray, names, fields, size, align, ...)
        self.dtype = self.dtype.newbyteorder(order)


class _Array:
    """Stands in for an ndarray: shape, number type and raw bytes, as `ndarray` pickles them."""

    value: np.ndarray | None = None

    def __setstate__(self, state: tuple) -> None:
        _version, shape, number, is_fortran, raw = state
        if not isinstance(number, _Number) or not isinstance(raw, bytes):
            raise ValueError("an array is not written as numbers and bytes")
        flat = np.frombuffer(raw, dtype=number.dtype)
        self.value = flat.reshape(shape, order="F" if is_fortran else "C")


def _text(value: object) -> str:
    if isinstance(value, bytes):
        return value.decode("utf-8")
    if isinstance(value, str):
        return value
    raise ValueError(f"{value!r} stands where text was wanted")


def _unwrapped(value: object) -> object:
    if isinstance(value, _Array):
        if value.value is None:
            raise ValueError("an array without content")
        return value.value
    return value
