"""The floor beside a prototype memory: leader clustering of features nobody trained."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from cgcd.engine.baselines import Baselines
from cgcd.memory import PrototypeBook


class PrototypeLeader:
    """Leader clustering of the features the run started from, at the method's own thresholds.

    The means of the known classes lead too, and the mean of these is the origin. A leader stays
    where it is: the sample that opened its category.

    Args:
        baselines: after the base stage: the tail the run started from, and its class means.
        book: of the method, at the start of the stream; gives the thresholds.

    Source: sequential leader clustering is the floor of the on-line papers ("SLC").
    """

    def __init__(self, baselines: Baselines, book: PrototypeBook) -> None:
        if baselines.start is None:
            raise ValueError("the baselines have not seen a base stage; train on it first")
        self.start = baselines.start
        means = baselines.means.double().numpy()
        origin = means.mean(0)
        self.book = PrototypeBook(book.dim, running=False)
        self.book.add_known(
            means - origin,
            book.thresholds,
            join_threshold=book.join_threshold,
            origin=origin,
        )

    @torch.no_grad()
    def rows(self, trunk: Tensor) -> np.ndarray:
        """Features of trunk outputs (B, ...), (B, D) float32."""
        return self.start.features(trunk.unsqueeze(1))[:, 0].float().cpu().numpy()
