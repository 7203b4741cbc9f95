"""`cgcd doctor`: what of this machine works, and how to mend what does not."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor

from cgcd.cli.checks import CHECKS, Finding


def doctor(arguments: Sequence[str] = ()) -> int:
    """Print one line a check; 0, or 2 if something that every run needs is broken."""
    if arguments:
        print(f"cgcd: cgcd doctor takes no arguments, got {' '.join(arguments)}", file=sys.stderr)
        return 2
    worst = {"warning": 0, "problem": 0}
    for finding in examined(CHECKS):
        print(f"{finding.level:<8} {finding.name:<12} {finding.text}", flush=True)
        if finding.mend:
            print(f"{'':<21} mend: {finding.mend}", flush=True)
        if finding.level in worst:
            worst[finding.level] += 1
    print(f"{worst['problem']} problems, {worst['warning']} warnings")
    return 2 if worst["problem"] else 0


def examined(checks: dict[str, Callable[[], list[Finding]]]) -> Iterator[Finding]:
    """Findings in the order of the checks, which run beside each other.

    A check that itself fails is a problem with the reason, and does not stop the others.
    """

    def one(name: str) -> list[Finding]:
        try:
            return checks[name]()
        except Exception as error:  # whatever is broken here is what the user wants to read
            reason = " ".join(str(error).split())[:200]
            text = f"could not be checked: {type(error).__name__}: {reason}"
            return [Finding("problem", name, text, "mend what it names, then ask again")]

    with ThreadPoolExecutor(max_workers=2) as pool:
        for findings in pool.map(one, checks):
            yield from findings
