"""Bounds that no answer can leave, and changes that no metric may notice."""

from __future__ import annotations

from typing import Any

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import adjusted_rand_score, normalized_mutual_info_score

from cgcd.metrics import (
    AnswerTable,
    adjusted_rand_index,
    greedy_accuracy,
    held_accuracy,
    joint_accuracy,
    normalized_mutual_information,
    per_class_accuracy,
    pruned_accuracy,
    purity,
    stream_accuracies,
)


@st.composite
def answers(draw: st.DrawFn) -> tuple[np.ndarray, np.ndarray, int, int]:
    """Predictions and targets (N,), and 0 <= num_base <= num_known."""
    count = draw(st.integers(1, 50))
    size = st.integers(0, draw(st.sampled_from([0, 2, 9])))
    guess = draw(st.lists(size, min_size=count, max_size=count))
    truth = draw(st.lists(size, min_size=count, max_size=count))
    base = draw(st.integers(0, 6))
    return np.array(guess), np.array(truth), base, base + draw(st.integers(0, 4))


def all_scores(guess: Any, truth: Any, base: int, known: int) -> dict[str, float]:
    families = {
        "joint": joint_accuracy(guess, truth, base, known),
        "held": held_accuracy(guess, truth, base, known),
        "greedy": greedy_accuracy(guess, truth, truth < known),
        "pruned": pruned_accuracy(guess, truth, truth < known),
        "": {
            "purity": purity(guess, truth),
            "nmi": normalized_mutual_information(guess, truth),
        },
    }
    return {f"{name}/{key}": v for name, part in families.items() for key, v in part.items()}


@given(answers())
def test_bounds_and_order(case: tuple[np.ndarray, np.ndarray, int, int]) -> None:
    guess, truth, base, known = case
    found = all_scores(*case)
    assert all(0 <= value <= 1 + 1e-12 for value in found.values())
    assert found["held/all"] <= found["joint/all"] <= found["greedy/all"]
    assert found["pruned/all"] <= found["joint/all"] <= found["/purity"]
    assert found["joint/all"] >= 1 / max(len(set(guess.tolist())), len(set(truth.tolist())))
    parts = {"known": truth < known, "novel": truth >= known}
    total = sum(found[f"joint/{n}"] * mask.sum() for n, mask in parts.items() if mask.any())
    np.testing.assert_allclose(total / len(truth), found["joint/all"])
    per_class = per_class_accuracy(guess, truth, truth.max() + 1)
    shares = np.bincount(truth) / len(truth)
    np.testing.assert_allclose(np.nansum(per_class * shares), found["joint/all"])
    right = all_scores(truth, truth, base, known)
    assert all(abs(value - 1) < 1e-12 for value in right.values())


@given(answers(), st.integers(0, 99))
def test_order_of_samples_and_names_of_rows_do_not_matter(
    case: tuple[np.ndarray, np.ndarray, int, int], seed: int
) -> None:
    guess, truth, base, known = case
    generator = np.random.default_rng(seed)
    found = all_scores(*case)
    order = generator.permutation(len(guess))
    shuffled = all_scores(guess[order], truth[order], base, known)
    for name in found:
        if name.endswith(("/all", "purity", "nmi")):
            np.testing.assert_allclose(shuffled[name], found[name], atol=1e-12)
    other = 100 * generator.permutation(10)
    renamed = all_scores(other[guess], truth, base, known)
    for name in found:
        if not name.startswith(("held", "pruned")):  # of these the numbers of rows mean something
            np.testing.assert_allclose(renamed[name], found[name], atol=1e-12)


@given(answers())
def test_agreement_is_that_of_scikit_learn(case: tuple[np.ndarray, np.ndarray, int, int]) -> None:
    guess, truth, *_ = case
    ours = normalized_mutual_information(guess, truth), adjusted_rand_index(guess, truth)
    theirs = normalized_mutual_info_score(truth, guess), adjusted_rand_score(truth, guess)
    np.testing.assert_allclose(ours, theirs, atol=1e-9)


@given(answers(), st.lists(st.integers(0, 50), max_size=4))
def test_windows_add_up_to_the_stream(
    case: tuple[np.ndarray, np.ndarray, int, int], cuts: list[int]
) -> None:
    guess, truth, base, _ = case
    table = AnswerTable(base)
    for part in np.split(np.arange(len(guess)), sorted(cuts)):
        if len(part):
            table.add(guess[part], truth[part])
    whole = stream_accuracies(guess, truth, base)
    assert table.accuracies().keys() == whole.keys()
    for name, value in table.accuracies().items():
        if name.endswith("all"):
            np.testing.assert_allclose(value, whole[name])
