"""The bar shows only while something trains; the table's lines stand alone."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from cgcd.tracking.console import ConsoleProgress
from cgcd.tracking.table import HEADER

ROW = {"stage": 0, "stage/num_classes": 5, "stage/num_known": 5, "stage/found": 5, "seconds": 1.0}
STRATEGY = SimpleNamespace(stage_index=0, clock=SimpleNamespace(train_iterations=30))


def test_without_a_terminal_there_are_rows_only(capsys: pytest.CaptureFixture) -> None:
    progress = ConsoleProgress(60, terminal=False)
    progress.before_training(STRATEGY, [])
    progress.after_training_iteration(STRATEGY, [])
    assert "after_training_iteration" in progress.silent_at
    progress.row(ROW)
    progress.row({**ROW, "stage": 1})
    progress.close()
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == HEADER and [line.split()[0] for line in lines[1:]] == ["0", "1"]


def test_on_a_terminal_the_bar_waits_for_the_training_and_counts_what_was_done(
    capsys: pytest.CaptureFixture,
) -> None:
    progress = ConsoleProgress(terminal=True)
    assert not progress.silent_at
    progress.before_eval(STRATEGY, [])
    assert not capsys.readouterr().out  # a run that cannot be built must not leave a bar
    progress.total_steps = 60
    progress.before_training(STRATEGY, [])
    progress.before_training_exp(STRATEGY, [])
    progress.row(ROW)
    progress.close()
    out = capsys.readouterr().out
    assert "50%" in out and "stage 0" in out and HEADER in out
