"""Rows of samples that are checked, and rows of classes that make room for a stored state."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from torch import Tensor, nn


def check_rows(features: Tensor, labels: Tensor, dim: int) -> None:
    """Refuse features that are not (N, dim) or labels that are not (N,).

    Raises:
        ValueError: giving both shapes.
    """
    if features.ndim != 2 or features.shape[1] != dim or labels.shape != features.shape[:1]:
        raise ValueError(
            f"features {tuple(features.shape)} and labels {tuple(labels.shape)} do not fit; "
            f"wanted (N, {dim}) and (N,)"
        )


def make_room(
    module: nn.Module, state_dict: Mapping[str, Tensor], prefix: str, names: Iterable[str]
) -> None:
    """Give buffers as many rows as a state has that is about to be loaded, so that it fits.

    A state of another width is left alone: torch then reports the mismatch.

    Args:
        module: that has the buffers.
        state_dict, prefix: as torch hands them to `_load_from_state_dict`.
        names: of the buffers, each a row a class.
    """
    for name in names:
        stored, own = state_dict.get(prefix + name), getattr(module, name)
        if stored is not None and stored.shape[1:] == own.shape[1:]:
            setattr(module, name, own.new_zeros(stored.shape))
