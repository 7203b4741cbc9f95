"""A code book as words and tensors: packed, stored, taken back, refused."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from cgcd.memory import HashCodebook, pack, unpack
from cgcd.vocabulary import InputError


def drawn(seed: int, num_codes: int, num_bits: int = 64) -> np.ndarray:
    """Random codes, (num_codes, words)."""
    return pack(np.random.default_rng(seed).random((num_codes, num_bits)) < 0.5)


@pytest.fixture
def book() -> HashCodebook:
    """A book of 64 bits that has known and created categories."""
    grown = HashCodebook(64, radius=6)
    grown.add_known(drawn(0, 4))
    grown.observe(drawn(1, 20))
    assert grown.num_created > 5
    return grown


@pytest.mark.parametrize("num_bits", [1, 12, 63, 64, 65, 128, 1024])
def test_packing(num_bits):
    array = np.random.default_rng(num_bits).random((9, num_bits)) < 0.5
    words = pack(array)
    numbers = [sum(int(bit) << i for i, bit in enumerate(row)) for row in array.tolist()]
    assert [sum(word << (64 * i) for i, word in enumerate(row)) for row in words.tolist()] == (
        numbers
    )
    np.testing.assert_array_equal(unpack(words, num_bits), array)
    np.testing.assert_array_equal(pack(torch.from_numpy(array)), words)
    np.testing.assert_array_equal(pack(np.asfortranarray(array)), words)
    np.testing.assert_array_equal(unpack(np.asfortranarray(words), num_bits), array)


def test_the_state_is_stored_as_tensors(book, tmp_path):
    outer = torch.nn.ModuleDict({"book": book})
    save_file(outer.state_dict(), tmp_path / "state.safetensors")
    state = load_file(tmp_path / "state.safetensors")
    assert state["book.words"].dtype == torch.int64
    assert state["book.words"].shape == (len(book), 1)

    other = torch.nn.ModuleDict({"book": HashCodebook(64, 6)})
    assert not other.load_state_dict(state).unexpected_keys
    loaded = other["book"]
    assert (len(loaded), loaded.num_known) == (len(book), book.num_known)
    more = np.concatenate([drawn(2, 20), book.words[:9]])
    for ours, theirs in zip(loaded.observe(more), book.observe(more), strict=True):
        np.testing.assert_array_equal(ours, theirs)
    assert len(loaded) > len(state["book.words"])  # and what was loaded from stays as it was

    loaded.load_state_dict(HashCodebook(64, 6).state_dict())  # shrinks
    assert (len(loaded), loaded.num_known) == (0, 0)
    assert loaded.look_up(more).is_new.all()


def test_what_is_kept_is_a_copy(book):
    words, state = book.words, book.state_dict()
    before = words.copy()
    words[:] = 0
    state["words"].zero_()
    known = before[:4].copy()
    other = HashCodebook(64, 6)
    other.add_known(known)
    known[:] = 0
    np.testing.assert_array_equal(book.words, before)
    np.testing.assert_array_equal(other.words, before[:4])
    book.to(torch.float16)
    np.testing.assert_array_equal(book.words, before)


def test_a_book_of_another_kind_is_refused(book):
    state = book.state_dict()
    with pytest.raises(
        InputError, match="a book of 64 bits cannot be continued with code_length=12; set code_len"
    ):
        HashCodebook(12, 6).load_state_dict(state)
    with pytest.raises(InputError, match="book of radius 6 cannot be continued with radius=5;"):
        HashCodebook(64, 5).load_state_dict(state)
    with pytest.raises(InputError, match=r"known centers used cannot .* known_centers=ignored;"):
        HashCodebook(64, 6, "ignored").load_state_dict(state)


def test_a_damaged_state_is_refused(book):
    state = book.state_dict()
    with pytest.raises(InputError, match="no more classes than codes"):
        HashCodebook(64, 6).load_state_dict(state | {"num_known": torch.tensor(10_000)})
    with pytest.raises(InputError, match="wanted int64"):
        HashCodebook(64, 6).load_state_dict(state | {"words": state["words"].double()})
    with pytest.raises(RuntimeError, match=r'Unexpected key\(s\) in state_dict: "other"'):
        HashCodebook(64, 6).load_state_dict(state | {"other": torch.tensor(0)})
    del state["num_known"]
    fresh = HashCodebook(64, 6)
    with pytest.raises(RuntimeError, match=r'Missing key\(s\) in state_dict: "num_known"'):
        fresh.load_state_dict(state)
    assert len(fresh) == 0


def test_bad_arguments(book):
    for num_bits in (0, -3, 65_000, 12.5):
        with pytest.raises(InputError, match=r"wanted a whole number in 1\.\.1024; set code_len"):
            HashCodebook(num_bits)
    for radius in (-1, 13, 0.5):
        with pytest.raises(InputError, match=rf"radius of {radius} bits .* in 0\.\.12"):
            HashCodebook(12, radius)
    with pytest.raises(InputError, match="'maybe', wanted one of used, ignored"):
        HashCodebook(12, 1, "maybe")

    with pytest.raises(ValueError, match=f"holds {len(book)} codes already"):
        book.add_known(book.words)
    for method in (book.observe, book.look_up, HashCodebook(64).add_known):
        with pytest.raises(InputError, match="codes are int64, wanted an array of uint64"):
            method(book.words.view(np.int64))
        with pytest.raises(InputError, match="codes are list"):
            method([[1]])
        with pytest.raises(InputError, match=r"shape \(3, 2\), wanted \(N, 1\)"):
            method(np.zeros((3, 2), dtype=np.uint64))
        with pytest.raises(InputError, match=r"shape \(3,\), wanted \(N, 1\)"):
            method(np.zeros(3, dtype=np.uint64))
    with pytest.raises(InputError, match="bits beyond the 12"):
        HashCodebook(12).observe(np.array([[1], [2**12]], dtype=np.uint64))
    with pytest.raises(InputError, match="bits beyond the 65"):
        unpack(np.array([[0, 2]], dtype=np.uint64), 65)
    for wrong in (np.zeros((2, 3)), np.zeros(3, dtype=bool), np.zeros((2, 0), dtype=bool)):
        with pytest.raises(InputError, match="hash features > 0"):
            pack(wrong)
