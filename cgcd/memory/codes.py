"""Categories as hash codes: an open-ended book of packed codes, read and grown one code at a time.

Source: Zheng et al., PHE, NeurIPS 2024, arXiv 2410.19213, algorithm 1; with radius 0 and no known
class Du et al., SMILE, CVPR 2023.
"""

from __future__ import annotations

from collections.abc import Hashable
from itertools import repeat

import numpy as np
from torch import Tensor

from cgcd.memory.book import Assignment, CategoryBook
from cgcd.vocabulary import InputError

_MAX_BITS = 1024
_WORD = 64  # bits
_CHUNK = 4096  # codes that are looked for in the hash map at once
# Distances of a block stay in the processor's cache: 32 codes to 4,096 entries, 1 MB of words.
_BLOCK_PAIRS = 2**17
_BLOCK_CODES = 256
_CENTERS = ("used", "ignored")
_KINDS = {  # by attribute: how to speak of a book that has another value, the setting to name
    "num_bits": ("of {} bits", "code_length"),
    "radius": ("of radius {}", "radius"),
    "known_centers": ("with known centers {}", "known_centers"),
}


def pack(bits: np.ndarray | Tensor) -> np.ndarray:
    """Packs bits into words: bit i of a code is bit i % 64, from the lowest, of word i // 64.

    Args:
        bits: an array or a tensor on any device, (N, L) bool, 1 <= L <= 1024; N may be 0.

    Returns:
        Words, (N, ceil(L / 64)) uint64; spare bits are 0.

    Raises:
        InputError: if `bits` are not bool or their shape does not fit.

    >>> pack(np.array([[True, False, True]]))
    array([[5]], dtype=uint64)
    """
    array = bits.numpy(force=True) if isinstance(bits, Tensor) else np.asarray(bits)
    if array.dtype != bool or array.ndim != 2 or not 1 <= array.shape[1] <= _MAX_BITS:
        raise InputError(
            f"bits are {array.dtype} of shape {array.shape}, wanted bool of shape (N, L) with L in "
            f"1..{_MAX_BITS}; pass hash features > 0"
        )
    num_codes, num_bits = array.shape
    packed = np.zeros((num_codes, _num_words(num_bits) * 8), dtype=np.uint8)
    packed[:, : -(-num_bits // 8)] = np.packbits(array, axis=1, bitorder="little")
    return packed.view("<u8").astype(np.uint64)


def unpack(words: np.ndarray, num_bits: int) -> np.ndarray:
    """The bits that `pack` was given, (N, L) bool.

    Args:
        words: (N, ceil(L / 64)) uint64.
        num_bits: L, in 1..1024.

    Raises:
        InputError: if `words` are not codes of `num_bits` bits.
    """
    _check_words(words, num_bits)
    lowest_first = np.ascontiguousarray(words, dtype="<u8").view(np.uint8)
    return np.unpackbits(lowest_first, axis=1, count=num_bits, bitorder="little").astype(bool)


class HashCodebook(CategoryBook):
    """Answers each code of a stream with a category at once, and opens one where none is near.

    A code that is in the book belongs to the first category that has it. Another belongs to the
    nearest entry if that is within the radius, of equally near ones to the lowest id. Any other
    becomes an entry itself, under the next id. Codes within a radius are not kept: no entry moves
    and no id is ever taken back, so ids depend on the codes in order and on nothing else, least of
    all on how they are cut into batches. It is leader clustering: the order of a stream matters,
    except at radius 0, where equal codes are one category.

    All methods take codes as `pack` makes them: words, (N, W) uint64 with W = ceil(L / 64), where
    N may be 0. A state dict loads if code length, radius and `known_centers` are the book's own.

    Args:
        num_bits: L, the length of a code in bits, 1..1024.
        radius: how many bits a code may differ from its category, 0..L; 0 is SMILE's rule.
        known_centers: "used", or "ignored": the ids of known classes are kept free, but no code
            is compared with theirs, and every category grows from the stream.

    Raises:
        InputError: if an argument is out of range, if words are not codes of L bits, or if the
            state of another kind of book is loaded.

    Source: arXiv 2410.19213. Algorithm 1 takes the first entry within the radius, the authors'
    code and this the nearest. "ignored" is how the released code behaves: it compares centers of
    -1 and +1 with codes of 0 and 1, so that a center can be hit only if almost all of it is ones.
    """

    distance_name: str = "hamming_distance"
    distance_type: type = np.int64

    _entries: np.ndarray  # (W, capacity), of which [:, :_size] is the book
    _owners: dict[Hashable, int]  # first id of each code that can be hit

    def __init__(self, num_bits: int, radius: int = 0, known_centers: str = "used") -> None:
        super().__init__()
        if not isinstance(num_bits, int) or not 1 <= num_bits <= _MAX_BITS:
            raise InputError(
                f"a code of {num_bits} bits was asked for, wanted a whole number in "
                f"1..{_MAX_BITS}; set code_length=12"
            )
        if not isinstance(radius, int) or not 0 <= radius <= num_bits:
            raise InputError(
                f"a radius of {radius} bits was asked for, wanted a whole number in "
                f"0..{num_bits}, the length of the codes; set radius=1"
            )
        if known_centers not in _CENTERS:
            raise InputError(
                f"known_centers is {known_centers!r}, wanted one of {', '.join(_CENTERS)}; set "
                "known_centers=used"
            )
        self.num_bits = num_bits
        self.radius = radius
        self.known_centers = known_centers
        self._refill(np.empty((0, _num_words(num_bits)), dtype=np.uint64), num_known=0)

    @property
    def names_known(self) -> bool:
        """An answer below `num_known` is the name of a class."""
        return super().names_known and self.known_centers == "used"

    @property
    def version(self) -> int:
        """Number of entries: they never change."""
        return self._size

    @property
    def words(self) -> np.ndarray:
        """A copy of all codes by id, those of ignored known classes too, (B, W) uint64."""
        return self._entries[:, : self._size].T.copy()

    def duplicates(self) -> int:
        """Known classes whose code an earlier one has already, so that no code is theirs."""
        return self._num_known - len(np.unique(self.words[: self._num_known], axis=0))

    def add_known(self, words: np.ndarray) -> None:
        """Enters the known classes in order, ids 0..K-1, before anything else.

        Two may have one code; the first of them owns it.

        Raises:
            ValueError: if the book is not empty.
        """
        _check_words(words, self.num_bits)
        if self._size:
            raise ValueError(
                f"the book holds {self._size} codes already, wanted an empty one; add the known "
                "classes once and before the stream"
            )
        self._refill(words, num_known=len(words))

    def _assign(self, words: np.ndarray, learn: bool) -> Assignment:
        """Assigns codes in order; the book grows by those that are near to no entry."""
        _check_words(words, self.num_bits)
        ids = np.empty(len(words), dtype=np.int64)
        is_new = np.zeros(len(words), dtype=bool)
        distance = np.zeros(len(words), dtype=np.int64)
        for start in range(0, len(words), _CHUNK):
            chunk = words[start : start + _CHUNK]
            owners = map(self._owners.get, _keys(chunk), repeat(-1))
            ids[start : start + _CHUNK] = np.fromiter(owners, np.int64, len(chunk))
            misses = start + np.flatnonzero(ids[start : start + _CHUNK] < 0)
            while len(misses):
                num_codes = min(_BLOCK_CODES, max(1, _BLOCK_PAIRS // max(1, self._size)))
                block, misses = misses[:num_codes], misses[num_codes:]
                ids[block], is_new[block], distance[block] = self._assign_block(words[block], learn)
        return Assignment(ids, is_new, distance)

    def _assign_block(self, codes: np.ndarray, learn: bool) -> Assignment:
        """Assigns codes of which none was in the book when their chunk began."""
        ids, distance = _nearest(codes, self._entries[:, self._first : self._size], self.num_bits)
        ids += self._first
        is_new = distance > self.radius
        if not learn:
            ids[is_new] = -1
        else:
            for i in np.flatnonzero(is_new).tolist():
                if distance[i] <= self.radius:  # since then an entry was opened that is near
                    is_new[i] = False
                    continue
                ids[i] = self._append(codes[i])
                later = slice(i + 1, None)
                to_new = _distances(codes[later], codes[i][:, None], self.num_bits)[:, 0]
                closer = to_new < distance[later]
                ids[later][closer] = ids[i]
                distance[later][closer] = to_new[closer]
        distance[distance > self.num_bits] = -1
        return Assignment(ids, is_new, distance)

    @property
    def _first(self) -> int:
        """Id of the first entry that codes are compared with."""
        return 0 if self.known_centers == "used" else self._num_known

    def _append(self, code: np.ndarray) -> int:
        new = self._size
        if new == self._entries.shape[1]:
            wider = np.empty((len(code), max(16, 2 * new)), dtype=np.uint64)
            wider[:, :new] = self._entries
            self._entries = wider
        self._entries[:, new] = code
        self._owners.setdefault(_keys(code[None])[0], new)
        self._size += 1
        return new

    def _refill(self, words: np.ndarray, num_known: int) -> None:
        # One row per word of a code, so that a pass over the entries reads memory in order.
        self._entries = words.T.copy(order="C")
        self._size = len(words)
        self._num_known = num_known
        self._owners = {}
        for i, key in enumerate(_keys(words[self._first :]), start=self._first):
            self._owners.setdefault(key, i)

    def _state(self) -> dict[str, np.ndarray | int]:
        return {
            # Torch and safetensors know int64 better than uint64; the 64 bits are the same.
            "words": self.words.view(np.int64),
            "num_known": self._num_known,
            "num_bits": self.num_bits,
            "radius": self.radius,
            "known_centers": _CENTERS.index(self.known_centers),
        }

    def _restore(self, state: dict[str, np.ndarray]) -> None:
        words, *counts = state.values()
        if any(count.size != 1 for count in counts):
            raise InputError(
                "the stored book does not hold one number each for "
                f"{', '.join(list(state)[1:])}; the file is damaged, load another checkpoint"
            )
        num_known, *kind = (int(count.item()) for count in counts)
        self._check_kind(*kind)
        if words.dtype != np.int64 or words.ndim != 2 or not 0 <= num_known <= len(words):
            raise InputError(
                f"the stored book holds codes of type {words.dtype} and shape {words.shape} and "
                f"{num_known} known classes, wanted int64 (N, W) and no more classes than codes; "
                "the file is damaged, load another checkpoint"
            )
        words = np.ascontiguousarray(words).view(np.uint64)
        _check_words(words, self.num_bits)
        self._refill(words, num_known)

    def _check_kind(self, num_bits: int, radius: int, centers: int) -> None:
        if centers not in range(len(_CENTERS)):
            raise InputError(
                f"the stored book has known_centers {centers}, wanted 0 or 1; the file is damaged, "
                "load another checkpoint"
            )
        stored = (num_bits, radius, _CENTERS[centers])
        for (attribute, (phrase, setting)), value in zip(_KINDS.items(), stored, strict=True):
            given = getattr(self, attribute)
            if value != given:
                raise InputError(
                    f"a book {phrase.format(value)} cannot be continued with {setting}={given}; "
                    f"set {setting}={value} or start with an empty book"
                )


def _num_words(num_bits: int) -> int:
    return -(-num_bits // _WORD)


def _keys(words: np.ndarray) -> list[Hashable]:
    """Codes as keys of a hash map: an integer each, or the bytes of several words."""
    if words.shape[1] == 1:
        return words[:, 0].tolist()
    data, width = words.tobytes(), 8 * words.shape[1]
    return [data[start : start + width] for start in range(0, len(data), width)]


def _distances(codes: np.ndarray, entries: np.ndarray, num_bits: int) -> np.ndarray:
    """Hamming distances in bits of codes (n, W) to entries (W, B), (n, B) uint8 or uint16."""
    differing = np.bitwise_xor(codes[:, 0, None], entries[0])
    distances = np.bitwise_count(differing)
    if num_bits > 255:
        distances = distances.astype(np.uint16)
    for word in range(1, len(entries)):
        np.bitwise_xor(codes[:, word, None], entries[word], out=differing)
        distances += np.bitwise_count(differing)
    return distances


def _nearest(
    codes: np.ndarray, entries: np.ndarray, num_bits: int
) -> tuple[np.ndarray, np.ndarray]:
    """Index and distance of the first nearest of entries (W, B) to codes (n, W), (n,) each.

    The distance is num_bits + 1 where there is no entry.
    """
    index = np.zeros(len(codes), dtype=np.int64)
    distance = np.full(len(codes), num_bits + 1, dtype=np.int64)
    width = max(1, _BLOCK_PAIRS // max(1, len(codes)))
    for start in range(0, entries.shape[1], width):
        distances = _distances(codes, entries[:, start : start + width], num_bits)
        nearest = distances.argmin(1)
        least = distances[np.arange(len(codes)), nearest]
        closer = least < distance
        index[closer] = start + nearest[closer]
        distance[closer] = least[closer]
    return index, distance


def _check_words(words: np.ndarray, num_bits: int) -> None:
    width = _num_words(num_bits)
    if not isinstance(words, np.ndarray) or words.dtype != np.uint64:
        raise InputError(
            f"codes are {getattr(words, 'dtype', type(words).__name__)}, wanted an array of uint64 "
            "words; pass bits through pack()"
        )
    if words.ndim != 2 or words.shape[1] != width:
        raise InputError(
            f"codes have shape {words.shape}, wanted (N, {width}): {num_bits} bits in words of "
            f"{_WORD}; pass pack() bits of shape (N, {num_bits})"
        )
    spare = num_bits % _WORD
    if spare and (words[:, -1] >> np.uint64(spare)).any():
        raise InputError(
            f"codes have bits beyond the {num_bits} they should have, wanted 0 there; pass pack() "
            f"bits of shape (N, {num_bits})"
        )
