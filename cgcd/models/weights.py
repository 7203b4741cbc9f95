"""Weights from a file, without ever running code that the file brings."""

from __future__ import annotations

import argparse
import hashlib
import pickle
import re
import struct
import zipfile
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file
from torch import Tensor, nn

from cgcd.models.remap import remapped, unwrapped
from cgcd.vocabulary import InputError

_SUFFIXES = (".safetensors", ".npz", ".pth", ".pt", ".pth.tar", ".bin", ".ckpt")
_UNREADABLE = (
    SafetensorError,
    OSError,
    EOFError,
    ValueError,
    TypeError,
    RuntimeError,
    LookupError,
    ArithmeticError,
    AttributeError,
    AssertionError,
    MemoryError,
    pickle.UnpicklingError,
    struct.error,
    zipfile.BadZipFile,
    zlib.error,
)
"""What the readers raise on a damaged, hostile or unsuitable file."""

_MOST_UNPACKED = 20  # times the size of the file, beyond _SMALL: torch.save does not compress
_SMALL = 2**28  # bytes


@dataclass(frozen=True)
class WeightsFacts:
    """Where weights came from, for reports.

    Attributes:
        name: of the file, or timm's name of the weights.
        size: of the file in bytes, None if it is not known.
        sha256: of the file, 64 hex digits, None if it is not known.
        license: as the file or timm states it.
        dropped: what the file holds besides the backbone, summed up.
        adapted: tensors that had another shape in the file.
    """

    name: str
    size: int | None = None
    sha256: str | None = None
    license: str = "not stated in the file"
    dropped: tuple[str, ...] = ()
    adapted: tuple[str, ...] = ()

    @property
    def origin(self) -> str:
        """ "<file name> sha256:<16 hex digits>"."""
        return f"{self.name} sha256:{self.sha256[:16] if self.sha256 else 'unknown'}"

    def sentence(self) -> str:
        """All of it in one line."""
        parts = [self.name]
        if self.size is not None:
            parts.append(f"{self.size / 2**20:.1f} MiB")
        if self.sha256 is not None:
            parts.append(f"sha256 {self.sha256[:16]}")
        parts.append(f"license {self.license}")
        if self.adapted:
            parts.append(f"adapted {', '.join(self.adapted)}")
        if self.dropped:
            parts.append(f"left out {', '.join(self.dropped)}")
        return "; ".join(parts)


def load_weights(
    net: nn.Module, path: str | Path, classifier: str | Sequence[str] = ()
) -> WeightsFacts:
    """Load a state dict into `net` and say where it came from.

    Names of published checkpoints (DINO, DINOv2, MoCo, CLIP, iBOT, MAE, ...) are turned into those
    of timm; half precision is widened; batch counters of batch norm may be missing.

    Args:
        net: the network without its classifier; it is as before if the file is refused.
        path: .safetensors, .pth, .pt, .pth.tar, .bin or .ckpt (tensors only) or .npz.
        classifier: modules whose weights the file may hold and we do not want.

    Raises:
        InputError: no such file, not readable, names or shapes that do not fit.
    """
    path = Path(path)
    content, license_ = _read(path)
    names = (classifier,) if isinstance(classifier, str) else tuple(classifier)
    try:
        given, beside = unwrapped(content)
        found = remapped(given, net, names)
    except ValueError as error:
        raise InputError(
            f"model.weights={path} {error}; give the file of this architecture"
        ) from error
    own = net.state_dict()
    state = {
        k: v for k, v in own.items() if k.endswith("num_batches_tracked") and k not in found.state
    } | found.state
    _check_fit(path, own, state)
    state = {k: v.to(own[k].dtype) for k, v in state.items()}
    broken = sorted(k for k, v in state.items() if v.is_floating_point() and not v.isfinite().all())
    if broken:
        raise InputError(
            f"model.weights={path} holds NaN or infinite values ({_first(broken)}); "
            "take an undamaged file"
        )
    net.load_state_dict(state)
    return WeightsFacts(
        path.name,
        path.stat().st_size,
        file_sha256(path),
        license_,
        (*sorted(beside), *found.dropped),
        found.adapted,
    )


