"""`torchrun ... -m cgcd run`: several processes do one run, and one of them speaks."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, redirect_stdout

from cgcd.cli.messages import log_lines
from cgcd.vocabulary import InputError

_SWEEPS = ("-m", "--multirun")


@contextmanager
def one_voice(arguments: Sequence[str]) -> Iterator[None]:
    """As `log_lines`; inside, the processes that torchrun has started are one group.

    Only the first prints. An error is told by every process that meets it, with its number.

    Args:
        arguments: everything after `cgcd run`.

    Raises:
        InputError: for a sweep in several processes.
    """
    number = int(os.environ.get("RANK", 0))
    if "TORCHELASTIC_RUN_ID" not in os.environ or int(os.environ["WORLD_SIZE"]) < 2:
        with log_lines():
            yield
        return
    if any(argument in _SWEEPS for argument in arguments):
        raise InputError(
            f"{' and '.join(_SWEEPS)} start run after run and torchrun starts one run in several "
            "processes; give one of the two: cgcd help processes shows a sweep of such runs"
        )
    os.environ.setdefault("TORCH_CPP_LOG_LEVEL", "ERROR")  # DDP warns of what is wanted here
    from cgcd.engine.processes import joined

    if number == 0:
        with log_lines(), joined():
            yield
        return
    with open(os.devnull, "w", encoding="utf-8") as nowhere, redirect_stdout(nowhere):
        try:
            with log_lines(logging.ERROR), joined():
                yield
        except InputError as error:
            raise InputError(f"process {number}: {error}") from error
