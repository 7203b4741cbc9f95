"""Recipes: epochs, optimizer, schedule and the weight of every loss term."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import partial, reduce
from operator import add
from typing import Any

import torch
from torch import Tensor, nn
from torch.amp import GradScaler
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LambdaLR

from cgcd.vocabulary import InputError

_SCHEDULE = ("last_epoch", "_step_count", "_last_lr")
"""What the steps of a scheduler change."""


@dataclass(frozen=True, kw_only=True)
class WarmedCosine:
    """A linear rise, then a cosine, between absolute rates that all parameter groups share.

    With t = max(epoch - lag, 0): `start_lr` + t (lr - `start_lr`) / `rise_epochs` while
    t < `rise_epochs`, then `final_lr` + (lr - `final_lr`) (1 + cos(pi t / epochs)) / 2. The cosine
    does not start anew after the rise.

    Attributes:
        rise_epochs: length of the rise, >= 0.
        start_lr: first rate of every group, >= 0.
        final_lr: last rate of every group, >= 0.
        lag: epochs by which everything comes late, >= 0; the released code's is 1.

    Source: the authors' code of PHE, NeurIPS 2024.
    """

    rise_epochs: int = 5
    start_lr: float = 1e-4
    final_lr: float = 1e-5
    lag: int = 1

    def __post_init__(self) -> None:
        if min(self.rise_epochs, self.start_lr, self.final_lr, self.lag) < 0:
            raise InputError(f"{self} holds a number below 0; wanted 0 or more everywhere")

    def rate(self, lr: float, epoch: int, epochs: int) -> float:
        """Learning rate at `epoch` (from 0) of a group whose own rate is `lr`."""
        t = max(epoch - self.lag, 0)
        if t < self.rise_epochs:
            return self.start_lr + t * (lr - self.start_lr) / self.rise_epochs
        return self.final_lr + (lr - self.final_lr) * (1 + math.cos(math.pi * t / epochs)) / 2


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """How one kind of stage is trained.

    Attributes:
        epochs: passes over the stage, >= 1.
        batch_size: images a step (each under V views).
        optimizer: a partial of a `torch.optim` class, everything but its parameters.
        weights: weight of each loss term by name; the strategy's terms and these must be the same.
        schedule: "cosine" (per epoch, down to `floor`), "constant" or a `WarmedCosine`.
        floor: last learning rate as a fraction of the first, in [0, 1].
        clip_norm: largest gradient norm, None for no clipping.
        drop_last: leave the last batch of an epoch out where it is incomplete; one of a single
            image is always left out (batch norm has no statistics of it).
    """

    epochs: int
    batch_size: int
    optimizer: partial[Optimizer]
    weights: Mapping[str, float] = field(default_factory=dict)
    schedule: str | WarmedCosine = "cosine"
    floor: float = 1e-3
    clip_norm: float | None = None
    drop_last: bool = True

    def __post_init__(self) -> None:
        object.__setattr__(self, "weights", dict(self.weights))
        for name in ("epochs", "batch_size"):
            if getattr(self, name) < 1:
                raise InputError(f"a recipe's {name} is {getattr(self, name)}; wanted at least 1")
        if not isinstance(self.schedule, WarmedCosine) and self.schedule not in (
            "cosine",
            "constant",
        ):
            raise InputError(
                f"a recipe's schedule is {self.schedule!r}; wanted cosine, constant or a "
                "cgcd.engine.WarmedCosine"
            )
        if not isinstance(self.optimizer, partial):
            raise InputError(
                "a recipe's optimizer is no partial; add _partial_: true beside _target_"
            )
        for name in ("lr", "momentum", "weight_decay"):
            given = self.optimizer.keywords.get(name, 0)
            if isinstance(given, int | float) and not 0 <= given < math.inf:
                raise InputError(f"a recipe's optimizer has {name}={given}; wanted 0 or more")
        try:
            self.optimizer([nn.Parameter(torch.zeros(1))])
        except (TypeError, ValueError) as error:
            raise InputError(f"a recipe's optimizer cannot be made: {error}") from error
        if not 0 <= self.floor <= 1:
            raise InputError(f"a recipe's floor is {self.floor}; wanted a share from 0 to 1")
        if self.clip_norm is not None and not 0 < self.clip_norm < math.inf:
            raise InputError(
                f"a recipe's clip_norm is {self.clip_norm}; wanted a number above 0, or null for "
                "no clipping"
            )

    def factor(self, epoch: int, lr: float = 1.0) -> float:
        """Learning rate of `epoch` (from 0) as a fraction of the group's own rate `lr`."""
        if isinstance(self.schedule, WarmedCosine):
            return self.schedule.rate(lr, epoch, self.epochs) / lr
        if self.schedule == "constant":
            return 1.0
        return self.floor + (1 - self.floor) * (1 + math.cos(math.pi * epoch / self.epochs)) / 2

    def steps(self, num_samples: int) -> int:
        """Optimizer steps of one epoch over so many samples."""
        whole, rest = divmod(num_samples, self.batch_size)
        return whole + (not self.drop_last and rest > 1)

    def total(self, terms: Mapping[str, Tensor]) -> Tensor:
        """Weighted sum of the loss terms.

        Raises:
            InputError: if a term has no weight or a weight no term.
        """
        if terms.keys() != self.weights.keys():
            without = sorted(terms.keys() - self.weights.keys())
            unknown = sorted(self.weights.keys() - terms.keys())
            raise InputError(
                f"weights and loss terms differ: no weight for {without}, no term for {unknown}; "
                f"the terms are {sorted(terms)}"
            )
        return reduce(add, [self.weights[name] * term for name, term in terms.items()])


