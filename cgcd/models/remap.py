"""A published checkpoint's names turned into those of our backbone.

Self-supervised checkpoints come wrapped (`state_dict`, `teacher`, ...), with prefixes of the
training code (`module.encoder_q.`, `backbone.`), beside heads and momentum copies. Names and shapes
that differ between code bases (CLIP's towers, DINOv2's register tokens, position embeddings of
another input size) are converted by timm's own filter of the architecture.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

_WRAPPERS = (
    "teacher",  # DINO, DINOv2, iBOT: the published backbone is the teacher's
    "state_dict_ema",
    "model_ema",
    "state_dict",
    "model",
    "student",
    "target_encoder",  # I-JEPA
    "encoder",
)
_PREFIXES = (
    "_orig_mod.",
    "module.",
    "backbone.",
    "encoder_q.",  # MoCo v1 and v2
    "base_encoder.",  # MoCo v3
    "encoder.",
    "model.",
)
_TRAINING_ONLY = (
    "projection_head.",
    "projector.",
    "predictor.",
    "prototypes.",
    "dino_head.",
    "ibot_head.",
    "decoder",
    "mask_token",
    "masked_embed",
    "queue",
)
"""Names that only the pre-training used, where the backbone has none like them."""

_CHUNKED = re.compile(r"^blocks\.\d+\.(\d+)\.")  # DINOv2's training code: chunk, then block
_FILTER_ERRORS = (
    KeyError,
    IndexError,
    ValueError,
    TypeError,
    RuntimeError,
    AttributeError,
    AssertionError,
)


@dataclass(frozen=True)
class Remapped:
    """Tensors under the backbone's names.

    Attributes:
        state: by name; what does not belong to the backbone is for the caller to refuse.
        dropped: what the file holds besides and nobody needs, summed up: "fc.* (2)", "queue".
        adapted: tensors of another shape in the file, such as
            "pos_embed (1, 1370, 768) -> (1, 257, 768)".
    """

    state: dict[str, Tensor]
    dropped: tuple[str, ...] = ()
    adapted: tuple[str, ...] = ()


def unwrapped(content: object) -> tuple[dict[str, Tensor], list[str]]:
    """The state dict inside a checkpoint, and the names of what lies beside it.

    Args:
        content: what the file holds; a teacher or averaged weights are taken before a student.

    Raises:
        ValueError: if there are no tensors by name in it.
    """
    beside: list[str] = []
    while isinstance(content, Mapping):
        if content and all(_is_name(k) and _is_plain(v) for k, v in content.items()):
            return dict(content), beside
        inner = next((k for k in _WRAPPERS if isinstance(content.get(k), Mapping)), None)
        if inner is None:
            break
        beside += [key if _is_name(key) else repr(key) for key in content if key != inner]
        content = content[inner]
    raise ValueError("holds no state dict: wanted tensors by name")


def remapped(
    state: Mapping[str, Tensor], net: nn.Module, classifier: Sequence[str] = ()
) -> Remapped:
    """Names and shapes of a published file turned into those of `net`.

    Args:
        state: tensors by name, as `unwrapped` gives them.
        net: the network without its classifier.
        classifier: modules whose weights the file may hold and we do not want.

    Raises:
        ValueError: if timm's conversion for this architecture cannot make sense of the names.
    """
    own = net.state_dict()
    bare, dropped = _without_prefixes(dict(state), own)
    bare = _without_chunks(bare, own)
    converted = bare if _fits(bare, own) else _converted(bare, net, own)
    unwanted = (*_TRAINING_ONLY, *(f"{name}." for name in classifier))
    surplus = [k for k in converted if k not in own and k.startswith(unwanted)]
    used = {k: v for k, v in converted.items() if k not in surplus}
    lost = [k for k in bare if k not in converted and k.startswith(_TRAINING_ONLY)]
    return Remapped(used, summed_up([*dropped, *lost, *surplus]), _adapted(bare, used))


def summed_up(names: Iterable[str]) -> tuple[str, ...]:
    """Parameter names grouped by their first part.

    >>> summed_up(["fc.weight", "fc.bias", "queue"])
    ('fc.* (2)', 'queue')
    """
    groups: dict[str, list[str]] = {}
    for name in names:
        first = name.removeprefix("module.").partition(".")[0]
        groups.setdefault(first, []).append(name)
    return tuple(
        sorted(
            f"{first}.* ({len(members)})" if len(members) > 1 else members[0]
            for first, members in groups.items()
        )
    )


def _is_name(key: object) -> bool:
    return isinstance(key, str) and key.isprintable()  # names appear in messages


def _is_plain(value: Any) -> bool:
    return (
        isinstance(value, Tensor)
        and value.layout == torch.strided
        and value.device.type == "cpu"
        and not value.is_quantized
    )


def _fits(state: Mapping[str, Tensor], own: Mapping[str, Tensor]) -> bool:
    return all(k in state and state[k].shape == v.shape for k, v in own.items())


def _without_prefixes(
    state: dict[str, Tensor], own: Mapping[str, Tensor]
) -> tuple[dict[str, Tensor], list[str]]:
    """The state of the backbone alone, and what stood beside it; no prefix that `own` has."""
    dropped: list[str] = []
    usable = [p for p in _PREFIXES if not any(k.startswith(p) for k in own)]
    while not own.keys() <= state.keys():
        prefix = next((p for p in usable if any(k.startswith(p) for k in state)), None)
        if prefix is None:
            break
        dropped += [k for k in state if not k.startswith(prefix)]
        state = {k.removeprefix(prefix): v for k, v in state.items() if k.startswith(prefix)}
    if any(k.startswith("visual.") for k in state):  # CLIP: timm's filter takes the image tower
        dropped += [k for k in state if not k.startswith("visual.")]
        state = {k: v for k, v in state.items() if k.startswith("visual.")}
    return state, dropped


def _without_chunks(state: dict[str, Tensor], own: Mapping[str, Tensor]) -> dict[str, Tensor]:
    if any(_CHUNKED.match(k) for k in own):
        return state
    return {_CHUNKED.sub(r"blocks.\1.", k): v for k, v in state.items()}


def _converted(
    state: dict[str, Tensor], net: nn.Module, own: Mapping[str, Tensor]
) -> dict[str, Tensor]:
    """What timm's filter of the architecture makes of the state; patches keep their size."""
    module = sys.modules[type(net).__module__]
    convert: Callable[..., dict[str, Tensor]] | None = getattr(module, "checkpoint_filter_fn", None)
    if not module.__name__.startswith("timm.") or convert is None:
        return state
    try:
        converted = dict(convert(dict(state), net))
    except _FILTER_ERRORS as error:
        reason = " ".join(str(error).split())[:120]
        raise ValueError(
            f"has names that timm cannot convert for a {type(net).__name__} "
            f"({type(error).__name__}: {reason})"
        ) from error
    patches = "patch_embed.proj.weight"
    for name in (patches, "visual.conv1.weight"):  # timm would resample them without a word
        given = state.get(name)
        if given is not None and given.dim() == 4 and patches in own:
            converted[patches] = given
    return converted


def _adapted(before: Mapping[str, Tensor], after: Mapping[str, Tensor]) -> tuple[str, ...]:
    source = {"pos_embed": "visual.positional_embedding"}
    found = []
    for name, tensor in after.items():
        given = before.get(name, before.get(source.get(name, "")))
        if given is not None and given.squeeze().shape != tensor.squeeze().shape:
            found.append(f"{name} {tuple(given.shape)} -> {tuple(tensor.shape)}")
    return tuple(found)
