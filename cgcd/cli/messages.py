"""What a command says when it ends, and where log lines go: to the table, warnings to stderr."""

from __future__ import annotations

import errno
import logging
import os
import sys
import threading
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from cgcd.vocabulary import InputError

_OURS = ("cgcd", "scenarios", "strategies")
_SHORTAGES = (  # torch and Python say these as plain RuntimeErrors
    "out of memory",
    "can't allocate memory",
    "can't start new thread",
    "exited unexpectedly",
    "is killed by signal",
)


_BROKEN_PIPE = 141
"""Exit code where nobody reads on, as of a process that SIGPIPE ends."""
_DISK_TROUBLE = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO, errno.EROFS)


def exit_code(command: Callable[[], int], stopped: str) -> int:
    """Run a command; however it ends, what is said is one sentence.

    2: something given, or this machine, cannot be used. 130: an interrupt. 141: nobody reads what
    is printed, which is not said. 1: nobody foresaw it.
    With HYDRA_FULL_ERROR=1 in the environment errors are raised instead.

    Args:
        command: gives its exit code.
        stopped: what a command that was broken off may hope for.
    """
    if os.getcwd() not in sys.path:
        sys.path.append(os.getcwd())  # a class of the user's own, named by `_target_`
    try:
        with _writers_of_others():
            return command()
    except KeyboardInterrupt:
        print(f"cgcd: stopped; {stopped}", file=sys.stderr)
        return 130
    except Exception as error:
        if isinstance(error, BrokenPipeError) and _is_unread():
            return _BROKEN_PIPE
        if os.environ.get("HYDRA_FULL_ERROR") == "1":
            raise
        code, sentence = explained(error, stopped)
        print(f"cgcd: {sentence}", file=sys.stderr)
        return code


def _is_unread() -> bool:
    """Whether nobody reads what is printed any more, as behind `| head`; then nothing is."""
    out = sys.__stdout__
    if out is None:
        return False
    try:
        os.write(out.fileno(), b"\n")
    except BrokenPipeError:
        with open(os.devnull, "wb") as nowhere:  # what Python flushes at its end goes there
            os.dup2(nowhere.fileno(), out.fileno())
        return True
    return False


def explained(error: Exception, stopped: str) -> tuple[int, str]:
    """Exit code and sentence of an error that ends a command."""
    if isinstance(error, InputError):
        return 2, _own_words(str(error))
    text = " ".join(_own_words(str(error)).split())
    if _is_shortage(error, text):
        return 2, (
            f"this machine ran out of memory or processes ({text[:200]}); lower num_workers, "
            f"strategy.eval_batch_size or a recipe's batch_size; {stopped}"
        )
    if isinstance(error, OSError) and (error.filename or error.errno in _DISK_TROUBLE):
        name = error.filename or "a file of this command"
        return 2, (
            f"{name} cannot be read or written ({error.strerror}); make room, or see to what is "
            f"allowed there; {stopped}"
        )
    last = traceback.extract_tb(error.__traceback__)[-1:]
    place = f" in {Path(last[0].filename).name}, line {last[0].lineno}" if last else ""
    return 1, (
        f"nobody foresaw this: {type(error).__name__}: {text[:300]}{place}; please report it with "
        f"what HYDRA_FULL_ERROR=1 in the environment shows; {stopped}"
    )


def _own_words(text: str) -> str:
    """The message of an error, without the traceback that a loading process sends along."""
    if "Original Traceback" not in text:
        return text
    return text.rstrip().splitlines()[-1].partition(": ")[2]


def _is_shortage(error: Exception, text: str) -> bool:
    """No room in memory, in the number of processes or of threads."""
    if isinstance(error, OSError) and error.errno in (errno.ENOMEM, errno.EAGAIN):
        return True
    return isinstance(error, MemoryError) or (
        isinstance(error, RuntimeError) and any(words in text for words in _SHORTAGES)
    )


@contextmanager
def _writers_of_others() -> Iterator[None]:
    """Inside, a thread that cannot write is silent: TensorBoard's raises where it was called."""
    before = threading.excepthook

    def hook(args: threading.ExceptHookArgs) -> None:
        if not issubclass(args.exc_type, OSError):
            before(args)

    threading.excepthook = hook
    try:
        yield
    finally:
        threading.excepthook = before


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
