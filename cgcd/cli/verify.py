"""`cgcd verify`: does a stored stage again and compares it with what the run left."""

from __future__ import annotations

import logging
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from cgcd.cli.messages import exit_code, log_lines
from cgcd.vocabulary import InputError

_USAGE = """\
cgcd verify RUN [stage=N] [--trust-code]

  Trains stage N of a run anew from the checkpoint before it, by default the last stage, in a folder
  of its own, and compares. On the machine and with the versions that made the run, weights and
  predictions must be equal bit for bit; elsewhere accuracies within 0.001. Of an on-line run the
  last stage is its stream, answered anew; stage=0 is the training before it.

  Exit code 0: as stored. 1: it differs. 2: it cannot be compared, and why.

  The run's config may build classes of cgcd, scenarios, strategies, torch.optim,
  torchvision.transforms and avalanche.training.plugins; --trust-code lets it build any other.
"""
_TOLERANCE = 1e-3


def verify(arguments: Sequence[str]) -> int:
    """Run `cgcd verify ...`."""
    return exit_code(lambda: _verify(arguments), "nothing of the run was changed")


class _Reached(Exception):
    """The stage that was wanted is done."""


def _verify(arguments: Sequence[str]) -> int:
    if {"-h", "--help"} & set(arguments):
        print(_USAGE, end="")
        return 0
    folder, wanted, trust_code = _request(arguments)
    results = _results(folder)
    from cgcd.cli.stored_config import stored_config

    config = stored_config(folder, trust_code)
    setting = results.get("setting", "continual")
    stage = _stage(wanted, results, setting, folder)
    with log_lines(logging.WARNING, once=True):
        return _compare(folder, results, config, setting, stage)


def _compare(
    folder: Path, results: dict[str, Any], plain: dict[str, Any], setting: str, stage: int
) -> int:
    from omegaconf import OmegaConf

    from cgcd.cli.facts import place_facts
    from cgcd.cli.parts import Parts
    from cgcd.engine import run_stages
    from cgcd.engine.verification import check_whole, compared, lend_stages

    is_stream = setting == "online" and stage == 1
    check_whole(folder, range(stage if is_stream else stage + 1))
    config = OmegaConf.create({**plain, "tracking": {}, "analysis": False})
    threads = (results.get("model") or {}).get("threads")
    if isinstance(threads, int) and threads > 0:
        config.torch_threads = threads
    started = time.perf_counter()
    found: list[Mapping[str, float]] = []
    with tempfile.TemporaryDirectory(prefix="cgcd-verify-") as scratch:
        again = Path(scratch) / "run"
        parts = Parts.build(config, again)
        lend_stages(folder, again, stage)

        def reached(row: Mapping[str, float]) -> None:
            found.append(row)
            if setting == "continual" and row["stage"] == stage:
                raise _Reached
            if setting == "online" and stage == 0:
                raise _Reached

        try:
            run_stages(parts.strategy, parts.scenario, again, on_stage=reached)
        except _Reached:
            pass
        finally:
            parts.close()
        is_answered = setting != "online" or is_stream
        stored = results["stages"][-1 if setting == "online" else stage]
        same = compared(
            folder,
            again,
            None if is_stream else stage,
            _predictions(folder, setting, stage),
            (stored, found[-1]) if is_answered else ({}, {}),
        )
    elsewhere = _elsewhere(results, {**place_facts(config), "model": parts.describe()})
    equal = same.largest <= _TOLERANCE if elsewhere else same.is_equal
    words = [
        "weights not trained here" if is_stream else _count(same.num_tensors, "tensors", same),
        f"{same.num_lines - same.other_lines} of {same.num_lines} predictions equal",
        f"largest difference of a number {same.largest:.2g}",
        f"another {elsewhere}" if elsewhere else "same machine and versions",
        f"{time.perf_counter() - started:.1f} s",
    ]
    verdict = "as stored" if equal else "DIFFERS"
    print(f"{folder.name}, stage {stage}: {verdict}; {', '.join(words)}")
    return 0 if equal else 1


def _request(arguments: Sequence[str]) -> tuple[Path, int | None, bool]:
    words = [a for a in arguments if not a.startswith("-") and "=" not in a]
    keys = [a for a in arguments if not a.startswith("-") and "=" in a]
    flags = [a for a in arguments if a.startswith("-")]
    foreign = [a for a in keys if not a.startswith("stage=")] + [
        a for a in flags if a != "--trust-code"
    ]
    if foreign:
        raise InputError(f"cgcd verify does not know {foreign[0]}; see cgcd verify --help")
    if len(words) != 1:
        raise InputError(
            f"cgcd verify got {len(words)} folders; wanted one: cgcd verify runs/<run>"
        )
    stage = None
    if keys:
        text = keys[-1].partition("=")[2]
        if not (text.isascii() and text.isdecimal()):
            raise InputError(f"{keys[-1]} cannot be used; wanted a whole number >= 0: stage=1")
        stage = int(text)
    return Path(words[0]), stage, bool(flags)


def _results(folder: Path) -> dict[str, Any]:
    from cgcd.cli.folders import stored_results

    results = stored_results(folder, parts=("stages",))
    if results is None or not isinstance(results["stages"], list):
        raise InputError(
            f"{folder} holds no results of a run; wanted a folder that cgcd run has left, with "
            "results.json, config.yaml and checkpoints"
        )
    return results


def _stage(wanted: int | None, results: Mapping[str, Any], setting: str, folder: Path) -> int:
    last = {"online": 1, "single_stage": 0}.get(setting, len(results["stages"]) - 1)
    if wanted is None:
        return last
    if wanted > last:
        raise InputError(f"{folder} has no stage {wanted}; wanted one of 0 to {last}: stage={last}")
    return wanted


def _predictions(folder: Path, setting: str, stage: int) -> tuple[str, ...]:
    if setting == "online":
        return ("stream.csv",) if stage else ()
    if setting == "single_stage":
        return tuple(sorted(path.name for path in (folder / "predictions").glob("*.csv")))
    return (f"stage_{stage}.csv",)


def _elsewhere(results: Mapping[str, Any], here: Mapping[str, Any]) -> str:
    """What of the place is another one than the run's, "" if nothing is."""
    then, now = results.get("versions") or {}, here["versions"]
    other = [f"{n} ({then.get(n)}, here {v})" for n, v in now.items() if then.get(n) != v]
    if results.get("machine") != here["machine"]:
        other.append(f"machine ({results.get('machine')}, here {here['machine']})")
    device = (results.get("model") or {}).get("device")
    if device is not None and device != here["model"]["device"]:
        other.append(f"device ({device}, here {here['model']['device']})")
    return ", ".join(other)


def _count(total: int, what: str, same: Any) -> str:
    first = f" (not {same.other_tensors[0]})" if same.other_tensors else ""
    return f"{total - len(same.other_tensors)} of {total} {what} equal{first}"