def parameter_groups(model: nn.Module) -> list[dict[str, Any]]:
    """Trainable parameters in two groups: biases and 1-d tensors are not decayed.

    Source: the released code of GCD, SimGCD and Happy.
    """
    decayed, plain = [], []
    for name, parameter in model.named_parameters():
        if parameter.requires_grad:
            group = plain if parameter.dim() < 2 or name.endswith(".bias") else decayed
            group.append((name, parameter))
    return [{"params": decayed}, {"params": plain, "weight_decay": 0.0}]


def check_same_class(base: Any, continual: Any) -> None:
    """Refuse recipes of two optimizer classes, for one object lives through all stages.

    Raises:
        InputError: naming both.
    """
    if continual is not base:
        raise InputError(
            f"the base recipe uses {base.__name__} and the continual one "
            f"{continual.__name__}; use the same optimizer class in both"
        )


class StagedOptimizer:
    """One optimizer for the whole run that every stage finds as new.

    At a new stage the state is cleared, grown parameters take the place of the old ones, the
    settings are those of the stage's recipe and a new schedule starts. The object stays the same,
    so whatever holds it (a scheduler, a plugin) holds the live one.

    Args:
        model: parameters are followed by name.
        recipe: the first recipe; later ones must use the same optimizer class.
        groups: parameter groups of (name, parameter) pairs.
    """

    def __init__(self, model: nn.Module, recipe: Recipe, groups: list[dict[str, Any]]) -> None:
        groups = [group for group in groups if group["params"]]
        self._names = [[name for name, _ in group["params"]] for group in groups]
        self._own = [{k: v for k, v in group.items() if k != "params"} for group in groups]
        bare = [{**g, "params": [p for _, p in g["params"]]} for g in groups]
        self.optimizer: Optimizer = recipe.optimizer(bare)
        self.scheduler: LambdaLR | None = None
        self.scaler = GradScaler(enabled=False)

    def begin(self, model: nn.Module, recipe: Recipe, scaler: GradScaler | None = None) -> None:
        """Make optimizer and schedule those of a new stage.

        Args:
            model: with the parameters of the stage.
            recipe: of the stage.
            scaler: of its gradients, new; None for one that does nothing.
        """
        check_same_class(type(self.optimizer), recipe.optimizer.func)
        self.scaler = scaler or GradScaler(enabled=False)
        self.optimizer.state.clear()
        parameters = dict(model.named_parameters())
        settings = recipe.optimizer([nn.Parameter(torch.zeros(1))]).defaults
        for group, names, own in zip(
            self.optimizer.param_groups, self._names, self._own, strict=True
        ):
            group["params"] = [parameters[name] for name in names]
            group.update({**settings, **own})
            group["initial_lr"] = group["lr"]
        self.scheduler = LambdaLR(
            self.optimizer,
            [partial(recipe.factor, lr=g["lr"]) for g in self.optimizer.param_groups],
        )

    def state(self) -> tuple[dict[str, Any], dict[str, Tensor]]:
        """What steps have changed: plain data, and tensors by `<place>.<name>`."""
        stored = self.optimizer.state_dict()
        plain: dict[str, Any] = {
            "groups": [
                {k: v for k, v in group.items() if isinstance(v, bool | int | float | None)}
                for group in stored["param_groups"]
            ],
            "state": {},
            "schedule": {},
            "scaler": self.scaler.state_dict(),
        }
        tensors: dict[str, Tensor] = {}
        for place, values in stored["state"].items():
            for name, value in values.items():
                if isinstance(value, Tensor):
                    tensors[f"{place}.{name}"] = value
                else:
                    plain["state"].setdefault(str(place), {})[name] = value
        if self.scheduler is not None:
            plain["schedule"] = {name: vars(self.scheduler)[name] for name in _SCHEDULE}
        return plain, tensors

    def load(
        self, model: nn.Module, plain: Mapping[str, Any], tensors: Mapping[str, Tensor]
    ) -> None:
        """Put back what `state` gave, after `begin` and with the parameters of `model`."""
        parameters = dict(model.named_parameters())
        for group, names in zip(self.optimizer.param_groups, self._names, strict=True):
            group["params"] = [parameters[name] for name in names]
        state: dict[int, dict[str, Any]] = {int(k): dict(v) for k, v in plain["state"].items()}
        for key, tensor in tensors.items():
            place, _, name = key.partition(".")
            state.setdefault(int(place), {})[name] = tensor
        groups = self.optimizer.state_dict()["param_groups"]
        merged = [{**own, **kept} for own, kept in zip(groups, plain["groups"], strict=True)]
        self.optimizer.load_state_dict({"state": state, "param_groups": merged})
        if self.scheduler is not None:
            vars(self.scheduler).update(plain["schedule"])
        if self.scaler.is_enabled():
            self.scaler.load_state_dict(plain["scaler"])

    def backward(self, loss: Tensor, retain_graph: bool = False) -> None:
        """Gradients of the loss, in its own scale, whatever it takes to compute them."""
        if not self.scaler.is_enabled():
            loss.backward(retain_graph=retain_graph)
            return
        self.scaler.scale(loss).backward(retain_graph=retain_graph)
        self.scaler.unscale_(self.optimizer)

    def step(self) -> None:
        """Take the step, unless a scaled gradient overflowed."""
        if not self.scaler.is_enabled():
            self.optimizer.step()
            return
        self.scaler.step(self.optimizer)
        self.scaler.update()

    def clip(self, recipe: Recipe) -> None:
        """Clip the gradient norm where the recipe asks for it."""
        if recipe.clip_norm is not None:
            params = [p for group in self.optimizer.param_groups for p in group["params"]]
            torch.nn.utils.clip_grad_norm_(params, recipe.clip_norm)
