"""What a command says when it ends, and where log lines go: to the table, warnings to stderr."""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from cgcd.vocabulary import InputError

_OURS = ("cgcd", "scenarios", "strategies")


def exit_code(command: Callable[[], int], stopped: str) -> int:
    """Run a command; what cannot be used is one sentence and 2, an interrupt another and 130.

    Args:
        command: gives its exit code.
        stopped: what an interrupted command may hope for.
    """
    if os.getcwd() not in sys.path:
        sys.path.append(os.getcwd())  # a class of the user's own, named by `_target_`
    try:
        return command()
    except InputError as error:
        if os.environ.get("HYDRA_FULL_ERROR") == "1":
            raise
        print(f"cgcd: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print(f"cgcd: stopped; {stopped}", file=sys.stderr)
        return 130


class _Lines(logging.Handler):
    """Prints to the streams of the moment, which a progress bar may have wrapped."""

    def __init__(self, once: bool) -> None:
        super().__init__()
        self.once, self._said = once, set[str]()

    def emit(self, record: logging.LogRecord) -> None:
        message = record.getMessage()
        if self.once:
            if message in self._said:
                return
            self._said.add(message)
        if record.levelno < logging.WARNING:
            print(message)
        else:
            print(f"cgcd: warning: {message}", file=sys.stderr)


@contextmanager
def log_lines(level: int = logging.INFO, once: bool = False) -> Iterator[None]:
    """Inside, log records of our packages are printed; afterwards logging is as it was.

    Args:
        level: from which on.
        once: the same line not twice.
    """
    handler = _Lines(once)
    before = {name: logging.getLogger(name).level for name in _OURS}
    os.environ.setdefault("HF_HUB_VERBOSITY", "error")  # it reports every retry; our error says it
    for name in _OURS:
        logging.getLogger(name).addHandler(handler)
        logging.getLogger(name).setLevel(level)
    try:
        yield
    finally:
        for name in _OURS:
            logging.getLogger(name).removeHandler(handler)
        for name, level in before.items():
            logging.getLogger(name).setLevel(level)
