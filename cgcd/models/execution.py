"""How trunk and tail compute: in which precision, and as they are written or compiled.

What is around them (heads, losses, prototypes, codes, matching) stays in float32.
"""

from __future__ import annotations

import copy
from types import MethodType

import torch
from torch import Tensor, nn

from cgcd.vocabulary import InputError

PRECISIONS: dict[str, torch.dtype | None] = {
    "fp32": None,
    "bf16": torch.bfloat16,
    "fp16": torch.float16,
}
"""Type of the numbers that products are made of; None: that of the weights."""


def set_forward(part: nn.Module, precision: str, compiled: bool) -> None:
    """Let trunk or tail compute in a precision, and compiled or as written, in place.

    It still takes and gives float32. Names, weights and hooks stay; a deep copy of the part
    computes likewise, with weights of its own and by the same compiled code.

    Args:
        part: takes a batch (B, ...).
        precision: one of `PRECISIONS`.
        compiled: by `torch.compile`, once for all B >= 2; a single input goes through as written.

    Raises:
        InputError: if there is no such precision.
    """
    if precision not in PRECISIONS:
        raise InputError(
            f"precision is {precision!r}; wanted one of {', '.join(PRECISIONS)}: set precision=fp32"
        )
    vars(part).pop("forward", None)
    if (compiled or precision != "fp32") and not isinstance(part, nn.Identity):
        part.forward = MethodType(_Forward(type(part), PRECISIONS[precision], compiled), part)


class _Forward:
    """Called with a part and its input, in the place of the `forward` of the part's class."""

    def __init__(self, kind: type[nn.Module], dtype: torch.dtype | None, compiled: bool) -> None:
        self._written = kind.forward
        self._compiled = torch.compile(kind.forward) if compiled else None
        self._dtype = dtype
        self._copied = False

    def __call__(self, part: nn.Module, x: Tensor) -> Tensor:
        if self._dtype is None:
            return self._run(part, x)
        with torch.autocast(x.device.type, self._dtype):
            return self._run(part, x).to(x.dtype)

    def _run(self, part: nn.Module, x: Tensor) -> Tensor:
        if self._compiled is None or len(x) < 2:  # a size of 1 would be compiled for itself
            return self._written(part, x)
        torch._dynamo.maybe_mark_dynamic(x, 0)
        if not self._copied and not torch.is_grad_enabled() and _learns(part):
            self._copied = True  # the teacher of later stages is such a copy, compiled for itself
            self._compiled(copy.deepcopy(part).requires_grad_(False).eval(), x)
        return self._compiled(part, x)


def _learns(part: nn.Module) -> bool:
    return any(parameter.requires_grad for parameter in part.parameters())
