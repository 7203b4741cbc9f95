"""New rows of the head at a later stage, for the methods that start from clusters."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F

from cgcd.discovery import novel_directions


def grow_by_clusters(
    strategy: Any, stage: Any, *, seed: int, num_starts: int, deduplicate: bool = False
) -> None:
    """Grow the head by the stage's clusters that the known classes explain least.

    At a supervised stage by the means of the classes whose labels are first met there.

    Args:
        strategy: a `DiscoveryStrategy` at the beginning of a later stage.
        stage: that stage; its features come from the model as the last stage left it.
        seed, num_starts, deduplicate: see `cgcd.discovery.novel_directions`.

    Source: Ma et al., Happy, NeurIPS 2024, arXiv 2410.06535, equation 3. The means: Qi et al.,
    Low-Shot Learning with Imprinted Weights, CVPR 2018.
    """
    head, novel = strategy.model.head, strategy.novel_classes(stage)
    seen = strategy.stage_outputs(stage)
    if strategy.supervised:
        rows = F.normalize(seen.features, dim=-1)
        places = [seen.labels == strategy.num_known + k for k in range(novel)]
        directions = torch.stack([rows[place].mean(0) for place in places]) if novel else rows[:0]
    else:
        directions = novel_directions(
            seen.features,
            head.directions.detach(),
            novel,
            seed=seed,
            num_starts=num_starts,
            deduplicate=deduplicate,
        )
    head.grow(strategy.num_known + novel, directions, generator=strategy.generator("head"))
