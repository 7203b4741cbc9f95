"""The printed tables of a comparison of settings."""

from __future__ import annotations

from types import SimpleNamespace

from cgcd.tracking.tune_table import HEADER, trial_row, tune_summary

ROWS = [
    {"kind": "candidate", "name": "s.lr=0.1", "mean": 0.71, "std": 0.02, "folds": [0.7, 0.72]},
    {"kind": "default", "name": "default", "mean": 0.695, "std": 0.007, "folds": [0.69, 0.7]},
    {"kind": "floor", "name": "k-means", "mean": 0.5, "std": None, "folds": [0.5, 0.5]},
]


def results(rows, best):
    seconds = [{**row, "seconds": None if row["kind"] == "floor" else 3.21} for row in rows]
    hidden = [["a", "b"], [str(k) for k in range(10)]]
    return {
        "score": "mean All",
        "table": seconds,
        "best": best,
        "hidden_classes": hidden,
        "command": "cgcd run x=1",
    }


def test_a_trial_stands_under_its_header():
    trial = SimpleNamespace(values={"s.lr": 0.1}, fold=1, score=0.7125, seconds=12.34)
    row = trial_row(trial, 3, 12)
    assert row == "   3/12     1   71.2     12.3  s.lr=0.1"
    assert row.index("s.lr") == HEADER.index("candidate")
    trial.values = {}
    assert trial_row(trial, 1, 12).endswith("  default")


def test_the_summary_ranks_and_names_the_command():
    lines = tune_summary(results(ROWS, {"s.lr": 0.1})).splitlines()
    assert lines[0] == "mean and spread (n - 1) over 2 folds of mean All, percent"
    assert lines[2:5] == [
        "  71.0    2.0      3.2  s.lr=0.1",
        "  69.5    0.7      3.2  default",
        "  50.0      -        -  k-means (floor)",
    ]
    assert lines[5:7] == ["fold 0 hid a, b", "fold 1 hid 0, 1, 2, 3, 4, 5, 6, 7 and 2 more"]
    assert lines[7:] == [
        "best beside the default, fold by fold: +1.0, +2.0",
        "to run it: cgcd run x=1",
    ]


def test_a_default_that_wins_is_said():
    assert "nothing beats the default" in tune_summary(results(ROWS[1:], {}))
