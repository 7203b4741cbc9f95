"""Weights from a file, without ever running code that the file brings."""

from __future__ import annotations

import hashlib
import pickle
import zipfile
import zlib
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from cgcd.vocabulary import InputError

_UNREADABLE = (
    SafetensorError,
    OSError,
    EOFError,
    ValueError,
    TypeError,
    RuntimeError,
    KeyError,
    pickle.UnpicklingError,
    zipfile.BadZipFile,
    zlib.error,
)
"""What the readers raise on a damaged or unsuitable file."""


def load_weights(net: nn.Module, path: str | Path, classifier: str | Sequence[str] = ()) -> str:
    """Load a state dict into `net` and say where it came from.

    Args:
        net: the network without its classifier.
        path: .safetensors, .pth or .pt (tensors only) or .npz.
        classifier: name of the classifier whose weights the file may hold and we do not want.

    Returns:
        "<file name> sha256:<16 hex digits>".

    Raises:
        InputError: no such file, not readable, keys or shapes that do not fit.
    """
    path = Path(path)
    state = _read(path)
    names = (classifier,) if isinstance(classifier, str) else tuple(classifier)
    state = {k: v for k, v in state.items() if not k.startswith(tuple(f"{n}." for n in names))}
    own = net.state_dict()
    missing = sorted(own.keys() - state.keys())
    surplus = sorted(state.keys() - own.keys())
    shapes = [
        f"{k} {tuple(state[k].shape)} instead of {tuple(own[k].shape)}"
        for k in own.keys() & state.keys()
        if own[k].shape != state[k].shape
    ]
    if missing or surplus or shapes:
        raise InputError(
            f"model.weights={path} does not fit this backbone: {_some('missing', missing)}"
            f"{_some('not wanted', surplus)}{_some('wrong shape', sorted(shapes))}give the file of "
            "this architecture or set model.backbone and model.backbone_kwargs to match"
        )
    net.load_state_dict({k: v.to(own[k].dtype) for k, v in state.items()})
    return f"{path.name} sha256:{hashlib.sha256(path.read_bytes()).hexdigest()[:16]}"


def _read(path: Path) -> dict[str, Tensor]:
    if not path.is_file():
        raise InputError(
            f"model.weights={path} does not exist; wanted a .safetensors, .pth or .npz file"
        )
    if path.suffix not in (".safetensors", ".npz", ".pth", ".pt"):
        raise InputError(
            f"model.weights={path} ends in {path.suffix!r}; wanted .safetensors, .pth or .npz"
        )
    try:
        state = _content(path)
    except _UNREADABLE as error:
        reason = " ".join(str(error).split())[:200] or type(error).__name__
        raise InputError(f"model.weights={path} cannot be read: {reason}") from error
    if isinstance(state, dict):
        state = state.get("state_dict", state)
    if not isinstance(state, dict) or not all(torch.is_tensor(v) for v in state.values()):
        raise InputError(f"model.weights={path} holds no state dict: wanted tensors by name")
    return state


def _content(path: Path) -> object:
    if path.suffix == ".safetensors":
        return load_file(path)
    if path.suffix == ".npz":
        with path.open("rb") as opened, np.lib.npyio.NpzFile(opened, allow_pickle=False) as file:
            return {key: torch.from_numpy(file[key]) for key in file.files}
    return torch.load(path, map_location="cpu", weights_only=True)


def _some(title: str, keys: list[str]) -> str:
    if not keys:
        return ""
    more = f" and {len(keys) - 3} more" if len(keys) > 3 else ""
    return f"{title}: {', '.join(keys[:3])}{more}; "
