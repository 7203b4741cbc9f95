"""The template of on-line strategies whose categories are hash codes."""

from __future__ import annotations

from typing import Any

import numpy as np
from torch import Tensor

from cgcd.engine.baselines import Baselines, UntrainedLeader
from cgcd.engine.online import OnlineStrategy, finite_codes
from cgcd.memory import HashCodebook, pack
from cgcd.models import GCDModel


class HashStrategy(OnlineStrategy[HashCodebook]):
    """Answers with the category of a code; a bit is set where the real code is above 0.

    Args:
        model: the shared model; what a method adds lies in `model.extras`.
        code_length: bits L of a code.
        **engine: arguments of `OnlineStrategy`: base, warm_up, seed, observe_batch_size, ...
    """

    def __init__(self, *, model: GCDModel, code_length: int, **engine: Any) -> None:
        super().__init__(model=model, **engine)
        self.code_length = code_length

    def book_rows(self, codes: Tensor) -> np.ndarray:
        """Words of real codes (B, L), (B, W) uint64."""
        return packed(codes)

    def new_leader(self, baselines: Baselines) -> UntrainedLeader:
        return UntrainedLeader(baselines, self.new_book(), self.seed)


def packed(codes: Tensor) -> np.ndarray:
    """Words of real codes (B, L), (B, W) uint64; a bit is set where the value is above 0.

    Raises:
        InputError: if a value is not finite, for it has no sign that means anything.
    """
    return pack(finite_codes(codes) > 0)
