"""Kills real runs by the hundred, resumes them and compares what they leave, byte by byte.

    python tests/benchmarks/kills.py [--kills 200] [--seed 0] [--faults 20]

Half of the kills hit a counted instant drawn at random, half come from outside after a random time.
A run is killed one to four times in a row, then allowed to end. Prints the number of kills, how
many came after the first checkpoint, losses (a run that does not go on, or begins before its last
checkpoint), mismatches (a folder that differs from that of the unbroken run), and in which phases
the runs were. With `--faults` so many runs also meet a disk that is full or broken. Exit code 1 if
anything was lost or differs. Takes about two seconds a kill on one core.
"""

from __future__ import annotations

import argparse
import json
import runpy
import shutil
import tempfile
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np

DRIVER = runpy.run_path(str(Path(__file__).resolve().parents[1] / "faults" / "driver.py"))
CASES = ("happy", "proto_gcd", "phe")


def place_of(folder: Path) -> tuple[int, int]:
    """How far the checkpoints of a run are: stage and step, or stage 1 and window on a stream."""
    checkpoints = folder / "checkpoints"
    whole = [int(path.name[6:9]) + 1 for path in checkpoints.glob("stage_[0-9]*")]
    within = [
        (int(path.name[7:10]), int(path.name[11:])) for path in checkpoints.glob("within_[0-9]*")
    ]
    windows = len(list((checkpoints / "stream").glob("window_*")))
    return max([(0, 0), *((stage, 0) for stage in whole), *within, (bool(windows), windows)])


class Tally:
    """What came out so far."""

    def __init__(self) -> None:
        self.kills = self.late = self.losses = self.mismatches = self.faults = 0
        self.phases: Counter[str] = Counter()

    def count(self, told: dict[str, Any], had: tuple[int, int]) -> None:
        self.kills += 1
        self.late += bool(had > (0, 0) or told["stored"])
        self.phases[told["phase"]] += 1


def trial(tally: Tally, draws: np.random.Generator, whole: dict[str, Any], root: Path) -> None:
    """Kill one run one to four times, let it end, and compare."""
    case = str(draws.choice(CASES))
    folder, unbroken = root / "run", whole[case]
    shutil.rmtree(folder, ignore_errors=True)
    for _ in range(int(draws.integers(1, 5))):
        had = place_of(folder)
        how: dict[str, Any] = {"kill_at": int(draws.integers(1, unbroken["instants"]))}
        if draws.random() < 0.5:
            how = {"kill_after": float(draws.uniform(0.02, unbroken["seconds"]))}
        workers = 2 if draws.random() < 0.05 else 0
        told = DRIVER["attempt"](
            {"case": case, "folder": str(folder), "workers": workers, "steps": 2, **how}
        )
        if place_of(folder) < had:
            tally.losses += 1
            print("lost work:", case, how, had, place_of(folder), told["said"])
        if told["code"] != -9:
            if told["code"]:
                tally.losses += 1
                print("did not go on:", case, how, told["said"])
            break
        tally.count(told, had)
    finish(tally, case, folder, unbroken)


def fault(tally: Tally, draws: np.random.Generator, whole: dict[str, Any], root: Path) -> None:
    """Let one write of a run fail, then let it end, and compare."""
    case, trouble = str(draws.choice(CASES)), str(draws.choice(("ENOSPC", "EIO")))
    folder = root / "run"
    shutil.rmtree(folder, ignore_errors=True)
    at = int(draws.integers(1, whole[case]["instants"] // 4))
    told = DRIVER["attempt"]({"case": case, "folder": str(folder), "fault": [trouble, at]})
    tally.faults += told["code"] == 2
    if told["code"] not in (0, 2):
        tally.losses += 1
        print("ended badly:", case, trouble, at, told["code"], told["said"])
    finish(tally, case, folder, whole[case])


def finish(tally: Tally, case: str, folder: Path, unbroken: dict[str, Any]) -> None:
    last = DRIVER["attempt"]({"case": case, "folder": str(folder), "steps": 2})
    if last["code"]:
        tally.losses += 1
        print("did not end:", case, last["said"])
        return
    differ = DRIVER["compare"](folder, unbroken["folder"])
    if differ:
        tally.mismatches += 1
        print("differs:", case, differ)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--kills", type=int, default=200)
    parser.add_argument("--faults", type=int, default=20)
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    draws, tally = np.random.default_rng(given.seed), Tally()
    with tempfile.TemporaryDirectory() as name:
        root, whole = Path(name), {}
        for case in CASES:
            folder = root / f"whole-{case}"
            whole[case] = {**DRIVER["attempt"]({"case": case, "folder": str(folder)})}
            whole[case]["folder"] = folder
            print(f"{case}: {whole[case]['instants']} instants, {whole[case]['seconds']:.1f} s")
        while tally.kills < given.kills:
            trial(tally, draws, whole, root)
        for _ in range(given.faults):
            fault(tally, draws, whole, root)
    share = tally.late / max(tally.kills, 1)
    print(f"kills {tally.kills}, of them after the first checkpoint {share:.0%}")
    print(f"failed writes {tally.faults}")
    print(f"losses {tally.losses}")
    print(f"mismatches {tally.mismatches}")
    for phase, number in tally.phases.most_common():
        print(f"{phase:>22} {number:4d} {'#' * number}")
    print(json.dumps({"seed": given.seed, **vars(tally), "phases": dict(tally.phases)}))
    raise SystemExit(bool(tally.losses or tally.mismatches))


if __name__ == "__main__":
    main()
