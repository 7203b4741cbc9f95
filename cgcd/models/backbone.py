"""A timm backbone cut into a frozen trunk and a tail that learns.

The trunk never changes after the warm-up, so one trunk pass without gradient serves the student,
the teacher and every measurement; only the tail is copied, trained and stored stage by stage.
"""

from __future__ import annotations

import copy
import difflib
import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import timm
import torch
from torch import Tensor, nn

from cgcd.models.weights import load_weights
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

    @property
    def shape(self) -> tuple[int, ...]:
        """Of one input: (C, H, W), or (D,) for vectors."""
        square = (len(self.mean), self.size, self.size)
        return square if self.vector is None else (self.vector,)


@dataclass(frozen=True)
class _Plan:
    """Where an architecture is cut.

    Attributes:
        sequence: child that holds the stages, or the names of the children that are the stages.
        blocks: child of a stage that holds its blocks, "" if the stage itself does, None if the
            architecture is cut between stages only.
        after: children between the sequence and the pooling, in the order of the forward pass.
    """

    sequence: str | tuple[str, ...]
    blocks: str | None
    after: tuple[str, ...] = ()


_LAYERS = ("layer1", "layer2", "layer3", "layer4")
_PLANS: dict[str, _Plan] = {
    "VisionTransformer": _Plan("blocks", None, ("norm",)),
    "SwinTransformer": _Plan("layers", "blocks", ("norm",)),
    "EfficientNet": _Plan("blocks", "", ("conv_head", "bn2")),
    "MobileNetV3": _Plan("blocks", ""),
    "ResNet": _Plan(_LAYERS, None),
    "ConvNeXt": _Plan("stages", None, ("norm_pre",)),
}


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
        example: Tensor | None = None,
    ) -> None:
        super().__init__()
        if trainable not in ("blocks", "tail"):
            raise InputError(f"model.trainable is {trainable!r}; wanted 'blocks' or 'tail'")
        self.spec, self.origin, self.pretrained, self.warming = spec, origin, pretrained, False
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
        self.trunk, self.tail = _cut(net, tail_units)
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

    def _freeze(self, trainable: str) -> None:
        self.requires_grad_(False)
        if isinstance(self.tail, Tail):
            by_block = trainable == "blocks" and not self.tail.whole
            learning = self.tail.units if by_block else (self.tail,)
            for module in learning:
                module.requires_grad_(True)


class Trunk(nn.Module):
    """Everything before the cut."""

    def __init__(self, net: nn.Module) -> None:
        super().__init__()
        self.net = net

    def forward(self, images: Tensor) -> Tensor:
        return self.net.forward_features(images)


