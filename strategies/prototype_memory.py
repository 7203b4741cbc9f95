"""Prototype memory: known, one of the opened categories, or a new one, by cosine."""

from __future__ import annotations

import copy
import logging
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from cgcd.discovery.prototype_thresholds import KnownClasses, calibrated_spreads
from cgcd.engine import (
    Baselines,
    Batch,
    DiscoveryStrategy,
    OnlineStrategy,
    ParametricBase,
    Recipe,
)
from cgcd.engine.online import finite_codes
from cgcd.engine.parametric import BASE
from cgcd.engine.prototype_leader import PrototypeLeader
from cgcd.memory import PrototypeBook
from cgcd.models import GCDModel
from cgcd.stages import Stage
from cgcd.vocabulary import GCDOutput, InputError

log = logging.getLogger(__name__)

__all__ = ["BASE", "PrototypeMemory"]


class PrototypeMemory(ParametricBase, OnlineStrategy[PrototypeBook]):
    """One prototype a category; a sample joins the most similar one that takes it, or opens one.

    A known class is the mean of its labeled features, and it takes what is about as similar to it
    as its own samples are. An opened category takes what is similar enough for any class, and its
    prototype runs along with its samples. How similar that is, is found by hiding known classes:
    there is no threshold to set, and none is found on the stream.

    Args:
        model: shared model.
        base: recipe of the base stage, as Happy's; the weights name the loss terms.
        tune_base: False takes the features as they come, after the warm-up if there is one.
        blend: weight of a known class's own threshold, in [0, 1]; the rest is the average's.
        running: False leaves a prototype at the sample that opened its category.
        merge_every: samples between two looks for categories that are one, >= 0; 0: never.
        mature: samples of a category that may be merged with another such, >= 1.
        **engine: arguments of `ParametricBase` and `OnlineStrategy`: warm_up, seed, device,
            observe_batch_size, ...

    Source: ours, put together from on-line methods: TALON, arXiv 2603.08075 (nearest prototype or
    a new one); AGE, ICLR 2026 (a soft threshold for each known class); PACO, arXiv 2604.11484
    (known, existing or new, set by simulated discovery). Not theirs: a sample goes to the most
    similar category of all that take it, a running mean does not depend on batches, and merging
    leaves ids their meaning.
    """

    num_views = 2

    def __init__(
        self,
        *,
        model: GCDModel,
        base: Recipe = BASE,
        tune_base: bool = True,
        blend: float = 0.5,
        running: bool = True,
        merge_every: int = 0,
        mature: int = 10,
        **engine: Any,
    ) -> None:
        if not 0 <= blend <= 1:
            raise InputError(f"blend is {blend}; wanted 0 to 1: set strategy.blend=0.5")
        self.start = PrototypeBook(
            model.dim, running=running, merge_every=merge_every, mature=mature
        )
        super().__init__(model=model, base=base, **engine)
        self.tune_base, self.blend = tune_base, blend
        self.running, self.merge_every, self.mature = running, merge_every, mature

    # ---------------------------------------------------------------- the base stage

    def takes_steps_at(self, stage_index: int) -> bool:
        return self.tune_base

    def begin_stage(self, stage: Stage) -> None:
        super().begin_stage(stage)
        counts = np.bincount(stage.dataset.targets)
        if (counts >= 4).sum() < 3:
            raise InputError(
                f"the known classes have {counts.tolist()[:6]} labeled samples; wanted three "
                "classes of at least 4, for thresholds are found by hiding classes and samples: "
                "set scenario.protocol.num_known or labeled_fraction higher"
            )

    def outputs(self, trunk: Tensor) -> GCDOutput:
        return DiscoveryStrategy.outputs(self, trunk)

    def losses(self, batch: Batch) -> Mapping[str, Tensor]:
        return self.base_losses(batch)

    @torch.no_grad()
    def end_stage(self, stage: Stage) -> None:
        seen = self.stage_outputs(stage)
        features, labels = seen.features.float().cpu().numpy(), seen.labels.cpu().numpy()
        spreads = calibrated_spreads(features, labels, self.blend, self.seed)
        if not spreads.score:
            log.warning(
                "no known class was found again where it was hidden: the widest thresholds are "
                "taken, and few categories will be opened"
            )
        known = KnownClasses.of(features, labels)
        self.start = known.book(
            spreads,
            self.blend,
            running=self.running,
            merge_every=self.merge_every,
            mature=self.mature,
        )
        self.report["thresholds"] = {
            "known_spread": spreads.known,
            "opened_spread": spreads.opened,
            "known_mean": round(float(self.start.thresholds.mean()), 4),
            "opened": round(self.start.join_threshold, 4),
            "merge": round(known.alike, 4) if self.merge_every else "never",
            "hidden_score": round(spreads.score, 4),
        }

    # ---------------------------------------------------------------- the stream

    def encode(self, trunk: Tensor) -> Tensor:
        return self.model.backbone.tail(trunk)

    def book_rows(self, codes: Tensor) -> np.ndarray:
        """Features (B, D) float32."""
        return finite_codes(codes).float().numpy(force=True)

    def new_book(self) -> PrototypeBook:
        return copy.deepcopy(self.start)

    def new_leader(self, baselines: Baselines) -> PrototypeLeader:
        return PrototypeLeader(baselines, self.start)

    def predict(self, trunk: Tensor) -> Tensor:
        """Cosines to the prototypes of the known classes, over 0.1, (B, K)."""
        if not len(self.start):  # inside the base stage
            return DiscoveryStrategy.predict(self, trunk)
        features = self.model.backbone.tail(trunk).float()
        origin, prototypes = (
            torch.from_numpy(values).to(features)
            for values in (self.start.origin, self.start.prototypes)
        )
        rows = F.normalize(F.normalize(features, dim=-1) - origin, dim=-1)
        return rows @ prototypes.T / 0.1

    def state_modules(self) -> dict[str, nn.Module]:
        return {**super().state_modules(), "prototypes": self.start}
