"""The book against a plain dictionary that is asked one code after the other."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from cgcd.memory import HashCodebook, pack, unpack


class PlainBook:
    """Codes as Python integers; every distance is computed."""

    def __init__(self, radius: int, known: list[int], is_used: bool) -> None:
        self.radius, self.size = radius, len(known)
        self.entries: dict[int, int] = dict(enumerate(known)) if is_used else {}

    def observe(self, code: int) -> tuple[int, bool, int]:
        distances = [((code ^ entry).bit_count(), key) for key, entry in self.entries.items()]
        distance, key = min(distances, default=(-1, -1))
        if key >= 0 and distance <= self.radius:
            return key, False, distance
        self.entries[self.size] = code
        self.size += 1
        return self.size - 1, True, distance


def bits_of(codes: list[int], num_bits: int) -> np.ndarray:
    table = [[bool(code >> i & 1) for i in range(num_bits)] for code in codes]
    return np.array(table, dtype=bool).reshape(len(codes), num_bits)


@st.composite
def streams(draw: st.DrawFn) -> tuple[int, int, list[int], list[int]]:
    """Bits, radius, known codes, and a stream of codes that are near to each other at times."""
    num_bits = draw(st.sampled_from([1, 3, 12, 63, 64, 65, 130]))
    radius = draw(st.integers(0, min(num_bits, 4)))
    roots = draw(st.lists(st.integers(0, 2**num_bits - 1), min_size=1, max_size=5))
    near = st.builds(
        lambda root, flips: root ^ sum(1 << f for f in set(flips)),
        st.sampled_from(roots),
        st.lists(st.integers(0, num_bits - 1), max_size=3),
    )
    return num_bits, radius, draw(st.lists(near, max_size=5)), draw(st.lists(near, max_size=40))


@given(streams(), st.sampled_from(["used", "ignored"]), st.lists(st.integers(0, 40), max_size=3))
def test_ids_and_distances(
    case: tuple[int, int, list[int], list[int]], centers: str, cuts: list[int]
) -> None:
    num_bits, radius, known, codes = case
    book = HashCodebook(num_bits, radius, known_centers=centers)
    book.add_known(pack(bits_of(known, num_bits)))
    plain = PlainBook(radius, known, centers == "used")
    words = pack(bits_of(codes, num_bits))
    np.testing.assert_array_equal(unpack(words, num_bits), bits_of(codes, num_bits))
    for part in np.split(np.arange(len(codes)), sorted(cuts)):  # batches change nothing
        asked = book.look_up(words[part])
        found = book.observe(words[part])
        wanted = [plain.observe(codes[place]) for place in part]
        assert list(zip(*(column.tolist() for column in found), strict=True)) == wanted
        if len(part):  # what was asked first is what would come first
            assert (asked.ids[0] if not asked.is_new[0] else found.ids[0]) == found.ids[0]
            assert asked.is_new[0] == found.is_new[0]
    assert len(book) == plain.size and book.num_known == len(known)
    again = HashCodebook(num_bits, radius, known_centers=centers)
    again.load_state_dict(book.state_dict())
    np.testing.assert_array_equal(again.words, book.words)
    assert [column.tolist() for column in again.look_up(words)] == [
        column.tolist() for column in book.look_up(words)
    ]
