"""SMILE: sign-magnitude disentanglement for on-the-fly category discovery."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from cgcd.engine import Batch, HashStrategy, Recipe
from cgcd.engine.seeding import isolated_randomness
from cgcd.losses import sign_quantization, supervised_contrastive
from cgcd.memory import HashCodebook, PrototypeMemory
from cgcd.models import GCDModel, SignMagnitudeHead
from cgcd.stages import Stage
from cgcd.vocabulary import InputError

BASE = Recipe(
    epochs=100,
    batch_size=128,
    optimizer=partial(torch.optim.SGD, lr=0.01, momentum=0.9, weight_decay=5e-5),
    weights={"supervised_contrastive": 1.0, "sign_quantization": 3.0},
)


class SMILE(HashStrategy):
    """One code, one category: signs name categories, magnitudes let the contrast train them.

    A sample's feature is the product of a sign branch in (-1, 1) and a magnitude branch of at least
    1; supervised contrast shapes the product, a regularizer drives the signs to -1 and 1. On the
    stream each distinct sign pattern is a category; known classes have no name of their own.

    Args:
        model: shared model; `extras` gets the head.
        code_length: bits L, 1 to 1024.
        base: recipe of the labeled stage; the weights name the loss terms.
        temperature: of the contrast, > 0.
        hash_hidden, hash_bottleneck: widths of the head.
        **engine: arguments of `HashStrategy`: warm_up, seed, device, observe_batch_size, ...

    Source: Du et al., On-the-fly Category Discovery, CVPR 2023, after the authors' code. It has no
    classifier; `predict`, which the closed-set bound needs, is the nearest mean of the labeled
    features. Unlike the code's intention no epoch is picked; the last weights answer the stream.
    """

    num_views = 2

    def __init__(
        self,
        *,
        model: GCDModel,
        code_length: int = 12,
        base: Recipe = BASE,
        temperature: float = 0.07,
        hash_hidden: int = 2048,
        hash_bottleneck: int = 256,
        seed: int = 0,
        **engine: Any,
    ) -> None:
        HashCodebook(code_length)  # says what is wrong with the length
        if not temperature > 0:
            raise InputError(
                f"temperature is {temperature}; wanted a number above 0: set "
                "strategy.temperature=0.07"
            )
        self.temperature = temperature
        self.hash_hidden, self.hash_bottleneck = hash_hidden, hash_bottleneck
        with isolated_randomness(seed, "smile"):
            self.hash = SignMagnitudeHead(model.dim, code_length, hash_hidden, hash_bottleneck)
        model.extras["hash"] = self.hash
        super().__init__(model=model, code_length=code_length, base=base, seed=seed, **engine)
        self.memory = PrototypeMemory(code_length).to(self.device)

    def losses(self, batch: Batch) -> Mapping[str, Tensor]:
        out = self.hash(batch.out.features)
        return {
            "supervised_contrastive": supervised_contrastive(
                out.features, batch.labels, self.temperature
            ),
            "sign_quantization": sign_quantization(out.signs),
        }

    @torch.no_grad()
    def end_stage(self, stage: Stage) -> None:
        seen = self.stage_outputs(stage)
        self.memory.remember_labeled(self.hash(seen.features).features, seen.labels)
        self.report["codes"] = {"length": self.code_length, "radius": 0, "rule": "equal codes"}

    def encode(self, trunk: Tensor) -> Tensor:
        return self.hash(self.model.backbone.tail(trunk)).signs

    def predict(self, trunk: Tensor) -> Tensor:
        """Cosines to the class means of the labeled features, over 0.1, (B, K)."""
        features = self.hash(self.model.backbone.tail(trunk)).features
        return F.normalize(features, dim=-1) @ self.memory.means.T / 0.1

    def new_book(self) -> HashCodebook:
        return HashCodebook(self.code_length)

    def parameter_groups(self, model: GCDModel) -> list[dict[str, Any]]:
        own = ("backbone.", "extras.hash.")
        learning = [(n, p) for n, p in model.named_parameters() if p.requires_grad]
        return [{"params": [(name, p) for name, p in learning if name.startswith(own)]}]

    def state_modules(self) -> dict[str, nn.Module]:
        return {**super().state_modules(), "extras": self.model.extras, "memory": self.memory}