class Tail(nn.Module):
    """Everything after the cut, down to the pooled feature; parameter names are those of timm."""

    def __init__(
        self,
        net: nn.Module,
        units: Sequence[nn.Module],
        after: Sequence[nn.Module],
        whole: bool = True,
    ) -> None:
        super().__init__()
        self.net, self.whole = net, whole
        self._units, self._after = tuple(units), tuple(after)

    @property
    def units(self) -> tuple[nn.Module, ...]:
        """The blocks or stages of the tail."""
        return self._units

    def forward(self, x: Tensor) -> Tensor:
        if self.whole:
            return self.net(x)
        for module in (*self._units, *self._after):
            x = module(x)
        return self.net.forward_head(x, pre_logits=True)


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
        pretrained: let timm fetch its published weights.
        weights: a local file instead: .safetensors, .pth (tensors only) or .npz.
        backbone_kwargs: more arguments for `timm.create_model`, such as `img_size` or `pad_type`.
        tail_units, trainable: see `Backbone`.
        input_size, mean, std, crop_pct, interpolation: override timm's data config.
        example: a batch the module accepts, needed when it takes neither images nor vectors of a
            declared `input_shape`.

    Raises:
        InputError: unknown name, unreachable or unsuitable weights.
    """
    if isinstance(backbone, nn.Module):
        net, config, origin = backbone, {}, type(backbone).__name__
        if _vector_width(net) is not None and hasattr(net, "origin"):
            origin, pretrained = str(net.origin), True
    else:
        net = _create_timm(backbone, pretrained, dict(backbone_kwargs or {}))
        config = timm.data.resolve_model_data_config(net)
        origin = f"timm:{backbone}" if pretrained else "random"
        if not hasattr(net, "reset_classifier"):
            raise InputError(f"model.backbone={backbone} has no classifier to take off")
        classifier = net.pretrained_cfg.get("classifier") or ()
        net.reset_classifier(0)
        if weights is not None:
            origin = load_weights(net, weights, classifier=classifier)
        config["input_size"] = (
            3,
            _side((backbone_kwargs or {}).get("img_size", config["input_size"][-1])),
        )
    vector = _vector_width(net)
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
    return Backbone(
        net,
        spec,
        tail_units=tail_units,
        trainable=trainable,
        origin=origin,
        pretrained=pretrained or weights is not None,
        example=example,
    )


def _vector_width(net: nn.Module) -> int | None:
    shape: tuple[int, ...] = getattr(net, "input_shape", ())
    return int(shape[0]) if len(shape) == 1 else None


def _side(size: int | Sequence[int]) -> int:
    return int(size if isinstance(size, int) else size[-1])


def _create_timm(name: str, pretrained: bool, kwargs: dict[str, Any]) -> nn.Module:
    if not timm.is_model(name.split(".")[0]):
        near = difflib.get_close_matches(name, timm.list_models(), n=1, cutoff=0.6)
        hint = f"; did you mean {near[0]!r}?" if near else ""
        raise InputError(
            f"model.backbone={name} is no model that timm {timm.__version__} knows{hint}"
        )
    try:
        return timm.create_model(name, pretrained=pretrained, **kwargs)
    except TypeError as error:
        raise InputError(f"model.backbone_kwargs do not fit {name}: {error}") from error
    except (OSError, RuntimeError) as error:
        if not pretrained:
            raise
        raise InputError(
            f"the pretrained weights of {name} could not be fetched ({type(error).__name__}); "
            "give a local file with model.weights=... or set model.pretrained=false"
        ) from error


def _cut(net: nn.Module, tail_units: int | str) -> tuple[nn.Module, nn.Module]:
    if tail_units != "all" and (not isinstance(tail_units, int) or tail_units < 0):
        raise InputError(f"model.tail_units is {tail_units!r}; wanted a number >= 0, or 'all'")
    if tail_units == 0:
        return net, nn.Identity()
    if type(net) is nn.Sequential and tail_units != "all":  # a subclass may do more than its parts
        cut = max(len(net) - tail_units, 0)
        tail = net[cut:]
        return net[:cut], Tail(tail, tuple(tail), ())
    plan = next((_PLANS[k.__name__] for k in type(net).__mro__ if k.__name__ in _PLANS), None)
    if tail_units == "all" or plan is None:
        if plan is None and _vector_width(net) is None:
            log.warning("%s has no known cut: the whole of it is the tail", type(net).__name__)
        return nn.Identity(), Tail(net, tuple(net.children()), ())
    return _cut_by_plan(net, plan, tail_units)


def _cut_by_plan(net: nn.Module, plan: _Plan, tail_units: int) -> tuple[Trunk, Tail]:
    holder = None if isinstance(plan.sequence, tuple) else plan.sequence
    stages: dict[str, nn.Module]
    if holder is None:
        stages = {name: getattr(net, name) for name in plan.sequence}
    else:
        stages = dict(getattr(net, holder).named_children())
    early, late = _split_stages(stages, plan.blocks, tail_units)

    names = [name for name, _ in net.named_children()]
    first = names.index(holder or plan.sequence[0])
    last = names.index(holder or plan.sequence[-1])
    front, back = _shell(net), _shell(net)
    for name in names[last + 1 :]:
        setattr(front, name, nn.Identity())
    for name in names[:first]:
        del back._modules[name]
    back._parameters.clear()
    back._buffers.clear()
    if holder is None:
        for name in plan.sequence:
            setattr(front, name, early.get(name, nn.Identity()))
            if name in late:
                setattr(back, name, late[name])
            else:
                del back._modules[name]
    else:
        setattr(front, holder, _named_sequence(early))
        setattr(back, holder, _named_sequence(late))
    after = [getattr(net, name) for name in plan.after]
    return Trunk(front), Tail(back, tuple(late.values()), after, whole=False)


def _split_stages(
    stages: dict[str, nn.Module], blocks: str | None, tail_units: int
) -> tuple[dict[str, nn.Module], dict[str, nn.Module]]:
    """The stages before and after the cut; a stage that the cut goes through stands in both."""
    early, late = dict(stages), {}
    wanted = tail_units
    for name in reversed(stages):
        if wanted == 0:
            break
        stage = early.pop(name)
        inside = None if blocks is None else (getattr(stage, blocks) if blocks else stage)
        size = 1 if inside is None else len(inside)
        if size <= wanted or inside is None:
            late = {name: stage, **late}
            wanted -= size
            continue
        head, rest = _split_sequence(inside, size - wanted)
        if blocks:
            first, second = _shell(stage), _shell(stage)
            setattr(first, blocks, head)
            setattr(second, blocks, rest)
            for child in [n for n, _ in stage.named_children() if n != blocks]:
                setattr(second, child, nn.Identity())  # Swin's downsampling comes before the blocks
            head, rest = first, second
        early[name] = head
        late = {name: rest, **late}
        wanted = 0
    return early, late


def _split_sequence(sequence: nn.Module, cut: int) -> tuple[nn.Sequential, nn.Sequential]:
    children = list(sequence.named_children())
    return _named_sequence(dict(children[:cut])), _named_sequence(dict(children[cut:]))


def _named_sequence(children: dict[str, nn.Module]) -> nn.Sequential:
    sequence = nn.Sequential()
    for name, module in children.items():  # keeps timm's numbers: block 11 is still "11"
        sequence.add_module(name, module)
    return sequence


def _shell(module: nn.Module) -> nn.Module:
    """A copy that shares children and parameters but not the books that list them."""
    shell = copy.copy(module)
    for book in ("_modules", "_parameters", "_buffers"):
        setattr(shell, book, dict(getattr(module, book)))
    return shell
