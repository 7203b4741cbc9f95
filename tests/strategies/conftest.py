"""Strategies with short recipes for the blobs, on models of their own."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from importlib import import_module
from typing import Any

import pytest
import torch


@pytest.fixture(scope="session")
def quick_closed_form(blob_model: Callable[..., Any]) -> Callable[..., Callable[..., Any]]:
    """As `quick`, for a strategy that takes steps at the base stage only: the second is unused."""

    def builder(made: type) -> Callable[..., Any]:
        base = import_module(made.__module__).BASE

        def build(
            model: Any = None,
            epochs: tuple[int, int] = (3, 2),
            batch_size: int = 16,
            **kwargs: Any,
        ) -> Any:
            short = partial(torch.optim.SGD, lr=0.1, momentum=0.9, weight_decay=5e-5)
            recipe = replace(base, epochs=epochs[0], batch_size=batch_size, optimizer=short)
            settings = {"teacher_temperature_epochs": 2, "kmeans_starts": 2, **kwargs}
            return made(model=model or blob_model(), base=recipe, **settings)

        return build

    return builder


@pytest.fixture(scope="session")
def quick(blob_model: Callable[..., Any]) -> Callable[..., Callable[..., Any]]:
    """From a strategy class, a builder of it: `quick(SimGCD)(epochs=(3, 2), seed=1)`."""

    def builder(made: type) -> Callable[..., Any]:
        module = import_module(made.__module__)

        def build(
            model: Any = None,
            epochs: tuple[int, int] = (3, 2),
            batch_size: int = 16,
            weights: dict[str, float] | None = None,  # of the continual recipe
            **kwargs: Any,
        ) -> Any:
            recipes = {
                name: replace(
                    recipe,
                    epochs=count,
                    batch_size=batch_size,
                    optimizer=partial(torch.optim.SGD, lr=lr, momentum=0.9, weight_decay=5e-5),
                    weights={**recipe.weights, **changed},
                )
                for name, recipe, count, lr, changed in (
                    ("base", module.BASE, epochs[0], 0.1, {}),
                    ("continual", module.CONTINUAL, epochs[1], 0.03, weights or {}),
                )
            }
            settings = {**recipes, "kmeans_starts": 2, **kwargs}
            return made(model=model or blob_model(), **settings)

        return build

    return builder
