"""ProtoGCD in a stream beside sequential SimGCD and Happy, from the same base stage.

    python tests/benchmarks/continual_gcd.py [hidden] [seeds]

The digits stream of the README: five base digits, then one new digit a stage. The base stage is
trained once a seed, by SimGCD; every method goes on from those weights and remembers what it needs
of them. Prints All, Known and Novel of each method, means over the five stages. With `hidden` the
stream is made of the base digits alone, two or three of which play the novel ones: settings are
compared there and nowhere else.
"""

from __future__ import annotations

import copy
import sys
from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
import torch

from cgcd.engine import Baselines, DiscoveryStrategy, WarmUp, discovery_evaluator
from cgcd.engine.evaluation import DiscoveryMetrics
from cgcd.engine.hidden import hidden_class_scenario
from cgcd.engine.seeding import isolated_randomness
from cgcd.models import GCDModel
from cgcd.stages import DiscoveryScenario
from scenarios import digits_scenario
from strategies import Happy, ProtoGCD, SimGCD, happy, proto_gcd, simgcd


def sgd(lr: float) -> Any:
    return partial(torch.optim.SGD, lr=lr, momentum=0.9, weight_decay=5e-5)


def small(recipe: Any, epochs: int, batch_size: int, lr: float, **weights: float) -> Any:
    """A published recipe in the sizes of configs/recipe/digits-*.yaml."""
    return replace(
        recipe,
        epochs=epochs,
        batch_size=batch_size,
        optimizer=sgd(lr),
        weights={**recipe.weights, **weights},
    )


def methods(seed: int) -> Iterator[tuple[str, DiscoveryStrategy]]:
    """SimGCD first: its base stage is everybody's."""
    common: dict[str, Any] = {"seed": seed}
    for name, made, module, base, settings in (
        ("SimGCD", SimGCD, simgcd, 5, {"teacher_temperature_epochs": 5}),
        ("ProtoGCD", ProtoGCD, proto_gcd, 1, {"ramp_epochs": 3, "continual_ramp_epochs": 10}),
        ("Happy", Happy, happy, 1, {"teacher_temperature_epochs": 5}),
    ):
        with isolated_randomness(seed, "model"):
            model = GCDModel(
                "resnet10t",
                input_size=24,
                crop_pct=0.875,
                interpolation="bicubic",
                projection_hidden=512,
                projection_dim=128,
            )
        yield (
            name,
            made(
                model=model,
                base=small(module.BASE, base, 64, 0.03),
                continual=small(module.CONTINUAL, 20, 50, 0.01),
                warm_up=WarmUp() if name == "SimGCD" else None,
                evaluator=discovery_evaluator(Baselines(), loss_terms=False),
                **common,
                **settings,
            ),
        )


def streams(seed: int, hidden: bool, inputs: Any) -> list[DiscoveryScenario]:
    scenario = digits_scenario(inputs=inputs, seed=seed)
    if not hidden:
        return [scenario]
    return [hidden_class_scenario(scenario, fold=f, num_folds=2, seed=seed) for f in range(2)]


def main(hidden: bool, seeds: int) -> None:
    torch.set_num_threads(1)
    rows: dict[str, list[np.ndarray]] = {}
    for seed in range(seeds):
        inputs = next(methods(seed))[1].model.inputs
        for scenario in streams(seed, hidden, inputs):
            base: dict[str, torch.Tensor] = {}
            for name, strategy in methods(seed):
                strategy.train(scenario.train_stream[0])
                if base:
                    strategy.model.load_state_dict(base)
                    strategy.model.eval()
                    strategy.end_stage(scenario.train_stream[0])
                    strategy.model.train()
                else:
                    base = copy.deepcopy(strategy.model.state_dict())
                scores = []
                for t, stage in enumerate(scenario.train_stream[1:], start=1):
                    strategy.train(stage)
                    strategy.eval(scenario.test_stream[: t + 1])
                    row: dict[str, float] = {}
                    for metric in strategy.evaluator.metrics:
                        if isinstance(metric, DiscoveryMetrics | Baselines):
                            row |= metric.row
                    scores.append(row)
                if name == "SimGCD":
                    for floor in ("bound/closed_set", "floor/nearest_mean", "floor/kmeans"):
                        rows.setdefault(floor, []).append(_mean(scores, floor + "_"))
                rows.setdefault(name, []).append(_mean(scores, "accuracy/"))
                text = " / ".join(f"{value:5.1f}" for value in rows[name][-1])
                print(f"seed {seed}  {name:10} {text}", flush=True)
    print("\nAll / Known / Novel, percent, mean of the stages, then of the seeds (± between them)")
    for name, values in rows.items():
        mean, spread = np.mean(values, axis=0), np.std(values, axis=0)
        cells = " / ".join(f"{m:5.1f} ± {s:3.1f}" for m, s in zip(mean, spread, strict=True))
        print(f"{name:20} {cells}")


def _mean(scores: list[dict[str, float]], front: str) -> np.ndarray:
    return 100 * np.array(
        [np.mean([row[front + group] for row in scores]) for group in ("all", "known", "novel")]
    )


if __name__ == "__main__":
    arguments = [a for a in sys.argv[1:] if a != "hidden"]
    main("hidden" in sys.argv, int(arguments[0]) if arguments else 5)
