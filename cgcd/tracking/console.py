"""Progress on a terminal: a bar with the time left; elsewhere nothing but the table's lines."""

from __future__ import annotations

import sys
from typing import Any

from avalanche.logging import BaseLogger
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from cgcd.tracking import part_table, stream_table
from cgcd.tracking.table import HEADER, table_row


class ConsoleProgress(BaseLogger):
    """An Avalanche logger that shows where a run is.

    Args:
        total_steps: optimizer steps of the whole run, for the time left; may be set later.
        terminal: draw a bar; by default if standard output is a terminal.
    """

    def __init__(self, total_steps: int = 0, terminal: bool | None = None) -> None:
        super().__init__()
        self.total_steps = total_steps
        shown = sys.stdout.isatty() if terminal is None else terminal
        self._console = Console(force_terminal=shown or None, highlight=False, soft_wrap=True)
        self._started = False
        self._bar: Progress | None = None
        self.silent_at = () if shown else ("after_training_iteration",)
        if shown:
            self._bar = Progress(
                TextColumn("{task.description}"),
                BarColumn(),
                TextColumn("{task.percentage:>3.0f}%"),
                TimeElapsedColumn(),
                TextColumn("left"),
                TimeRemainingColumn(),
                console=self._console,
                transient=True,
            )

    def row(self, row: Any) -> None:
        """Print a finished stage, the parts of a single stage, or a window of a stream."""
        if "stream/seen" in row:
            header, text = stream_table.HEADER, stream_table.stream_row(row)
        elif part_table.is_part_row(row):
            header, text = part_table.HEADER, part_table.part_rows(row)
        else:
            header, text = HEADER, table_row(row)
        if not self._started:
            self._print(header)
            self._started = True
        self._print(text)

    def close(self) -> None:
        """Take the bar away."""
        if self._bar is not None:
            self._bar.stop()

    def before_training(self, strategy: Any, values: Any) -> None:
        """Draw the bar; a run that goes on starts where it was."""
        if self._bar is not None and not self._bar.tasks:
            done = strategy.clock.train_iterations
            self._task = self._bar.add_task("starting", total=self.total_steps, completed=done)
            self._bar.start()

    def before_training_exp(self, strategy: Any, values: Any) -> None:
        self._describe(f"stage {strategy.stage_index}")

    def after_training_iteration(self, strategy: Any, values: Any) -> None:
        if self._bar is not None:
            self._bar.update(self._task, completed=strategy.clock.train_iterations + 1)

    def before_eval(self, strategy: Any, values: Any) -> None:
        self._describe(f"stage {strategy.stage_index}, evaluating")

    def _describe(self, text: str) -> None:
        if self._bar is not None and self._bar.tasks:
            self._bar.update(self._task, description=text)

    def _print(self, text: str) -> None:
        self._console.print(text, markup=False)
        if self._bar is None:
            sys.stdout.flush()
