"""Where log lines go on the command line: what happens to the table, warnings to stderr."""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager

_OURS = ("cgcd", "scenarios", "strategies")


class _Lines(logging.Handler):
    """Prints to the streams of the moment, which a progress bar may have wrapped."""

    def emit(self, record: logging.LogRecord) -> None:
        if record.levelno < logging.WARNING:
            print(record.getMessage())
        else:
            print(f"cgcd: warning: {record.getMessage()}", file=sys.stderr)


@contextmanager
def log_lines() -> Iterator[None]:
    """Inside, log records of our packages are printed; afterwards logging is as it was."""
    handler = _Lines()
    before = {name: logging.getLogger(name).level for name in _OURS}
    os.environ.setdefault("HF_HUB_VERBOSITY", "error")  # it reports every retry; our error says it
    for name in _OURS:
        logging.getLogger(name).addHandler(handler)
        logging.getLogger(name).setLevel(logging.INFO)
    try:
        yield
    finally:
        for name in _OURS:
            logging.getLogger(name).removeHandler(handler)
        for name, level in before.items():
            logging.getLogger(name).setLevel(level)
