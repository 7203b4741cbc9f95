"""How large gradients and weights are, module by module."""

from __future__ import annotations

import torch
from torch import Tensor, nn


@torch.no_grad()
def module_norms(model: nn.Module) -> dict[str, float]:
    """Euclidean norm of the weights that learn, and of their gradients, by module.

    Args:
        model: a `GCDModel`: the tail of its backbone, its projection and class head, its extras.

    Returns:
        `train/gradient_norm/<module>` and `train/weight_norm/<module>`; a module without a weight
        that learns, or without a gradient, has no number.
    """
    parts: dict[str, nn.Module] = {
        "tail": model.backbone.tail,  # type: ignore[union-attr,dict-item]
        "projection": model.projection,  # type: ignore[dict-item]
        "head": model.head,  # type: ignore[dict-item]
        **dict(model.extras.items()),  # type: ignore[operator,union-attr]
    }
    norms: dict[str, Tensor] = {}
    for name, part in parts.items():
        learning = [p for p in part.parameters() if p.requires_grad]
        gradients = [p.grad for p in learning if p.grad is not None]
        if learning:
            norms[f"train/weight_norm/{name}"] = _norm(learning)
        if gradients:
            norms[f"train/gradient_norm/{name}"] = _norm(gradients)
    if not norms:
        return {}
    values = torch.stack(list(norms.values())).tolist()  # one transfer
    return dict(zip(norms, values, strict=True))


def _norm(tensors: list[Tensor]) -> Tensor:
    return torch.stack([torch.linalg.vector_norm(tensor.float()) for tensor in tensors]).norm()
