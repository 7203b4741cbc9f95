"""Progress through a number of images on a terminal: a bar, images a second, the time left."""

from __future__ import annotations

import sys
from types import TracebackType

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    ProgressColumn,
    Task,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.text import Text


class ImageBar:
    """A bar while it is entered; elsewhere than on a terminal nothing.

    Args:
        total: images.
        terminal: draw it; by default if standard output is a terminal.
    """

    def __init__(self, total: int, terminal: bool | None = None) -> None:
        shown = sys.stdout.isatty() if terminal is None else terminal
        self._bar: Progress | None = None
        if shown:
            self._bar = Progress(
                TextColumn("{task.description}"),
                BarColumn(),
                MofNCompleteColumn(),
                _Speed(),
                TimeElapsedColumn(),
                TextColumn("left"),
                TimeRemainingColumn(),
                console=Console(force_terminal=True, highlight=False),
                transient=True,
            )
            self._task = self._bar.add_task("images", total=total)

    def __enter__(self) -> ImageBar:
        if self._bar is not None:
            self._bar.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._bar is not None:
            self._bar.stop()

    def __call__(self, done: int) -> None:
        """So many images are done."""
        if self._bar is not None:
            self._bar.update(self._task, completed=done)


class _Speed(ProgressColumn):
    def render(self, task: Task) -> Text:
        return Text(f"{task.speed:.0f} images/s" if task.speed else "")
