"""A timm backbone cut into a frozen trunk and a tail that learns.

The trunk never changes after the warm-up, so one trunk pass without gradient serves the student,
the teacher and every measurement; only the tail is copied, trained and stored stage by stage.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import timm
import torch
from torch import Tensor, nn

from cgcd.models.cut import Tail, cut, vector_width
from cgcd.models.execution import set_forward
from cgcd.models.published import create_timm, published_facts
from cgcd.models.weights import WeightsFacts, load_weights
from cgcd.vocabulary import InputError

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class InputSpec:
    """How images, or vectors, enter the backbone.

    Attributes:
        size: side of the square input in pixels.
        mean, std: per channel, of pixels scaled to [0, 1].
        crop_pct: share of the resized image that the crop keeps, in (0, 1].
        interpolation: name of a PIL filter: bilinear, bicubic, ...
        vector: width of the vectors the backbone takes instead of images.
    """

    size: int = 224
    mean: tuple[float, ...] = (0.485, 0.456, 0.406)
    std: tuple[float, ...] = (0.229, 0.224, 0.225)
    crop_pct: float = 0.875
    interpolation: str = "bicubic"
    vector: int | None = None

    @property
    def resize(self) -> int:
        """Shorter side in pixels before the crop."""
        return int(self.size / self.crop_pct)

    def sentence(self) -> str:
        """The transform of images in one line."""
        return (
            f"input {self.size} px, the middle {self.crop_pct:.3g} of the image, "
            f"{self.interpolation}, mean {_numbers(self.mean)}, std {_numbers(self.std)}"
        )

    @property
    def shape(self) -> tuple[int, ...]:
        """Of one input: (C, H, W), or (D,) for vectors."""
        square = (len(self.mean), self.size, self.size)
        return square if self.vector is None else (self.vector,)


class Backbone(nn.Module):
    """`tail(trunk(images))`: features (B, D) of images (B, C, H, W).

    The trunk always runs in eval mode. Batch norm runs in eval mode everywhere, so its statistics
    never move, except while `warming` (its affine weights may train with the tail).

    Args:
        net: the network; features (B, D) come out of its forward pass.
        spec: input size and normalization.
        tail_units: how many of the last blocks (ViT, Swin, EfficientNet, MobileNet, a plain
            `nn.Sequential`) or stages (ResNet, ConvNeXt) form the tail, or "all".
        trainable: "blocks" trains the tail's blocks or stages only, as SimGCD and Happy do, so that
            what follows them (a ViT's final LayerNorm) stays frozen; "tail" trains all of it.
        origin: where the weights came from, for reports.
        pretrained: they were trained before; the engine's warm-up then stays off.
        weights: what is known of their file.

    Attributes:
        precision, compiled: how trunk and tail compute; see `compute_in`.

    Raises:
        InputError: if `tail_units` or `trainable` is out of range.
    """

    def __init__(
        self,
        net: nn.Module,
        spec: InputSpec,
        *,
        tail_units: int | str = 1,
        trainable: str = "blocks",
        origin: str = "random",
        pretrained: bool = False,
        weights: WeightsFacts | None = None,
        example: Tensor | None = None,
    ) -> None:
        super().__init__()
        if trainable not in ("blocks", "tail"):
            raise InputError(f"model.trainable is {trainable!r}; wanted 'blocks' or 'tail'")
        self.spec, self.origin, self.pretrained, self.warming = spec, origin, pretrained, False
        self.weights = weights
        self.precision, self.compiled = "fp32", False
        if example is None:
            example = torch.rand(2, len(spec.mean), spec.size, spec.size)
        net = net.eval()
        try:
            with torch.no_grad():
                expected = net(example)
        except (RuntimeError, AssertionError, TypeError, ValueError) as error:
            raise InputError(
                f"the backbone refuses a batch of shape {tuple(example.shape)} "
                f"({' '.join(str(error).split())[:120]}); set model.input_size to what it takes"
            ) from error
        if expected.dim() != 2:
            raise InputError(
                f"the backbone gives outputs of shape {tuple(expected.shape)}; wanted (B, D)"
            )
        self.dim = expected.shape[1]
        self.trunk, self.tail = cut(net, tail_units)
        with torch.no_grad():
            same = torch.allclose(self(example), expected, rtol=1e-4, atol=1e-5)
        if not same:
            log.warning("%s cannot be cut exactly: the whole of it is the tail", type(net).__name__)
            self.trunk, self.tail = nn.Identity(), Tail(net, tuple(net.children()), ())
        self._freeze(trainable)

    def forward(self, images: Tensor) -> Tensor:
        return self.tail(self.trunk(images))

    def train(self, mode: bool = True) -> Backbone:
        super().train(mode)
        if not self.warming:
            self.trunk.eval()
            for module in self.tail.modules():
                if isinstance(module, nn.modules.batchnorm._NormBase):
                    module.eval()
        return self

    def compute_in(self, precision: str = "fp32", *, compiled: bool = False) -> None:
        """Choose how trunk and tail compute, before a strategy is made of the model.

        Features come out in float32 whatever is chosen, and weights stay in float32.

        Args:
            precision: "fp32", "bf16" or, on CUDA only, "fp16": of the products in trunk and tail.
            compiled: run both through `torch.compile`, which needs a compiler on the machine.

        Raises:
            InputError: if there is no such precision.
        """
        for part in (self.trunk, self.tail):
            set_forward(part, precision, compiled)
        self.precision, self.compiled = precision, compiled

    def _freeze(self, trainable: str) -> None:
        self.requires_grad_(False)
        if isinstance(self.tail, Tail):
            by_block = trainable == "blocks" and not self.tail.whole
            learning = self.tail.units if by_block else (self.tail,)
            for module in learning:
                module.requires_grad_(True)


def create_backbone(
    backbone: str | nn.Module,
    *,
    pretrained: bool = False,
    weights: str | Path | None = None,
    backbone_kwargs: dict[str, Any] | None = None,
    tail_units: int | str = 1,
    trainable: str = "blocks",
    input_size: int | None = None,
    mean: Sequence[float] | None = None,
    std: Sequence[float] | None = None,
    crop_pct: float | None = None,
    interpolation: str | None = None,
    example: Tensor | None = None,
) -> Backbone:
    """A `Backbone` from a timm name or any module that maps a batch to features (B, D).

    A module with an `input_shape` of (D,) takes vectors (B, D) and forms the tail as a whole; if it
    names an `origin`, its input counts as pretrained.

    Args:
        backbone: a name timm knows, or a module.
        pretrained: let timm fetch its published weights, unless `weights` names a file.
        weights: a local file instead: see `cgcd.models.weights.load_weights`.
        backbone_kwargs: more arguments for `timm.create_model`, such as `img_size` or `pad_type`.
        tail_units, trainable: see `Backbone`.
        input_size: overrides timm's data config; an architecture of fixed size (a ViT) is built
            for it, and position embeddings are interpolated.
        mean, std, crop_pct, interpolation: override timm's data config.
        example: a batch the module accepts, needed when it takes neither images nor vectors of a
            declared `input_shape`.

    Raises:
        InputError: unknown name, unreachable or unsuitable weights.
    """
    facts: WeightsFacts | None = None
    if isinstance(backbone, nn.Module):
        if weights is not None:
            raise InputError(
                f"model.weights={weights} beside a backbone that is a module; "
                "load it into the module, or give the name of an architecture"
            )
        net, config, origin = backbone, {}, type(backbone).__name__
        if vector_width(net) is not None and hasattr(net, "origin"):
            origin, pretrained = str(net.origin), True
    else:
        fetched = pretrained and weights is None
        net, side = create_timm(backbone, fetched, backbone_kwargs or {}, input_size)
        config = timm.data.resolve_model_data_config(net)
        origin = "random"
        if not hasattr(net, "reset_classifier"):
            raise InputError(f"model.backbone={backbone} has no classifier to take off")
        classifier = net.pretrained_cfg.get("classifier") or ()
        net.reset_classifier(0)
        if weights is not None:
            facts = load_weights(net, weights, classifier=classifier)
            origin = facts.origin
        elif pretrained:
            facts = published_facts(backbone)
            origin = f"timm:{backbone}"
        config["input_size"] = (3, side)
    vector = vector_width(net)
    if vector is not None and example is None:
        example = torch.rand(2, vector)
    if example is not None and example.dim() == 2:
        vector = example.shape[1]
    default = InputSpec()
    spec = InputSpec(
        size=int(input_size or config.get("input_size", (default.size,))[-1]),
        mean=tuple(mean or config.get("mean", default.mean)),
        std=tuple(std or config.get("std", default.std)),
        crop_pct=float(crop_pct or config.get("crop_pct", default.crop_pct)),
        interpolation=interpolation or config.get("interpolation", default.interpolation),
        vector=vector,
    )
    if facts is not None:
        log.info("weights: %s; %s", facts.sentence(), spec.sentence())
    return Backbone(
        net,
        spec,
        tail_units=tail_units,
        trainable=trainable,
        origin=origin,
        pretrained=pretrained or weights is not None,
        weights=facts,
        example=example,
    )


def _numbers(values: Sequence[float]) -> str:
    return " ".join(f"{value:.4g}" for value in values)
