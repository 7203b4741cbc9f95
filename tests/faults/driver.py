"""Runs tiny real runs in forked processes, kills them or breaks their writes, and compares folders.

`python driver.py` reads one job a line from standard input, as JSON, and prints one answer a line;
so the imports, which take longer than a run, are made once. It is no test itself.
"""

from __future__ import annotations

import argparse
import contextlib
import errno
import hashlib
import json
import mmap
import os
import runpy
import signal
import struct
import sys
import time
import warnings
from collections import Counter
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

warnings.filterwarnings("ignore")

import torch  # noqa: E402
from safetensors import SafetensorError  # noqa: E402
from safetensors.torch import load_file  # noqa: E402
from tensorboard.backend.event_processing.event_accumulator import (  # noqa: E402
    EventAccumulator,
)

import strategies  # noqa: E402
from cgcd.cli.messages import exit_code, log_lines  # noqa: E402
from cgcd.engine import (  # noqa: E402
    Baselines,
    DiscoveryMetrics,
    Recipe,
    StageAnalysis,
    WarmUp,
    cache,
    discovery_evaluator,
    run_stages,
    stream,
    template,
)
from cgcd.memory import HashCodebook  # noqa: E402
from cgcd.models import GCDModel  # noqa: E402
from cgcd.tracking.tensorboard import StageTensorBoard  # noqa: E402

torch.set_num_threads(1)
DATA = runpy.run_path(str(Path(__file__).resolve().parents[1] / "conftest.py"))
PHASES = (
    "nothing yet",
    "begin stage",
    "inside a step",
    "between steps",
    "tensors half written",
    "between two files",
    "sync",
    "before rename",
    "after rename",
    "removing",
    "evaluation",
    "observe",
    "predictions",
    "end stage",
    "tensorboard",
)
TIMED = ("seconds", "throughput", "memory", "stream/seconds")


# -------------------------------------------------------------------- what runs


def _model() -> GCDModel:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        tail = torch.nn.Sequential(torch.nn.Dropout(0.1), torch.nn.Linear(32, 16))
        net = torch.nn.Sequential(torch.nn.Linear(16, 32), torch.nn.ReLU(), tail)
        heads = {"projection_hidden": 16, "projection_dim": 8}
        return GCDModel(net, example=torch.rand(2, 16), tail_units=1, **heads)


def _recipe(of: Recipe, **optimizer: Any) -> Recipe:
    kind = optimizer.pop("kind", torch.optim.SGD)
    short = {"epochs": 3, "batch_size": 16, "drop_last": of.drop_last}
    return Recipe(optimizer=partial(kind, **optimizer), weights=of.weights, **short)


def _two(kind: Any, module: Any, **settings: Any) -> Callable[..., Any]:
    recipes = {
        "base": _recipe(module.BASE, lr=0.05, momentum=0.9),
        "continual": _recipe(module.CONTINUAL, lr=0.02, momentum=0.9),
    }
    return lambda **more: kind(model=_model(), kmeans_starts=1, **recipes, **settings, **more)


def _cases() -> dict[str, tuple[Callable[..., Any], Callable[..., Any]]]:
    """Builders of strategy and scenario: stages, one mixed stage, a stream."""
    blobs, single = DATA["_blob_scenario"], DATA["_blob_single_stage"]
    adam = _recipe(strategies.phe.BASE, kind=torch.optim.AdamW, lr=1e-3)
    warm = WarmUp(steps=4, batch_size=16, cache=False)
    return {
        "happy": (
            _two(strategies.Happy, strategies.happy, warm_up=warm),
            partial(blobs, 3, (1, 1), per_class=16),
        ),
        "proto_gcd": (
            _two(strategies.ProtoGCD, strategies.proto_gcd),
            partial(single, 3, 2, per_class=16),
        ),
        "phe": (
            lambda **more: strategies.PHE(
                model=_model(), base=adam, hash_hidden=16, hash_bottleneck=8, **more
            ),
            partial(DATA["_blob_stream"], 3, 2, per_class=16, window=12),
        ),
    }


