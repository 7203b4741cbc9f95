"""The one model every strategy shares: backbone, projection head, growing cosine head."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from cgcd.models.backbone import InputSpec, create_backbone
from cgcd.models.heads import CosineHead, ProjectionHead
from cgcd.vocabulary import GCDOutput


class GCDModel(nn.Module):
    """Backbone (frozen trunk and tail), projection head and cosine head.

    `model(images)` gives logits (B, K) for images (B, C, H, W), or for view 0 of (B, V, C, H, W),
    so that stock code that knows nothing of views can call it; likewise for vectors (B, D) and
    (B, V, D).

    Args:
        backbone: timm name or module; see `create_backbone` for it and the next arguments.
        projection_hidden, projection_dim, projection_layers: see `ProjectionHead`.

    Attributes:
        extras: what a method adds to the shared parts, by name; trained and moved with them.

    Source: SimGCD, arXiv 2211.11727; Happy, arXiv 2410.06535 section 3.
    """

    def __init__(
        self,
        backbone: str | nn.Module = "resnet10t",
        *,
        pretrained: bool = False,
        weights: str | Path | None = None,
        backbone_kwargs: dict[str, Any] | None = None,
        tail_units: int | str = 1,
        trainable: str = "blocks",
        projection_hidden: int = 2048,
        projection_dim: int = 256,
        projection_layers: int = 3,
        input_size: int | None = None,
        mean: Sequence[float] | None = None,
        std: Sequence[float] | None = None,
        crop_pct: float | None = None,
        interpolation: str | None = None,
        example: Tensor | None = None,
    ) -> None:
        super().__init__()
        self.backbone = create_backbone(
            backbone,
            pretrained=pretrained,
            weights=weights,
            backbone_kwargs=backbone_kwargs,
            tail_units=tail_units,
            trainable=trainable,
            input_size=input_size,
            mean=mean,
            std=std,
            crop_pct=crop_pct,
            interpolation=interpolation,
            example=example,
        )
        self.projection = ProjectionHead(
            self.dim, projection_hidden, projection_dim, projection_layers
        )
        self.head = CosineHead(self.dim)
        self.extras = nn.ModuleDict()

    @property
    def dim(self) -> int:
        """Feature width D."""
        return self.backbone.dim

    @property
    def inputs(self) -> InputSpec:
        """How images must be resized, cropped and normalized."""
        return self.backbone.spec

    @property
    def num_classes(self) -> int:
        return self.head.num_classes

    def forward(self, images: Tensor) -> Tensor:
        if images.dim() in (3, 5):
            images = images[:, 0]
        return self.head(self.backbone(images))

    @torch.no_grad()
    def trunk_output(self, views: Tensor) -> Tensor:
        """Output of the frozen trunk, (B, V, ...), for views (B, V, ...); no gradient."""
        return self.backbone.trunk(views.flatten(0, 1)).unflatten(0, views.shape[:2])

    def from_trunk(self, trunk: Tensor) -> GCDOutput:
        """Features, projections and logits of what `trunk_output` gave, with gradient."""
        features = self.backbone.tail(trunk.flatten(0, 1)).unflatten(0, trunk.shape[:2])
        return GCDOutput(features, self.projection(features), self.head(features))

    def snapshot(self) -> TailSnapshot:
        """A frozen copy of tail and cosine head: the teacher of the next stage."""
        return TailSnapshot(copy.deepcopy(self.backbone.tail), copy.deepcopy(self.head))


class TailSnapshot(nn.Module):
    """Tail and cosine head as they were; always in eval mode, never trained.

    It shares nothing with the model it came from but the trunk's output that it is given.
    """

    def __init__(self, tail: nn.Module, head: CosineHead) -> None:
        super().__init__()
        self.tail, self.head = tail, head
        self.requires_grad_(False).eval()

    def train(self, mode: bool = True) -> TailSnapshot:
        return super().train(False)

    @torch.no_grad()
    def features(self, trunk: Tensor) -> Tensor:
        """Features (B, V, D) of a trunk output (B, V, ...)."""
        return self.tail(trunk.flatten(0, 1)).unflatten(0, trunk.shape[:2])

    @torch.no_grad()
    def logits(self, trunk: Tensor) -> Tensor:
        """Cosines (B, V, K) of a trunk output (B, V, ...)."""
        return self.head(self.features(trunk))
