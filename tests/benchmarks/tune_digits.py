"""How the digits defaults were chosen: by hiding known classes, never on the numbers of the README.

    python tests/benchmarks/tune_digits.py [seeds]

Takes only training images of the five base digits, keeps three as base classes, hides the other
two as novel classes of two stages, holds out a part of the images as a test set, and prints every
candidate's mean over the hidden pairs and the seeds beside the floors.
"""

from __future__ import annotations

import sys
import time
from dataclasses import replace
from functools import partial

import numpy as np
import torch

from cgcd.engine import Baselines, WarmUp, discovery_evaluator, run_stages
from cgcd.engine.seeding import isolated_randomness
from cgcd.models import GCDModel
from scenarios import ImageArrays, Protocol, compose, discovery_scenario
from scenarios.digits import read_digits
from scenarios.views import RandomAffine, RandomCrop
from strategies import Happy
from strategies.happy import BASE, CONTINUAL

HIDDEN_PAIRS = ((3, 4), (0, 1), (2, 4))


def known_digits() -> ImageArrays:
    """Training images of digits 0-4 alone, 30 of each class held out."""
    data = read_digits()
    known = np.flatnonzero(data.train_targets < 5)
    generator = np.random.default_rng(0)
    held_out = np.concatenate(
        [generator.permutation(known[data.train_targets[known] == c])[:30] for c in range(5)]
    )
    kept = np.setdiff1d(known, held_out)
    images, targets = data.train_images, data.train_targets
    return ImageArrays(
        images[kept], targets[kept], images[held_out], targets[held_out], data.class_names
    )


def sgd(lr: float) -> partial:
    return partial(torch.optim.SGD, lr=lr, momentum=0.9, weight_decay=5e-5)


CANDIDATES: dict[str, dict] = {}


def candidate(name: str, **settings: object) -> None:
    CANDIDATES[name] = settings


for size in (28, 32):
    candidate(f"{size} px", size=size)
for steps in (60, 80):
    candidate(f"warm-up steps {steps}", warm_steps=steps)
for warm_lr in (1e-3, 4e-3):
    candidate(f"warm-up lr {warm_lr}", warm_lr=warm_lr)
for degrees in (5.0, 15.0):
    candidate(f"degrees {degrees}", degrees=degrees)
for base_epochs in (2, 10):
    candidate(f"base epochs {base_epochs}", base_epochs=base_epochs)
for base_lr in (0.01, 0.1):
    candidate(f"base lr {base_lr}", base_lr=base_lr)
for epochs in (10, 15, 30):
    candidate(f"continual epochs {epochs}", epochs=epochs)
for lr in (0.005, 0.02, 0.05):
    candidate(f"continual lr {lr}", lr=lr)


def run(data: ImageArrays, hidden: tuple[int, int], seed: int, settings: dict) -> dict[str, float]:
    s = {
        "size": 24,
        "warm_lr": 2e-3,
        "warm_steps": 100,
        "degrees": 10.0,
        "lr": 0.01,
        "epochs": 20,
        "base_lr": 0.03,
        "base_epochs": 5,
        "batch": 50,
    } | settings
    base = [c for c in range(5) if c not in hidden]
    protocol = Protocol(
        num_base=3,
        num_stages=2,
        novel_per_stage=1,
        samples_per_novel=70,
        samples_per_known=10,
        labeled_fraction=0.75,
        base_classes=base,
        novel_order=list(hidden),
    )
    with isolated_randomness(seed, "model"):
        model = GCDModel(
            "resnet10t",
            input_size=s["size"],
            projection_hidden=512,
            projection_dim=128,
            interpolation="bicubic",
            crop_pct=0.875,
        )
    scenario = discovery_scenario(
        data,
        compose(data.train_targets, data.test_targets, protocol, seed),
        name="tuning",
        inputs=model.inputs,
        augmentations=[RandomAffine(degrees=s["degrees"]), RandomCrop()],
    )
    warm = WarmUp(steps=s["warm_steps"], lr=s["warm_lr"])
    strategy = Happy(
        model=model,
        base=replace(BASE, epochs=s["base_epochs"], batch_size=64, optimizer=sgd(s["base_lr"])),
        continual=replace(
            CONTINUAL,
            epochs=s["epochs"],
            batch_size=s["batch"],
            optimizer=sgd(s["lr"]),
        ),
        teacher_temperature_epochs=min(5, s["base_epochs"]),
        warm_up=warm,
        seed=seed,
        evaluator=discovery_evaluator(Baselines(), loss_terms=False),
    )
    result = run_stages(strategy, scenario)
    last = result.rows[-1]
    return {
        "All": result.headline,
        "last": last["accuracy/all"],
        "Base": last["accuracy/base"],
        "nearest": result.mean("floor/nearest_mean_all"),
        "k-means": result.mean("floor/kmeans_all"),
        "bound": result.mean("bound/closed_set_all"),
    }


def main() -> None:
    torch.set_num_threads(1)
    seeds = range(int(sys.argv[1]) if len(sys.argv) > 1 else 2)
    only = sys.argv[2:]
    data = known_digits()
    for name, settings in {"default": {}, **CANDIDATES}.items():
        if only and not any(name.startswith(o) for o in only):
            continue
        started = time.process_time()
        rows = [run(data, pair, seed, settings) for pair in HIDDEN_PAIRS for seed in seeds]
        means = {key: np.mean([row[key] for row in rows]) for key in rows[0]}
        cells = "  ".join(f"{key} {100 * value:5.1f}" for key, value in means.items())
        print(
            f"{name:24} {cells}  cpu {(time.process_time() - started) / len(rows):5.1f} s",
            flush=True,
        )


if __name__ == "__main__":
    main()
