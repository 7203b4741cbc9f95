"""What bf16 changes in the results of the digits run, and what a step gains by how it computes.

    python tests/benchmarks/precision.py accuracy [SEED ...] [--device NAME]
    python tests/benchmarks/precision.py step [--device NAME] [--rounds N]

`accuracy` gives the default run in fp32 and in bf16 for each seed (0 to 4), and prints the headline
and the last stage's accuracies with mean and spread over the seeds: bf16 should change the mean by
less than the spread. `step` lets ways to compute take turns on one forward and backward pass: bf16
or fp32, compiled or as written, for the digits ViT; channels last or not, for the default net. It
takes one thread and seconds of the processor, or on a GPU of the clock.
"""

from __future__ import annotations

import argparse
import copy
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from _timing import Row, faster, hand_over, seconds_of
from hydra.utils import instantiate

from cgcd.cli.configs import compose_run
from cgcd.cli.parts import Parts
from cgcd.engine import run_stages
from cgcd.models import GCDModel

NAMES = ("headline", "all", "known", "novel", "base")
BATCH = 128


def final_accuracies(seed: int, precision: str, device: str) -> list[float]:
    """The headline and accuracies of the last stage, in percent."""
    config, _ = compose_run(
        [
            f"seed={seed}",
            f"precision={precision}",
            f"device={device}",
            "tracking=none",
            "baselines=false",
            "analysis=false",
        ]
    )
    with tempfile.TemporaryDirectory() as folder:
        parts = Parts.build(config, Path(folder))
    result = run_stages(parts.strategy, parts.scenario)
    last = (result.rows[-1][f"accuracy/{name}"] for name in NAMES[1:])
    return [100 * value for value in (result.headline, *last)]


def print_accuracies(seeds: Sequence[int], device: str) -> None:
    found: dict[str, Any] = {"fp32": [], "bf16": []}
    heads = " | ".join(f"{name} {kind}" for name in NAMES for kind in found)
    print(f"| seed | {heads} |\n|{' --- |' * (1 + 2 * len(NAMES))}")
    for seed in seeds:
        for kind, rows in found.items():
            rows.append(final_accuracies(seed, kind, device))
        print(f"| {seed} | {_cells(found['fp32'][-1], found['bf16'][-1])} |", flush=True)
    whole, half = (np.array(rows) for rows in found.values())
    print(f"| mean | {_cells(whole.mean(0), half.mean(0))} |")
    if len(seeds) == 1:
        return
    spread = whole.std(0, ddof=1)
    print(f"| spread | {_cells(spread, half.std(0, ddof=1))} |")
    for name, change, room in zip(NAMES, (half - whole).mean(0), spread, strict=True):
        verdict = "less" if abs(change) < room else "NOT less"
        print(
            f"{name}: bf16 changes the mean by {change:+.2f}, {verdict} than the spread {room:.2f}"
        )


def _cells(whole: Sequence[float], half: Sequence[float]) -> str:
    return " | ".join(f"{value:.1f}" for pair in zip(whole, half, strict=True) for value in pair)


# -------------------------------------------------------------------- a step


def steps(device: torch.device, rounds: int) -> list[Row]:
    vit, net = _model("vit_digits", device), _model("resnet10t", device)
    half, compiled, last = copy.deepcopy(vit), copy.deepcopy(vit), copy.deepcopy(net)
    half.backbone.compute_in("bf16")
    compiled.backbone.compute_in(compiled=True)
    last.backbone.to(memory_format=torch.channels_last)
    cases = [
        ("precision=bf16, digits ViT", half, vit, "fp32"),
        ("compile=true, digits ViT", compiled, vit, "as written"),
        ("channels last, resnet10t", last, net, "channels first"),
    ]
    return [
        faster(
            f"{name}, batch {BATCH} x 2 views, {device}",
            *_turns(ours, other, device, rounds),
            against,
            scale="ms",
        )
        for name, ours, other, against in cases
    ]


def _model(name: str, device: torch.device) -> GCDModel:
    config, _ = compose_run([f"model={name}"])
    return instantiate(config.model).to(device).train()


def _turns(
    ours: GCDModel, other: GCDModel, device: torch.device, rounds: int
) -> tuple[list[float], list[float]]:
    """Seconds of a step of both, round by round, after two that do not count."""
    size = ours.inputs.size
    views = torch.rand(BATCH, 2, 3, size, size, device=device)
    found: tuple[list[float], list[float]] = ([], [])
    for _ in range(rounds + 2):
        for seconds, model in zip(found, (ours, other), strict=True):
            seconds.append(_seconds(lambda model=model: _step(model, views), device))
    return found[0][2:], found[1][2:]


def _step(model: GCDModel, views: torch.Tensor) -> None:
    out = model.from_trunk(model.trunk_output(views))
    out.features.square().mean().backward()


def _seconds(run: Callable[[], None], device: torch.device) -> float:
    if device.type != "cuda":
        return seconds_of(run)[0]
    torch.cuda.synchronize(device)
    started = time.perf_counter()
    run()
    torch.cuda.synchronize(device)
    return time.perf_counter() - started


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("what", choices=["accuracy", "step"])
    parser.add_argument("seeds", nargs="*", type=int)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--rounds", type=int, default=20)
    given = parser.parse_args()
    if given.what == "accuracy":
        print_accuracies(given.seeds or range(5), given.device)
        return
    torch.set_num_threads(1)
    for row in steps(torch.device(given.device), given.rounds):
        print(hand_over(row), flush=True)


if __name__ == "__main__":
    main()
