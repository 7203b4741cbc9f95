"""What was found, merged, split and forgotten, on tables small enough to count by hand."""

from __future__ import annotations

import numpy as np
import pytest

from cgcd.metrics import per_class_accuracy
from cgcd.tracking.report.answers import Answers, natural, read_answers, unguarded
from cgcd.tracking.report.findings import CrossTable, forgotten, shares_old
from cgcd.vocabulary import InputError


def given(pairs: list[tuple[str, int]], base: tuple[str, ...] = ("a", "b")) -> Answers:
    names = {k: base[k] if k < len(base) else f"new-{k}" for _, k in pairs}
    return Answers(
        np.array([true for true, _ in pairs], dtype=object),
        np.array([category for _, category in pairs]),
        names,
        frozenset(k for k in names if k >= len(base)),
        None,
    )


def test_accuracies_are_those_of_the_joint_match():
    generator = np.random.default_rng(0)
    truth, guess = generator.integers(0, 7, 300), generator.integers(0, 9, 300)
    guess[:200] = (3 * truth[:200]) % 9
    answers = given([(f"class {t}", int(g)) for t, g in zip(truth, guess, strict=True)], ())
    table = CrossTable.of(answers)
    assert table.classes == [f"class {k}" for k in range(7)]
    np.testing.assert_array_equal(table.accuracies, per_class_accuracy(guess, truth, 7))


def test_found_needs_a_majority_of_the_category_and_half_of_the_class():
    pairs = [("a", 0)] * 4 + [("c", 2)] * 3 + [("c", 0)] * 3  # half of c, alone in category 2
    pairs += [("d", 3)] * 2 + [("d", 0)] * 3  # less than half of d
    pairs += [("e", 4)] * 4 + [("b", 4)] * 4  # category 4 belongs to neither
    table = CrossTable.of(given(pairs))
    found = dict(zip(table.classes, table.is_found().tolist(), strict=True))
    assert found == {"a": False, "b": False, "c": True, "d": False, "e": False}


def test_merged_and_split_count_quarters():
    pairs = [("c", 2)] * 8 + [("d", 2)] * 4 + [("d", 3)] * 3 + [("d", 0)] * 1
    pairs += [("e", 4)] * 4 + [("e", 5)] * 4 + [("e", 6)] * 4
    pairs += [("a", k) for k in (2, 7, 8, 9, 10)]  # its largest part is a fifth
    table = CrossTable.of(given(pairs))
    assert table.merged() == [frozenset("cd")]
    assert table.split() == {"d": 2, "e": 3}


def test_forgotten_is_a_fall_of_twenty_points_since_stage_0():
    before = CrossTable.of(given([("a", 0)] * 10 + [("b", 1)] * 10))
    after = given([("a", 0)] * 8 + [("a", 2)] * 2 + [("b", 1)] * 9 + [("b", 2)] + [("c", 2)] * 10)
    assert forgotten(before, CrossTable.of(after)) == {"a": pytest.approx(0.2)}


def test_share_in_labeled_categories():
    answers = given([("a", 0), ("c", 0), ("c", 1), ("c", 2), ("d", 3)])
    assert shares_old(answers, ["c", "d"]) == 0.5
    assert shares_old(answers, []) is None


def test_hidden_samples_do_not_count():
    answers = given([("a", 0), ("", 2), ("b", 1)])
    assert answers.has_truth and not answers.is_complete
    assert CrossTable.of(answers).counts.sum() == 2


def test_labeled_classes_come_in_their_order_and_others_by_name():
    answers = given([("x10", 3), ("x9", 2), ("b", 0), ("a", 1)], ("b", "a"))
    assert answers.classes == ["b", "a", "x9", "x10"]
    assert natural("x9") < natural("x10")


@pytest.mark.parametrize("name", ["=cmd()", "@x", "-1", "plain", "'quoted'", 'a"b\nc', "1,5"])
def test_names_come_back_as_they_were(tmp_path, write_run, name):
    folder = write_run(tmp_path / "run", [{"stage": 0}], {"stage_0": [(name, 0)]}, [name])
    answers = read_answers(folder / "predictions" / "stage_0.csv")
    assert answers.classes == [name] and answers.category_names == {0: name}
    assert unguarded("'=1") == "=1" and unguarded("'a") == "'a"


def test_a_file_that_is_no_table_is_refused(tmp_path):
    path = tmp_path / "stage_0.csv"
    for text in ("", "a,b\n1,2\n", "true_class,category,category_name\nx,one,y\n"):
        path.write_text(text)
        with pytest.raises(InputError, match=r"stage_0\.csv is no table of answers"):
            read_answers(path)