def run(job: dict[str, Any]) -> int:
    """One try of a run in its folder."""
    build, scenario = _cases()[job["case"]]
    folder = Path(job["folder"])
    logger = StageTensorBoard(folder / "tensorboard", pictures=False, galleries=False)
    metrics = [Baselines(), *([StageAnalysis()] if job["case"] == "happy" else [])]
    strategy = build(
        evaluator=discovery_evaluator(*metrics, loggers=[logger]),
        num_workers=job.get("workers", 0),
    )
    try:
        run_stages(
            strategy,
            scenario(),
            folder,
            checkpoint_minutes=job.get("minutes"),
            checkpoint_steps=job.get("steps", 2),
        )
    finally:
        logger.close()
    return 0


# -------------------------------------------------------------------- where it may be killed


class Instants:
    """Counts the instants of a process in memory that outlives it, and kills it at one of them."""

    def __init__(self, job: dict[str, Any]) -> None:
        self.memory = mmap.mmap(-1, 24)
        self.kill_at, self.kill_in = job.get("kill_at"), job.get("kill_in")
        self.signal = signal.SIGINT if job.get("gently") else signal.SIGKILL
        self.counts: Counter[str] = Counter()
        self.total = self.stored = 0

    def reach(self, phase: str) -> None:
        self.total += 1
        self.counts[phase] += 1
        struct.pack_into("qqq", self.memory, 0, self.total, PHASES.index(phase), self.stored)
        if self.total == self.kill_at or [phase, self.counts[phase]] == self.kill_in:
            os.kill(os.getpid(), self.signal)

    def read(self) -> dict[str, Any]:
        total, phase, stored = struct.unpack_from("qqq", self.memory)
        return {"instants": total, "phase": PHASES[phase], "stored": stored}

    def watch(self) -> None:
        """Put the instants into the code of this process."""

        def around(owner: Any, name: str, before: str | None, after: str | None = None) -> None:
            inner = getattr(owner, name)

            def outer(*args: Any, **kwargs: Any) -> Any:
                if before is not None:
                    self.reach(before)
                given = inner(*args, **kwargs)
                if after is not None:
                    self.reach(after)
                return given

            setattr(owner, name, outer)

        for kind in (strategies.Happy, strategies.ProtoGCD, strategies.PHE):
            around(kind, "begin_stage", "begin stage", "begin stage")
            around(kind, "end_stage", "end stage", "end stage")
            around(kind, "losses", "inside a step")
        around(template.StageTemplate, "optimizer_step", "inside a step", "inside a step")
        around(template.StageTemplate, "_before_training_iteration", "between steps")
        around(DiscoveryMetrics, "after_eval_iteration", "evaluation", "evaluation")
        around(HashCodebook, "observe", "observe", "observe")
        around(stream._Stream, "read", "observe")
        around(StageTensorBoard, "log_metrics", "tensorboard")
        around(os, "fsync", "sync", "sync")
        around(Path, "unlink", "removing")
        save, replace = cache.save_file, Path.replace

        def halving(tensors: Any, path: Any, *rest: Any) -> None:
            save(tensors, path, *rest)
            whole = Path(path).read_bytes()
            Path(path).write_bytes(whole[: len(whole) // 2])
            self.reach("tensors half written")
            Path(path).write_bytes(whole)
            if "stage_" in str(path) or "within_" in str(path):
                self.reach("between two files")

        def renaming(path: Path, target: Any) -> Any:
            self.reach("predictions" if "predictions" in str(target) else "before rename")
            given = replace(path, target)
            inside = Path(target).name
            self.stored += inside.startswith(("stage_", "within_", "window_"))
            self.reach("after rename")
            return given

        cache.save_file, Path.replace = halving, renaming  # type: ignore[method-assign,assignment]


def break_write(number: int, at: int) -> None:
    """Let the write operation `at` of this process fail half done, as a full or bad disk would."""
    done = 0

    def fails() -> bool:
        nonlocal done
        done += 1
        return done == at

    save, write_text, fsync = cache.save_file, Path.write_text, os.fsync

    def saving(tensors: Any, path: Any, *rest: Any) -> None:
        save(tensors, path, *rest)
        if fails():
            os.truncate(path, os.path.getsize(path) // 2)
            raise SafetensorError(f"Error while serializing: I/O error (os error {number})")

    def writing(path: Path, text: str, *args: Any, **kwargs: Any) -> int:
        if fails():
            write_text(path, text[: len(text) // 2], *args, **kwargs)
            raise OSError(number, os.strerror(number))
        return write_text(path, text, *args, **kwargs)

    def syncing(handle: int) -> None:
        if fails():
            raise OSError(number, os.strerror(number))
        fsync(handle)

    cache.save_file, Path.write_text, os.fsync = saving, writing, syncing  # type: ignore


def attempt(job: dict[str, Any]) -> dict[str, Any]:
    """Run a job in a forked process.

    Returns:
        `code` (of the process, -9 where it was killed), the phase it was in, how many instants and
        checkpoints it came to, and what it printed to stderr.
    """
    instants = Instants(job)
    log = Path(f"{job['folder']}.log")
    log.parent.mkdir(parents=True, exist_ok=True)
    started = time.monotonic()
    child = os.fork()
    if not child:
        code = 1
        try:
            handle = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
            os.dup2(handle, 1), os.dup2(handle, 2)
            if job.get("fault"):
                break_write(getattr(errno, job["fault"][0]), job["fault"][1])
            if job.get("limit"):
                import resource

                resource.setrlimit(resource.RLIMIT_FSIZE, (job["limit"], job["limit"]))
            instants.watch()
            with log_lines():
                code = exit_code(partial(run, job), "the same command goes on")
            sys.stdout.flush(), sys.stderr.flush()
        finally:
            os._exit(code)
    if job.get("kill_after") is not None:
        time.sleep(job["kill_after"])
        with contextlib.suppress(ProcessLookupError):
            os.kill(child, signal.SIGKILL)
    _, status = os.waitpid(child, 0)
    told = {"code": os.waitstatus_to_exitcode(status), **instants.read()}
    return {**told, "seconds": time.monotonic() - started, "said": log.read_text()[-3000:]}


# -------------------------------------------------------------------- what it leaves


def left(folder: Path) -> dict[str, str]:
    """Digest of everything a run leaves, without how long it took."""
    found: dict[str, str] = {}
    for path in sorted(folder.rglob("*")):
        name = str(path.relative_to(folder))
        if not path.is_file() or path.name == ".lock" or path.name.startswith("events."):
            continue
        if path.suffix == ".safetensors":
            content = b"".join(
                key.encode() + str(tensor.shape).encode() + tensor.contiguous().numpy().tobytes()
                for key, tensor in sorted(load_file(path).items())
            )
        elif path.suffix == ".json":
            content = json.dumps(_plain(json.loads(path.read_text()))).encode()
        elif path.name == "metrics.csv":
            lines = path.read_text().splitlines()
            content = "\n".join(line for line in lines if "seconds" not in line).encode()
        else:
            content = path.read_bytes()
        found[name] = hashlib.sha256(content).hexdigest()
    for tag, values in points(folder / "tensorboard").items():
        found[f"tensorboard: {tag}"] = hashlib.sha256(repr(values).encode()).hexdigest()
    return found


def points(folder: Path) -> dict[str, list[tuple[int, str]]]:
    """Every point of every tag, doubled ones too."""
    read: dict[str, list[tuple[int, str]]] = {}
    for path in sorted(folder.glob("events.*")):
        events = EventAccumulator(str(path), size_guidance=dict.fromkeys(("scalars", "images"), 0))
        events.Reload()
        for tag in events.Tags()["scalars"]:
            if not tag.startswith(TIMED):
                values = [(event.step, event.value.hex()) for event in events.Scalars(tag)]
                read.setdefault(tag, []).extend(values)
        for tag in events.Tags()["images"]:
            shown = [(event.step, str(event.width)) for event in events.Images(tag)]
            read.setdefault(f"images {tag}", []).extend(shown)
    return {tag: sorted(values) for tag, values in read.items()}


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        timed = ("seconds", "state_sha256")
        return {k: _plain(v) for k, v in value.items() if not k.startswith(timed)}
    return [_plain(v) for v in value] if isinstance(value, list) else value


def compare(first: Path, second: Path) -> list[str]:
    """What two run folders differ in."""
    one, two = left(first), left(second)
    return sorted(name for name in one.keys() | two.keys() if one.get(name) != two.get(name))


def main() -> None:
    """Answer jobs until the input ends."""
    # started in the background a shell has it ignored, and children inherit that
    signal.signal(signal.SIGINT, signal.default_int_handler)
    argparse.ArgumentParser(description=__doc__).parse_args()
    print(json.dumps({"ready": True}), flush=True)
    for line in sys.stdin:
        job = json.loads(line)
        if "compare" in job:
            answer: Any = {"differ": compare(*map(Path, job["compare"]))}
        else:
            answer = attempt(job)
        print(json.dumps(answer), flush=True)


if __name__ == "__main__":
    main()
