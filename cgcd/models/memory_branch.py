"""A second answer beside a network that goes on learning: a ridge head on features that stay."""

from __future__ import annotations

import copy

import torch
from torch import Tensor, nn

from cgcd.models.ridge import RidgeHead


class MemoryBranch(nn.Module):
    """The tail as it was after the base stage and a ridge head that only ever takes in.

    What the head holds of a class is exact and stays, whatever the network learns later. It finds
    no classes itself: the network says which samples are new.

    Args:
        tail: of the network; its weights are copied when the base stage is over.
        dim: D, the width of its features.
        num_features: random features of the head.
        seed: of the random features.

    Source: DYDM, as far as its published summary tells: 3000 random features, samples that the
    discovery branch calls new enter with one-hot labels, inference is the memory branch's alone.
    Its distillation into the discovery branch is left out, so that branch trains as without.
    """

    def __init__(
        self, tail: nn.Module, dim: int, *, num_features: int = 3000, seed: int = 0
    ) -> None:
        super().__init__()
        self.tail = copy.deepcopy(tail)
        self.head = RidgeHead(dim, num_features=num_features, seed=seed)
        self.requires_grad_(False).eval()

    def train(self, mode: bool = True) -> MemoryBranch:
        return super().train(False)

    @property
    def num_classes(self) -> int:
        return self.head.num_classes

    @torch.no_grad()
    def freeze(self, tail: nn.Module) -> None:
        """Takes over a tail's weights."""
        self.tail.load_state_dict(tail.state_dict())

    @torch.no_grad()
    def learn(self, features: Tensor, labels: Tensor, num_classes: int) -> None:
        """Takes in a stage: all of the base stage, of a later one the samples of new classes.

        Args:
            features: of this branch's tail, (N, D).
            labels: in [0, num_classes), (N,).
            num_classes: after the stage; a new class without a sample is never answered.
        """
        if self.num_classes:
            self.head.append(features, labels, num_classes)
        else:
            self.head.remember(features, labels)

    @torch.no_grad()
    def forward(self, trunk: Tensor) -> Tensor:
        """Regressed one-hot targets, (B, K) float64, for trunk outputs (B, ...)."""
        scores = self.head(self.tail(trunk))
        is_empty = self.head.regression.counts == 0
        return torch.where(is_empty, scores.amin(1, keepdim=True), scores)
