"""Files that appear whole or not at all."""

from __future__ import annotations

import errno
import hashlib
import os
import re
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor


@contextmanager
def whole_file(path: Path) -> Iterator[Path]:
    """A temporary path beside `path`, synced and renamed to it if the block ends well."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with named_errors(path):
        handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}-")
        os.close(handle)
        temporary = Path(name)
        try:
            yield temporary
            sync(temporary)
            temporary.chmod(0o644)
            temporary.replace(path)
            sync(path.parent)
        finally:
            temporary.unlink(missing_ok=True)


def sweep_temporary(run_folder: Path) -> None:
    """Remove what a process that was killed inside `whole_file` has left in a run's folders.

    Only for whoever holds the lock of the run; files of others that answer with it stay.
    """
    own = (
        "",
        "predictions",
        "analysis",
        "analysis/thumbnails",
        "checkpoints",
        "checkpoints/stream",
    )
    for folder in own:
        for path in (run_folder / folder).glob(".*-????????"):
            if path.is_file():
                path.unlink()


def sync(path: Path) -> None:
    """Have a file's content, or a folder's names, on the disk and not only in memory."""
    if os.name == "nt" and path.is_dir():  # no such thing there
        return
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    except OSError as error:
        if error.errno != errno.EINVAL:  # a file system that cannot sync folders
            raise
    finally:
        os.close(handle)


@contextmanager
def named_errors(path: Path) -> Iterator[None]:
    """Inside, an error of the system becomes an `OSError` that names `path`."""
    try:
        yield
    except OSError as error:
        if error.errno is None:
            raise
        raise OSError(error.errno, os.strerror(error.errno), str(path)) from error
    except SafetensorError as error:
        number = re.search(r"\(os error (\d+)\)", str(error))
        if number is None:
            raise
        code = int(number[1])
        raise OSError(code, os.strerror(code), str(path)) from error


def write_text(path: Path, text: str) -> None:
    """Write a text file atomically."""
    with whole_file(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def write_whole(path: Path, tensors: Mapping[str, Tensor], texts: Mapping[str, str]) -> None:
    """Write tensors and texts into one safetensors file that `read_whole` can tell from a torn one.

    Args:
        path: of the file.
        tensors: contiguous, on the CPU.
        texts: short texts by name, no "sha256" among them.
    """
    with whole_file(path) as temporary:
        save_file(dict(tensors), temporary, {**texts, "sha256": tensors_digest(tensors)})


def read_whole(path: Path) -> tuple[dict[str, Tensor], dict[str, str]] | None:
    """Tensors and texts of a file of `write_whole`; None if it is not whole."""
    try:
        with safe_open(path, "pt") as file:
            texts = dict(file.metadata() or {})
            tensors = {name: file.get_tensor(name) for name in file.keys()}
    except (OSError, SafetensorError):
        return None
    return (tensors, texts) if texts.get("sha256") == tensors_digest(tensors) else None


def tensors_digest(tensors: Mapping[str, Tensor]) -> str:
    """SHA-256 of names, shapes and values; all on the CPU."""
    digest = hashlib.sha256()
    for name in sorted(tensors):
        digest.update(f"{name} {tuple(tensors[name].shape)}".encode())
        digest.update(tensors[name].numpy().tobytes())
    return digest.hexdigest()


def write_tensors(path: Path, tensors: Mapping[str, Tensor]) -> None:
    """Write a safetensors file atomically; aliased and strided tensors are copied out."""
    with whole_file(path) as temporary:
        save_file({k: v.detach().cpu().contiguous().clone() for k, v in tensors.items()}, temporary)
