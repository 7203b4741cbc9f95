"""New rows of the head at an unlabeled stage, for the methods that start from clusters."""

from __future__ import annotations

from typing import Any

from cgcd.discovery import novel_directions


def grow_by_clusters(
    strategy: Any, stage: Any, *, seed: int, num_starts: int, deduplicate: bool = False
) -> None:
    """Grow the head by the stage's clusters that the known classes explain least.

    Args:
        strategy: a `DiscoveryStrategy` at the beginning of an unlabeled stage.
        stage: that stage; its features come from the model as the last stage left it.
        seed, num_starts, deduplicate: see `cgcd.discovery.novel_directions`.

    Source: Ma et al., Happy, NeurIPS 2024, arXiv 2410.06535, equation 3.
    """
    head, novel = strategy.model.head, strategy.novel_classes(stage)
    directions = novel_directions(
        strategy.stage_outputs(stage).features,
        head.directions.detach(),
        novel,
        seed=seed,
        num_starts=num_starts,
        deduplicate=deduplicate,
    )
    head.grow(strategy.num_known + novel, directions, generator=strategy.generator("head"))
