"""The end of a command's process, without taking its libraries apart first."""

from __future__ import annotations

import atexit
import os
import sys

_UNWRITTEN = 120  # Python's code where its output could not be written


class QuickExit:
    """Ends the process once everybody who asked for a last word has had it.

    An interpreter that ends the usual way frees each object and unloads each library. After a run
    that takes two seconds, and reads a hundred megabytes of libraries that nothing had needed.
    Made before whatever else registers with `atexit`, this comes last there, when threads have been
    waited for, files are closed and what was printed is written.

    Attributes:
        code: what the process ends with; while it is None the process ends the usual way.
    """

    def __init__(self) -> None:
        self.code: int | None = None
        atexit.register(self._end)

    def _end(self) -> None:
        if self.code is None:
            return
        code = self.code
        for stream in (sys.stdout, sys.stderr):
            try:
                if stream is not None:
                    stream.flush()
            except OSError as error:  # as an interpreter does at its end
                code = _UNWRITTEN
                if stream is not sys.stderr:
                    print(f"cgcd: what was printed cannot be written: {error}", file=sys.stderr)
        os._exit(code)
