import copy
from operator import ne

import numpy as np
import pytest
import torch

from cgcd.memory import Assignment, HashCodebook, pack, unpack
from cgcd.metrics import greedy_accuracy, joint_accuracy


def plain_loop(codes, known, radius):
    """Ids and distances by the definition, over lists and entry by entry.

    Entries are compared for equality, so `known` may use another alphabet than the codes.
    """
    book, ids, distances = np.asarray(known).tolist(), [], []
    for code in codes.tolist():
        to_book = [sum(map(ne, code, entry)) for entry in book]
        nearest = min(to_book, default=None)
        distances.append(-1 if nearest is None else nearest)
        if nearest is not None and nearest <= radius:
            ids.append(to_book.index(nearest))
        else:
            ids.append(len(book))
            book.append(code)
    return ids, distances


def bits(*codes: str) -> np.ndarray:
    return np.array([[bit == "1" for bit in code] for code in codes], dtype=bool)


def filled(known: np.ndarray, radius: int, known_centers: str = "used") -> HashCodebook:
    book = HashCodebook(known.shape[1], radius, known_centers)
    book.add_known(pack(known))
    return book


def noisy_stream(seed: int, num_bits: int, num_codes: int, num_classes: int, noise: float):
    """Codes around random centers; the first half of the centers is known."""
    generator = np.random.default_rng(seed)
    centers = generator.random((num_classes, num_bits)) < 0.5
    flips = generator.random((num_codes, num_bits)) < noise
    codes = centers[generator.integers(num_classes, size=num_codes)] ^ flips
    return codes, centers[: num_classes // 2]


def assert_same(ours: Assignment, theirs: Assignment) -> None:
    for a, b in zip(ours, theirs, strict=True):
        assert a.dtype == b.dtype
        np.testing.assert_array_equal(a, b)


def joined(parts: list[Assignment]) -> Assignment:
    return Assignment(*map(np.concatenate, zip(*parts, strict=True)))


@pytest.fixture
def book() -> HashCodebook:
    """A book of 64 bits that has known and created categories."""
    codes, known = noisy_stream(0, 64, 60, 8, 0.15)
    grown = filled(known, radius=6)
    grown.observe(pack(codes))
    assert grown.num_created > 5
    return grown


def test_streams_of_the_specification():
    stream = bits("1110", "1100", "0100", "1101", "1100", "0011", "0000")
    book = filled(bits("1111", "0000"), radius=1)
    answer = book.observe(pack(stream))
    assert answer.ids.tolist() == [0, 2, 1, 0, 2, 3, 1]
    assert answer.is_new.tolist() == [False, True, False, False, False, True, False]
    assert answer.distance.tolist() == [1, 2, 1, 1, 0, 2, 0]
    assert (len(book), book.num_known, book.num_created) == (4, 2, 2)
    np.testing.assert_array_equal(unpack(book.words, 4), bits("1111", "0000", "1100", "0011"))

    for order, ids in (
        (("0011", "0111", "0001"), [1, 1, 1]),
        (("0111", "0011", "0001"), [1, 1, 2]),
    ):
        assert filled(bits("1100"), 1).observe(pack(bits(*order))).ids.tolist() == ids

    equal_codes = HashCodebook(3).observe(pack(bits("101", "111", "101", "000", "111")))
    assert equal_codes.ids.tolist() == [0, 1, 0, 2, 1]
    assert equal_codes.distance.tolist() == [-1, 1, 0, 2, 0]


def test_ignored_centers_are_those_of_a_mixed_alphabet():
    """Centers of -1 and +1 against codes of 0 and 1: a center can be hit for its ones only.

    A center with v ones is then at least L - v from every code, so "ignored" gives the same ids
    whenever L - v > R for every center; a center of ones alone is the exception.
    """
    stream = bits("1110", "1100", "0100", "1101", "1100", "0011", "0000")
    assert plain_loop(stream, [[1, 1, 1, 1], [-1, -1, -1, -1]], 1)[0] == [0, 2, 2, 0, 2, 3, 4]
    ids, _ = plain_loop(stream, [[1, 1, -1, -1], [-1, -1, -1, -1]], 1)
    book = filled(bits("1100", "0000"), 1, "ignored")
    assert book.observe(pack(stream)).ids.tolist() == ids == [2, 2, 3, 4, 2, 5, 3]
    assert (len(book), book.num_known, book.num_created) == (6, 2, 4)

    for seed in range(5):
        codes, known = noisy_stream(seed, 16, 120, 10, 0.1)
        known &= np.arange(16) < 12  # four zeros or more
        ids, _ = plain_loop(codes, np.where(known, 1, -1), 3)
        assert filled(known, 3, "ignored").observe(pack(codes)).ids.tolist() == ids


def test_a_created_code_may_equal_an_ignored_one():
    book = filled(bits("11", "10"), 0, "ignored")
    answer = book.observe(pack(bits("10", "11", "10")))
    assert answer.ids.tolist() == [2, 3, 2]
    assert answer.distance.tolist() == [-1, 1, 0]
    np.testing.assert_array_equal(unpack(book.words, 2), bits("11", "10", "10", "11"))
    again = HashCodebook(2, 0, "ignored")
    again.load_state_dict(book.state_dict())
    assert again.look_up(pack(bits("11", "10"))).ids.tolist() == [3, 2]


@pytest.mark.parametrize("num_bits", [1, 2, 5, 8, 12, 63, 64, 65, 128, 300])
def test_agrees_with_a_plain_loop(num_bits):
    for seed in range(6):
        generator = np.random.default_rng(seed)
        radius = [0, 1, num_bits // 8, num_bits // 4, num_bits // 3, num_bits][seed]
        radius = min(radius, num_bits)
        noise = generator.choice([0.02, 0.1, 0.2])
        codes, known = noisy_stream(seed, num_bits, 150, 2 * generator.integers(0, 8) + 2, noise)
        known = known[: generator.integers(0, len(known) + 1)]
        ids, distances = plain_loop(codes, known, radius)
        answer = filled(known, radius).observe(pack(codes))
        assert answer.ids.tolist() == ids
        assert answer.distance.tolist() == distances
        created = np.zeros(150, dtype=bool)
        created[[ids.index(i) for i in set(ids) if i >= len(known)]] = True
        np.testing.assert_array_equal(answer.is_new, created)


def test_distances_of_long_codes_do_not_wrap_around():
    book = filled(np.zeros((1, 1024), dtype=bool), radius=1023)
    ones = np.arange(1024) < np.array([[255], [256], [257], [768], [1023], [1024], [1024]])
    answer = book.observe(pack(ones))
    assert answer.distance.tolist() == [255, 256, 257, 768, 1023, 1024, 0]
    assert answer.ids.tolist() == [0, 0, 0, 0, 0, 1, 1]


@pytest.mark.parametrize("num_bits, radius", [(10, 2), (64, 5)])  # short codes are full of ties
def test_books_and_batches_beyond_a_block_change_nothing(monkeypatch, num_bits, radius):
    codes, known = noisy_stream(1, num_bits, 300, 40, 0.12)
    expected = filled(known, radius).observe(pack(codes))
    assert (expected.ids.tolist(), expected.distance.tolist()) == plain_loop(codes, known, radius)
    for pairs, rows, chunk in ((1, 1, 1), (7, 3, 10), (64, 1000, 10_000), (10**6, 1000, 299)):
        monkeypatch.setattr("cgcd.memory.codes._BLOCK_PAIRS", pairs)
        monkeypatch.setattr("cgcd.memory.codes._BLOCK_CODES", rows)
        monkeypatch.setattr("cgcd.memory.codes._CHUNK", chunk)
        assert_same(filled(known, radius).observe(pack(codes)), expected)


@pytest.mark.parametrize("num_bits, radius", [(12, 1), (64, 8), (130, 20), (16, 0)])
@pytest.mark.parametrize("known_centers", ["used", "ignored"])
def test_ids_depend_on_the_codes_in_order_alone(num_bits, radius, known_centers):
    codes, known = noisy_stream(3, num_bits, 300, 20, 0.1)
    words = pack(codes)
    whole = filled(known, radius, known_centers)
    expected = whole.observe(words)

    single = filled(known, radius, known_centers)
    assert_same(joined([single.observe(words[i : i + 1]) for i in range(len(words))]), expected)

    generator = np.random.default_rng(0)
    cut, answers = filled(known, radius, known_centers), []
    for part in np.split(words, np.sort(generator.integers(0, 301, size=12))):
        answers.append(cut.observe(part))
        restored = HashCodebook(num_bits, radius, known_centers)
        restored.load_state_dict(cut.state_dict())
        cut = copy.deepcopy(restored)
    assert_same(joined(answers), expected)
    np.testing.assert_array_equal(cut.words, whole.words)

    prefix = filled(known, radius, known_centers).observe(words[:100])
    assert_same(prefix, Assignment(*(part[:100] for part in expected)))


def test_a_known_code_is_its_class_whatever_its_zeros():
    _, known = noisy_stream(5, 12, 1, 60, 0.0)
    known[0] = False
    known[7] = known[3]
    book = filled(known, radius=2)
    first = [known.tolist().index(code) for code in known.tolist()]
    answer = book.observe(pack(known))
    assert answer.ids.tolist() == first
    assert not answer.distance.any()
    assert len(book) == book.num_known == 30
    assert book.duplicates() == 30 - len(set(first)) > 0


def test_the_radius_is_sharp():
    radius = 3
    known = np.arange(20) < np.array([[0], [10], [20]])  # 10 bits apart, more than twice the radius
    generator = np.random.default_rng(0)
    for center in range(3):
        for num_flips in range(radius + 2):
            code = known[center].copy()
            code[generator.permutation(20)[:num_flips]] ^= True
            book, is_near = filled(known, radius), num_flips <= radius
            found, answer = book.look_up(pack(code[None])), book.observe(pack(code[None]))
            assert found.ids.tolist() == [center if is_near else -1]
            assert answer.ids.tolist() == [center if is_near else 3]
            assert found.is_new.tolist() == answer.is_new.tolist() == [not is_near]
            assert found.distance.tolist() == answer.distance.tolist() == [num_flips]


def test_the_book_only_grows_and_its_entries_stay_apart():
    codes, known = noisy_stream(6, 24, 400, 30, 0.15)
    book, radius, num_new = filled(known, radius=4), 4, 0
    for start in range(0, 400, 37):
        before = book.words
        num_new += int(book.observe(pack(codes[start : start + 37])).is_new.sum())
        np.testing.assert_array_equal(book.words[: len(before)], before)
        assert len(book) == len(known) + num_new
        assert book.num_created == num_new
    entries = unpack(book.words, 24)
    for i in range(len(known), len(entries)):
        assert (entries[:i] != entries[i]).sum(1).min() > radius


@pytest.mark.parametrize("num_bits", [12, 64, 65])
def test_order_of_bits_and_a_common_flip_do_not_matter(num_bits):
    codes, known = noisy_stream(7, num_bits, 200, 12, 0.1)
    expected = filled(known, num_bits // 6).observe(pack(codes))
    generator = np.random.default_rng(1)
    order, flip = generator.permutation(num_bits), generator.random(num_bits) < 0.5
    changed = filled((known ^ flip)[:, order], num_bits // 6)
    assert_same(changed.observe(pack((codes ^ flip)[:, order])), expected)


def test_radius_0_partitions_by_equal_codes():
    for num_bits in (1, 3, 64, 70):
        codes = np.random.default_rng(2).random((50, num_bits)) < 0.3
        ids = HashCodebook(num_bits).observe(pack(codes)).ids
        first_seen = list(dict.fromkeys(map(tuple, codes.tolist())))
        assert ids.tolist() == [first_seen.index(tuple(code)) for code in codes.tolist()]
        assert len(set(ids.tolist())) <= min(50, 2**num_bits)
        order = np.random.default_rng(3).permutation(50)
        shuffled = HashCodebook(num_bits).observe(pack(codes[order])).ids
        np.testing.assert_array_equal(
            ids[order][:, None] == ids[order], shuffled[:, None] == shuffled
        )


def test_looking_up_changes_nothing(book):
    codes, _ = noisy_stream(8, 64, 40, 8, 0.2)
    mixed = np.concatenate([pack(codes), book.words, pack(codes)])
    state = {name: value.clone() for name, value in book.state_dict().items()}
    found = book.look_up(mixed)
    assert all(torch.equal(value, state[name]) for name, value in book.state_dict().items())
    assert_same(book.look_up(mixed), found)
    np.testing.assert_array_equal(found.ids < 0, found.is_new)
    assert 0 < found.is_new.sum() < len(mixed)

    for i in range(len(mixed)):
        next_one = copy.deepcopy(book).observe(mixed[i : i + 1])
        assert next_one.is_new[0] == found.is_new[i]
        assert next_one.distance[0] == found.distance[i]
        assert next_one.ids[0] == (len(book) if found.is_new[i] else found.ids[i])


def test_an_empty_book_and_no_codes():
    book = HashCodebook(70, 3)
    none = pack(np.zeros((0, 70), dtype=bool))
    assert none.shape == (0, 2)
    for answer in (book.observe(none), book.look_up(none)):
        assert [len(part) for part in answer] == [0, 0, 0]
    two = pack(np.zeros((2, 70), dtype=bool))
    answer = book.look_up(two)
    assert (answer.ids.tolist(), answer.distance.tolist()) == ([-1, -1], [-1, -1])
    book.add_known(none)
    assert (len(book), book.num_known, book.duplicates(), book.words.shape) == (0, 0, 0, (0, 2))
    assert book.observe(two).distance.tolist() == [-1, 0]


def check_metrics(case, ids):
    """Both dialects of accuracy of the released code, on ids that equal its own."""
    labels, num_known = case["labels"], int(case["num_known"])
    exact = dict(rel=0, abs=1e-12)
    greedy = greedy_accuracy(ids, labels, labels < num_known)
    assert [greedy[k] for k in ("all", "known", "novel")] == pytest.approx(case["v1"], **exact)
    joint = joint_accuracy(ids, labels, num_base=num_known, num_known=num_known)
    assert joint["all"] == pytest.approx(case["v2"][0], **exact)
    least, most = case["v2_old_range_over_optimal_matchings"]
    assert least - 1e-12 <= joint["known"] <= most + 1e-12
    if least == most:
        assert [joint["known"], joint["novel"]] == pytest.approx(case["v2"][1:], **exact)
    assert len(np.unique(ids)) == case["n_categories"]


@pytest.mark.parity
def test_assignment_of_the_released_code(parity):
    """One alphabet, and the mixed one of the release, where "ignored" has to give the same ids.

    In no case of the mixed alphabet is a known center ever hit: each has more entries of -1, which
    equal no bit, than the radius.
    """
    conventions = []
    for case in parity("phe_assign"):
        conventions.append(str(case["convention"]))
        num_known, radius = int(case["num_known"]), int(case["radius"])
        centers = case["centers"]
        if conventions[-1] == "01":
            book = filled(centers > 0, radius)
        else:
            assert ((centers == -1).sum(1) > radius).all()
            assert (case["preds"] >= num_known).all()
            book = filled(centers > 0, radius, "ignored")
        answer = book.observe(pack(case["feats"] > 0))
        np.testing.assert_array_equal(answer.ids, case["preds"], err_msg=str(case["desc"]))
        assert book.num_known == num_known
        assert book.num_created == answer.is_new.sum()
        ids, _ = plain_loop(case["feats"] > 0, centers, radius)
        assert ids == case["preds"].tolist()
        check_metrics(case, answer.ids)
    assert sorted(conventions) == ["01"] * 5 + ["pm1"] * 5


@pytest.mark.parity
def test_equal_codes_of_the_released_code(parity):
    for case in parity("smile_eval"):
        book = HashCodebook(case["feats"].shape[1])
        answer = book.observe(pack(torch.from_numpy(case["feats"]) > 0))
        np.testing.assert_array_equal(answer.ids, case["preds"], err_msg=str(case["desc"]))
        assert len(book) == case["n_categories"]
        check_metrics(case, answer.ids)
