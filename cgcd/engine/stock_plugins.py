"""What stock Avalanche plugins need from our engine, and what of them it refuses."""

from __future__ import annotations

import logging
from collections.abc import Collection, Iterable
from typing import Any

import torch
from avalanche.training.plugins import (
    EarlyStoppingPlugin,
    LRSchedulerPlugin,
    LwFPlugin,
    SynapticIntelligencePlugin,
)
from torch.optim import Optimizer

from cgcd.engine.optimization import Recipe
from cgcd.vocabulary import InputError

log = logging.getLogger(__name__)

_VALIDATION = "valid"


def check_stock_plugins(plugins: Iterable[Any], device: torch.device) -> dict[str, Any]:
    """What chooses weights by a measured number, for the report; empty where nothing does.

    Raises:
        InputError: if it looks at another stream than one for validation.
    """
    selections = []
    for plugin in plugins:
        if isinstance(plugin, SynapticIntelligencePlugin) and device.type == "cpu":
            log.warning(
                "Avalanche's SynapticIntelligencePlugin does nothing on a CPU: the weights it "
                "remembers are views of the live ones; take EWCPlugin or MASPlugin, or a GPU"
            )
        if isinstance(plugin, EarlyStoppingPlugin):
            if not plugin.val_stream_name.startswith(_VALIDATION):
                raise InputError(
                    f"EarlyStoppingPlugin watches {plugin.val_stream_name}, and hidden or test "
                    "labels may not choose weights; give it a labeled validation stream: "
                    "val_stream_name='valid_stream'"
                )
            selections.append(f"early stopping by {plugin.metric_key}")
            log.info("weights are chosen by %s", selections[-1])
    return {"selection": selections} if selections else {}


def check_watched(
    plugins: Iterable[Any], streams: Iterable[Iterable[Any]], shown: Collection[int]
) -> None:
    """Refuse to choose weights by labels that are hidden from the strategy.

    Args:
        plugins: of the strategy.
        streams: experiences that are evaluated while it trains, stream by stream.
        shown: the labels that it has seen.

    Raises:
        InputError: if a validation stream that a plugin watches holds another label, or none.
    """
    if not any(isinstance(plugin, EarlyStoppingPlugin) for plugin in plugins):
        return
    for experience in (experience for stream in streams for experience in stream):
        if not experience.origin_stream.name.startswith(_VALIDATION):
            continue
        hidden = sorted({int(label) for label in experience.dataset.targets} - set(shown))
        if hidden:
            raise InputError(
                f"EarlyStoppingPlugin watches samples with the labels {hidden[:6]}, which are "
                "hidden from the strategy and may not choose weights; watch labeled classes only: "
                "train(experience, [benchmark.valid_stream[:1]])"
            )


def hand_over_rate(plugins: Iterable[Any], recipe: Recipe, optimizer: Optimizer) -> None:
    """At a new stage, let Avalanche's schedulers start from the rates of the stage's recipe.

    Raises:
        InputError: if the recipe has a schedule too, or the scheduler is made for another optimizer
            or for a loss that is not computed.
    """
    for plugin in plugins:
        if not isinstance(plugin, LRSchedulerPlugin):
            continue
        if recipe.schedule != "constant":
            raise InputError(
                f"LRSchedulerPlugin and the recipe's schedule {recipe.schedule!r} both set the "
                "learning rate; leave it to the plugin: schedule='constant' in both recipes"
            )
        if plugin.scheduler.optimizer is not optimizer:
            raise InputError(
                "LRSchedulerPlugin steps another optimizer than the strategy's; build its "
                "scheduler on strategy.optimizer and insert the plugin: "
                "strategy.plugins.insert(0, LRSchedulerPlugin(StepLR(strategy.optimizer, 10)))"
            )
        if plugin.metric == "val_loss":
            raise InputError(
                "LRSchedulerPlugin waits for the loss of an evaluation, which is 0: a discovered "
                "category is no label; give it metric='train_loss'"
            )
        plugin.scheduler.base_lrs = [group["initial_lr"] for group in optimizer.param_groups]


def hold_all_rows(plugins: Iterable[Any], num_classes: int) -> None:
    """Let Learning without Forgetting hold every row of the head at the next stage.

    By itself it holds the labels it has seen, among them `UNLABELED`, which it takes for the last
    row of either model: two different classes.
    """
    for plugin in plugins:
        if isinstance(plugin, LwFPlugin):
            for task in plugin.lwf.prev_classes_by_task:
                plugin.lwf.prev_classes_by_task[task] = set(range(num_classes))
