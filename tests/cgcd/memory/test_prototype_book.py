"""Categories as prototypes: the rule by hand, order, batches, merging, stored and taken back."""

from __future__ import annotations

import numpy as np
import pytest
from safetensors.torch import load_file, save_file

from cgcd.memory import PrototypeBook
from cgcd.vocabulary import InputError

AXES = np.eye(2)


def book(join: float = 0.7, known: float = 0.7, **settings) -> PrototypeBook:
    """Knows the two axes of the plane."""
    made = PrototypeBook(2, **settings)
    made.add_known(AXES, np.full(2, known), join_threshold=join, merge_threshold=0.7)
    return made


def degrees(*angles: float) -> np.ndarray:
    return np.stack([np.cos(np.radians(angles)), np.sin(np.radians(angles))], 1)


def drawn(count: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal((count, 2)).astype(np.float32)


def test_the_example_of_the_specification():
    stream = np.array([[0.8, 0.6], [-1, 0], [-0.8, 0.6], [0.6, 0.8], [0.28, 0.96]])
    made = book()
    answer = made.observe(stream)
    assert answer.ids.tolist() == [0, 2, 2, 1, 1]
    assert answer.is_new.tolist() == [False, True, False, False, False]
    np.testing.assert_allclose(answer.distance, [0.2, 1, 0.2, 0.2, 0.04], atol=1e-12)
    mean = np.array([-1.8, 0.6]) / np.hypot(1.8, 0.6)
    np.testing.assert_allclose(made.prototypes, [*AXES, mean], atol=1e-12)
    fixed = book(running=False)
    assert fixed.observe(stream).ids.tolist() == [0, 2, 2, 1, 1]
    np.testing.assert_allclose(fixed.prototypes[2], [-1, 0], atol=1e-12)


def test_length_does_not_matter_and_the_origin_does():
    assert (book().observe(drawn(40)).ids == book().observe(100 * drawn(40)).ids).all()
    moved = PrototypeBook(2)
    moved.add_known(AXES, np.zeros(2), join_threshold=0.9, origin=np.array([1.0, 0.0]))
    answer = moved.look_up(degrees(90))  # (0, 1) - (1, 0) lies nearer to the second axis
    assert answer.ids.tolist() == [1] and answer.distance[0] == pytest.approx(1 - np.sqrt(0.5))
    assert moved.look_up(degrees(0)).distance.tolist() == [1]  # the origin itself, like nothing


def test_who_takes_a_sample_counts_before_who_is_most_similar():
    made = PrototypeBook(2)
    made.add_known(AXES, np.array([0.9, 0.5]), join_threshold=0.9)
    assert made.observe(degrees(40, 20)).ids.tolist() == [1, 0]


def test_thresholds_out_of_reach():
    stream = drawn(50)
    closed = book(known=-1).observe(stream)
    assert not closed.is_new.any() and (closed.ids == stream.argmax(1)).all()
    alone = book(join=1.1, known=1.1).observe(stream)
    assert alone.ids.tolist() == list(range(2, 52))


@pytest.mark.parametrize("settings", [{}, {"merge_every": 15, "mature": 2}, {"running": False}])
@pytest.mark.parametrize("cut", [1, 7, 199])
def test_batches_prefixes_and_restored_books_answer_alike(settings, cut, tmp_path):
    stream = drawn(200)
    whole, parts = book(0.95, 0.95, **settings), book(0.95, 0.95, **settings)
    expected = whole.observe(stream)
    found = [parts.observe(part) for part in np.split(stream, range(cut, 200, cut))]
    for name in ("ids", "is_new", "distance"):
        joined = np.concatenate([getattr(part, name) for part in found])
        np.testing.assert_array_equal(joined, getattr(expected, name))
    first, again = book(0.95, 0.95, **settings), PrototypeBook(2, **settings)
    assert first.observe(stream[:cut]).ids.tolist() == expected.ids[:cut].tolist()
    save_file(first.state_dict(), tmp_path / "book.safetensors")
    again.load_state_dict(load_file(tmp_path / "book.safetensors"))
    rest = again.observe(stream[cut:])
    np.testing.assert_array_equal(rest.ids, expected.ids[cut:])
    np.testing.assert_array_equal(rest.distance, expected.distance[cut:])
    assert again.lineage == whole.lineage and again.version == whole.version == 200


@pytest.mark.parametrize("running", [True, False])
def test_a_restored_book_has_the_bits_of_the_other(running):
    rows = np.random.default_rng(0).standard_normal((300, 64)).astype(np.float32)
    made, again = PrototypeBook(64, running=running), PrototypeBook(64, running=running)
    made.add_known(rows[:5], np.full(5, 0.5), join_threshold=0.2)
    made.observe(rows[5:200])
    again.load_state_dict(made.state_dict())
    assert np.array_equal(made.prototypes, again.prototypes)
    assert np.array_equal(made.observe(rows).distance, again.observe(rows).distance)


def test_merging_is_lineage_and_no_id_gets_another_meaning():
    made = book(0.95, 0.999, merge_every=2)
    ids = made.observe(degrees(200, 240, 220, 240)).ids  # 40 degrees apart, then one between them
    assert ids.tolist() == [2, 3, 2, 4]  # 3 is merged into 2: nothing is ever answered with it
    assert made.lineage == [(2, 3, 2), (2, 4, 4)] and made.num_created == 3 and len(made) == 5
    assert made.resolved(ids).tolist() == [2, 2, 2, 2]
    assert made.resolved(np.arange(3)).tolist() == [0, 1, 2]


def test_what_was_merged_answers_no_more():
    made = book(0.97, 0.97, merge_every=10, mature=1)
    ids = made.observe(drawn(400)).ids
    assert len(made.lineage) > 2
    for merge in made.lineage:
        assert (ids[: merge.at] == merge.merged).any() and merge.kept < merge.merged
        assert not (ids[merge.at :] == merge.merged).any()
    living = made.resolved(ids)
    assert (made.resolved(living) == living).all() and (living <= ids).all()


def test_two_young_categories_of_several_samples_stay_apart():
    made = book(0.95, 0.999, merge_every=4, mature=3)
    made.observe(degrees(200, 240, 200, 240))
    assert made.lineage == []
    made.observe(degrees(200, 240, 200, 240))
    assert made.lineage == [(2, 3, 8)]


def test_looking_up_changes_nothing():
    made = book()
    made.observe(drawn(20))
    before = {name: value.clone() for name, value in made.state_dict().items()}
    answer = made.look_up(np.concatenate([drawn(20), drawn(20, 1)]))
    assert (answer.ids[answer.is_new] == -1).all()
    assert all((before[name] == value).all() for name, value in made.state_dict().items())
    kept = made.state_dict()
    made.observe(drawn(20, 2))
    assert all((before[name] == kept[name]).all() for name in before)


def test_an_empty_book_opens_and_no_sample_does_nothing():
    empty = PrototypeBook(2)
    assert empty.look_up(drawn(1)).distance.tolist() == [-1] and not empty.names_known
    assert empty.observe(drawn(0)).ids.shape == (0,) and empty.version == 0
    assert book().names_known


def test_bad_uses():
    with pytest.raises(InputError, match=r"shape \(3, 5\); wanted \(N, 2\)"):
        book().observe(np.zeros((3, 5)))
    with pytest.raises(ValueError, match="for an empty one"):
        book().add_known(AXES, np.zeros(2), join_threshold=0.5)
    with pytest.raises(InputError, match="merge_every is -1"):
        PrototypeBook(2, merge_every=-1)
    with pytest.raises(InputError, match=r"mature is 0; .* strategy.mature=10"):
        PrototypeBook(2, mature=0)
    with pytest.raises(InputError, match=r"sums \(2, 2\).* of width 3"):
        PrototypeBook(3).load_state_dict(book().state_dict())
    state = book().state_dict()
    del state["lineage"]
    with pytest.raises(RuntimeError, match="lineage"):
        PrototypeBook(2).load_state_dict(state)