def file_sha256(path: Path) -> str:
    """SHA-256 of a file's bytes, 64 hex digits."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _check_fit(path: Path, own: dict[str, Tensor], state: dict[str, Tensor]) -> None:
    missing = sorted(own.keys() - state.keys())
    surplus = sorted(state.keys() - own.keys())
    common = own.keys() & state.keys()
    shapes = [
        f"{k} {tuple(state[k].shape)} instead of {tuple(own[k].shape)}"
        for k in common
        if own[k].shape != state[k].shape
    ]
    types = [
        f"{k} {_type(state[k])} instead of {_type(own[k])}"
        for k in common
        if own[k].is_floating_point() and not state[k].is_floating_point()
    ]
    if missing or surplus or shapes or types:
        raise InputError(
            f"model.weights={path} does not fit this backbone: {_some('missing', missing)}"
            f"{_some('not wanted', surplus)}{_some('wrong shape', sorted(shapes))}"
            f"{_some('wrong type', sorted(types))}give the file of this architecture or set "
            "model.backbone and model.backbone_kwargs to match"
        )


def _read(path: Path) -> tuple[object, str]:
    """What the file holds, and its license if it states one."""
    wanted = f"wanted a {', '.join(_SUFFIXES[:-1])} or {_SUFFIXES[-1]} file"
    if not path.is_file():
        what = "is a folder" if path.is_dir() else "does not exist"
        raise InputError(f"model.weights={path} {what}; {wanted}")
    if not path.name.lower().endswith(_SUFFIXES):
        raise InputError(f"model.weights={path} ends in {path.suffix!r}; {wanted}")
    try:
        return _content(path)
    except _UNREADABLE as error:
        raise InputError(f"model.weights={path} cannot be read: {_reason(error)}") from error


def _content(path: Path) -> tuple[object, str]:
    unstated = WeightsFacts.license
    if path.suffix.lower() == ".safetensors":
        with safe_open(path, "pt") as file:
            texts = file.metadata() or {}
        stated = texts.get("license", "")
        return load_file(path), stated if stated and stated.isprintable() else unstated
    _check_archive(path)
    if path.suffix.lower() == ".npz":
        with path.open("rb") as opened, np.lib.npyio.NpzFile(opened, allow_pickle=False) as file:
            return {key: torch.from_numpy(file[key]) for key in file.files}, unstated
    # a Namespace holds the arguments of a training script and runs nothing when it is made
    with torch.serialization.safe_globals([argparse.Namespace]):
        return torch.load(path, map_location="cpu", weights_only=True), unstated


def _check_archive(path: Path) -> None:
    """Refuse a zip file that is a program or that unpacks to much more than it is."""
    if not zipfile.is_zipfile(path):
        return
    with zipfile.ZipFile(path) as archive:
        members = archive.infolist()
    if any(member.filename.endswith("/constants.pkl") for member in members):
        raise ValueError(
            "it is a TorchScript program (as OpenAI's CLIP files are); take timm's weights with "
            "model.pretrained=true, or save its state_dict() where you trust it"
        )
    unpacked = sum(member.file_size for member in members)
    if unpacked > _MOST_UNPACKED * path.stat().st_size + _SMALL:
        raise ValueError(f"it unpacks to {unpacked / 2**30:.1f} GiB, far more than its size")


def _reason(error: BaseException) -> str:
    text = " ".join(str(error).split())
    if isinstance(error, pickle.UnpicklingError):  # torch's own text advises to trust the file
        refused = re.search(r"(?i:unsupported (?:global: )?GLOBAL) ([\w.]{1,80})", text)
        if refused is None:
            return "it is damaged, or no file of tensors; take the original file"
        return (
            f"it holds a {refused[1]} and not only tensors, and could run code; take a file of "
            "tensors, or save its state_dict alone where you trust it"
        )
    return text[:200] or type(error).__name__


def _type(tensor: Tensor) -> str:
    return str(tensor.dtype).removeprefix("torch.")


def _some(title: str, names: list[str]) -> str:
    return f"{len(names)} {title}: {_first(names)}; " if names else ""


def _first(names: list[str]) -> str:
    return ", ".join(names[:3]) + (", ..." if len(names) > 3 else "")
