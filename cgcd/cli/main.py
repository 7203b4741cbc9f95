"""The `cgcd` command: looks at the first word, imports only what that needs."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from importlib import import_module

import cgcd
from cgcd.cli.freed_memory import keep_freed_memory
from cgcd.cli.help_topics import TOPICS, topic
from cgcd.cli.quick_exit import QuickExit
from cgcd.cli.quiet_threads import wait_quietly

_USAGE = f"""\
cgcd {cgcd.__version__} - continual category discovery

  cgcd run                                   digits stream, Happy: first results in about a minute
  cgcd run strategy=NAME scenario=NAME       another method, another stream
  cgcd run experiment=NAME data_root=DIR     a published recipe
  cgcd run -m seed=0,1,2                     several runs (Hydra multirun)
  cgcd run --help                            every choice and every key
  cgcd report RUN...                         a page to send to somebody; several runs side by side
  cgcd verify RUN [stage=N]                  does a stored stage again and compares it bit for bit
  cgcd tune strategy=NAME scenario=NAME      compare settings on hidden known classes
  cgcd scenario show scenario=NAME           what each stage of a stream holds, and a picture of it
  cgcd features data_root=DIR out=FILE.npz   embeddings of images by any backbone
  cgcd data list|check|fetch                 published data sets, and what of one lies on disk
  cgcd doctor                                what of this machine works, and how to mend the rest
  cgcd help TOPIC                            {", ".join(TOPICS)}
  cgcd --version
"""
_COMMANDS = ("run", "report", "verify", "tune", "scenario", "features", "data", "doctor")
"""Each is a function of the module of its name in `cgcd.cli`."""


def console() -> int:
    """`main` as a process of its own, which ends without delay."""
    ending = QuickExit()
    ending.code = main()
    return ending.code


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command; 0 if it went well, 2 if something given cannot be used."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    command = arguments[0] if arguments else "--help"
    if command in ("-h", "--help"):
        print(_USAGE, end="")
        return 0
    if command == "--version":
        print(f"cgcd {cgcd.__version__}")
        return 0
    if command == "help":
        return _help(arguments[1:])
    if command in _COMMANDS:
        keep_freed_memory()
        wait_quietly()
        module = import_module(f"cgcd.cli.{command}")
        return getattr(module, command)(arguments[1:])
    return _complain(
        f"cgcd does not know {command!r}; wanted {', '.join(_COMMANDS)} or help: see cgcd --help"
    )


def _help(names: Sequence[str]) -> int:
    if not names:
        print(_USAGE, end="")
        return 0
    if names[0] not in TOPICS:
        return _complain(f"cgcd help does not know {names[0]!r}; topics: {', '.join(TOPICS)}")
    print(topic(names[0]), end="")
    return 0


def _complain(sentence: str) -> int:
    print(f"cgcd: {sentence}", file=sys.stderr)
    return 2


if __name__ == "__main__":
    sys.exit(console())
