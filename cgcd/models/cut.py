"""Where an architecture is cut into the trunk that stays frozen and the tail that learns."""

from __future__ import annotations

import copy
import logging
from collections.abc import Sequence
from dataclasses import dataclass

from torch import Tensor, nn

from cgcd.vocabulary import InputError

log = logging.getLogger(__name__)


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


def cut(net: nn.Module, tail_units: int | str) -> tuple[nn.Module, nn.Module]:
    """Trunk and tail of a network; whether they are it is for the caller to check.

    An architecture without a plan, unless it takes vectors, is all tail, with a warning.

    Args:
        net: in eval mode; both parts share its modules.
        tail_units: see `cgcd.models.Backbone`.

    Raises:
        InputError: if `tail_units` is neither a number >= 0 nor "all".
    """
    if tail_units != "all" and (not isinstance(tail_units, int) or tail_units < 0):
        raise InputError(f"model.tail_units is {tail_units!r}; wanted a number >= 0, or 'all'")
    if tail_units == 0:
        return net, nn.Identity()
    if type(net) is nn.Sequential and tail_units != "all":  # a subclass may do more than its parts
        first = max(len(net) - tail_units, 0)
        tail = net[first:]
        return net[:first], Tail(tail, tuple(tail), ())
    plan = next((_PLANS[k.__name__] for k in type(net).__mro__ if k.__name__ in _PLANS), None)
    if tail_units == "all" or plan is None:
        if plan is None and vector_width(net) is None:
            log.warning("%s has no known cut: the whole of it is the tail", type(net).__name__)
        return nn.Identity(), Tail(net, tuple(net.children()), ())
    return _cut_by_plan(net, plan, tail_units)


def vector_width(net: nn.Module) -> int | None:
    """Width D of a module whose `input_shape` is (D,), else None."""
    shape: tuple[int, ...] = getattr(net, "input_shape", ())
    return int(shape[0]) if len(shape) == 1 else None


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


def _split_sequence(sequence: nn.Module, first: int) -> tuple[nn.Sequential, nn.Sequential]:
    children = list(sequence.named_children())
    return _named_sequence(dict(children[:first])), _named_sequence(dict(children[first:]))


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
