"""Does tiny real runs in one process or in several forked ones, and says what each of them saw.

`python driver.py` reads one job a line from standard input, as JSON, and prints one answer a line;
so the imports, which take longer than a run, are made once. It is no test itself.
"""

from __future__ import annotations

import hashlib
import json
import os
import runpy
import signal
import socket
import sys
import time
import warnings
from collections.abc import Callable
from contextlib import nullcontext
from functools import partial
from pathlib import Path
from typing import Any

warnings.filterwarnings("ignore")

import torch  # noqa: E402
from avalanche.evaluation import PluginMetric  # noqa: E402

import strategies  # noqa: E402
from cgcd.cli.main import main  # noqa: E402
from cgcd.cli.messages import exit_code, log_lines  # noqa: E402
from cgcd.engine import Baselines, Recipe, WarmUp, discovery_evaluator, run_stages  # noqa: E402
from cgcd.engine.checkpoint import part_tensors  # noqa: E402
from cgcd.engine.processes import joined, own_number  # noqa: E402
from cgcd.models import GCDModel  # noqa: E402

torch.set_num_threads(1)
DATA = runpy.run_path(str(Path(__file__).resolve().parents[1] / "conftest.py"))
PATIENCE = 120.0  # seconds for a job


def _model() -> GCDModel:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        net = torch.nn.Sequential(torch.nn.Linear(16, 32), torch.nn.ReLU(), torch.nn.Linear(32, 16))
        heads = {"projection_hidden": 16, "projection_dim": 8}
        return GCDModel(net, example=torch.rand(2, 16), tail_units=1, **heads)


def _recipe(of: Recipe, lr: float) -> Recipe:
    """Of odd batches, so that shares differ in size."""
    optimizer = partial(torch.optim.SGD, lr=lr, momentum=0.9)
    short = {"epochs": 3, "batch_size": 15, "drop_last": of.drop_last}
    return Recipe(optimizer=optimizer, weights=of.weights, **short)


def _two(kind: Any, module: Any, **settings: Any) -> Callable[..., Any]:
    recipes = {
        "base": _recipe(module.BASE, lr=0.05),
        "continual": _recipe(module.CONTINUAL, lr=0.02),
    }
    return lambda **more: kind(
        model=_model(), kmeans_starts=1, eval_batch_size=10, **recipes, **settings, **more
    )


def _cases() -> dict[str, tuple[Callable[..., Any], Callable[..., Any]]]:
    """Builders of strategy and scenario: stages, one mixed stage, a stream."""
    stages = partial(DATA["_blob_scenario"], 3, (1, 1), per_class=16)
    mixed = partial(DATA["_blob_single_stage"], 3, 2, per_class=16)
    warm = WarmUp(steps=4, batch_size=16, cache=False)
    # not Adam: before batch norm a bias has no gradient but rounding, of which Adam makes a step
    phe = {
        "base": _recipe(strategies.phe.BASE, lr=0.02),
        "hash_hidden": 16,
        "hash_bottleneck": 8,
    }
    return {
        "happy": (
            _two(strategies.Happy, strategies.happy, warm_up=warm, num_novel="estimate"),
            partial(stages, num_novel="estimate"),
        ),
        "proto_gcd": (_two(strategies.ProtoGCD, strategies.proto_gcd), mixed),
        "gcd": (_two(strategies.GCD, strategies.gcd), stages),
        "phe": (
            lambda **more: strategies.PHE(model=_model(), **phe, **more),
            partial(DATA["_blob_stream"], 3, 2, per_class=16, window=12),
        ),
    }


class Seen(PluginMetric):
    """The loss of every step; ends the process in one of them where that is wanted."""

    def __init__(self, job: dict[str, Any]) -> None:
        super().__init__()
        self.losses: list[float] = []
        self.last = job.get("last")
        self.is_lost = job.get("lost") == own_number()

    def reset(self) -> None:
        pass

    def result(self) -> None:
        return

    def __str__(self) -> str:
        return "Seen"

    def after_training_iteration(self, strategy: Any) -> None:
        self.losses.append(float(strategy.loss.detach()))
        if self.last is not None and len(self.losses) == self.last:
            raise KeyboardInterrupt

    def before_training_iteration(self, strategy: Any) -> None:
        if self.is_lost and len(self.losses) == 3:
            os._exit(9)


def run(job: dict[str, Any], told: Path) -> int:
    """One try of a run in its folder; `told` gets what was seen of it."""
    build, scenario = _cases()[job["case"]]
    with joined() if job["count"] > 1 else nullcontext():
        seen = Seen(job)
        strategy = build(evaluator=discovery_evaluator(Baselines(), seen))
        try:
            run_stages(
                strategy,
                scenario(),
                job["folder"],
                checkpoint_minutes=None,
                checkpoint_steps=job.get("steps"),
            )
        finally:
            weights = hashlib.sha256()
            for tensor in part_tensors(strategy).values():
                weights.update(tensor.detach().contiguous().numpy().tobytes())
            told.write_text(json.dumps({"losses": seen.losses, "weights": weights.hexdigest()}))
    return 0


def work(job: dict[str, Any], told: Path) -> int:
    """What one process does: `cgcd` with arguments, or a run of a case."""
    if "arguments" in job:
        os.chdir(job["folder"])
        return main(job["arguments"])
    with log_lines():
        return exit_code(partial(run, job, told), "the same command goes on")


def _free_port() -> str:
    with socket.socket() as open_one:
        open_one.bind(("127.0.0.1", 0))
        return str(open_one.getsockname()[1])


def attempt(job: dict[str, Any]) -> list[dict[str, Any]]:
    """Do a job in as many processes as it says.

    Returns:
        Of each process: `code`, what it `said` (standard output) and `complained`, what it saw.
    """
    group = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": _free_port(), "TORCHELASTIC_RUN_ID": "test"}
    files, children = [], []
    for number in range(job["count"]):
        front = f"{job['folder']}.{job['count']}.{number}"
        files.append([Path(f"{front}.{name}") for name in ("json", "out", "err")])
        told, *streams = files[-1]
        told.unlink(missing_ok=True)
        child = os.fork()
        if not child:
            code = 1
            try:
                for place, path in enumerate(streams, start=1):
                    handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
                    os.dup2(handle, place)
                if job["count"] > 1:
                    own = {"RANK": str(number), "LOCAL_RANK": str(number)}
                    os.environ.update({**group, **own, "WORLD_SIZE": str(job["count"])})
                code = work(job, told)
                sys.stdout.flush(), sys.stderr.flush()
            finally:
                os._exit(code)
        children.append(child)
    codes = _ended(children)
    return [
        {
            "code": code,
            "said": out.read_text(),
            "complained": err.read_text()[-3000:],
            **(json.loads(told.read_text()) if told.is_file() else {}),
        }
        for code, (told, out, err) in zip(codes, files, strict=True)
    ]


def _ended(children: list[int]) -> list[int]:
    """Exit codes; whoever is late is killed, -9."""
    codes: dict[int, int] = {}
    stop = time.monotonic() + PATIENCE
    while len(codes) < len(children):
        for child in set(children) - codes.keys():
            found, status = os.waitpid(child, os.WNOHANG)
            if found:
                codes[child] = os.waitstatus_to_exitcode(status)
            elif time.monotonic() > stop:
                os.kill(child, signal.SIGKILL)
        time.sleep(0.02)
    return [codes[child] for child in children]


def serve() -> None:
    print(json.dumps({"ready": True}), flush=True)
    for line in sys.stdin:
        print(json.dumps(attempt(json.loads(line))), flush=True)


if __name__ == "__main__":
    serve()
