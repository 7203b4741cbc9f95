"""What the machine does not give: places to write, devices, processes, memory."""

from __future__ import annotations

import errno
import os
import resource
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

KEYS = [
    ("device=cuda:77", "device=cuda:77", "wanted one of cpu"),
    ("device=meta", "device=meta", "device=cpu"),
    ("device=quantum", "device=quantum", "device=cpu"),
    ("num_workers=1000000", "num_workers=1000000", "from 0 to"),
    ("num_workers=-1", "num_workers=-1", "from 0 to"),
    ("torch_threads=1000000", "torch_threads=1000000", "from 1 to"),
    ("runs_root=/proc/runs", "/proc/runs", "set runs_root="),
    ("runs_root=/dev/null/runs", "/dev/null/runs", "set runs_root="),
]


@pytest.mark.parametrize(("override", "given", "wanted"), KEYS)
def test_what_is_not_there(
    override: str, given: str, wanted: str, place: Path, tiny: Callable, refused: Callable
) -> None:
    refused(tiny(override), given, wanted)
    assert not (place / "runs").exists()


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU here")
def test_a_gpu_that_is_not_there(place: Path, tiny: Callable, refused: Callable) -> None:
    refused(tiny("device=cuda"), "device=cuda cannot be used here", "wanted one of cpu")


@pytest.mark.parametrize(
    ("code", "words"),
    [
        (errno.EACCES, "Permission denied"),
        (errno.EROFS, "Read-only file system"),
        (errno.ENOSPC, "No space left on device"),
        (errno.EIO, "Input/output error"),
        (errno.EMFILE, "Too many open files"),
    ],
)
@pytest.mark.parametrize("late", [False, True], ids=["at the start", "at the first checkpoint"])
def test_a_folder_that_cannot_be_written(
    code: int,
    words: str,
    late: bool,
    place: Path,
    tiny: Callable,
    refused: Callable,
    works: Callable,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Tests may run as root, whom no permission stops, so the system's answer is given here."""
    before, part = os.open, "checkpoints" if late else "runs"

    def deny(path: Any, flags: int, *arguments: Any, **named: Any) -> int:
        if flags & (os.O_WRONLY | os.O_RDWR) and part in str(path):
            raise OSError(code, os.strerror(code), path)
        return before(path, flags, *arguments, **named)

    shutil.rmtree(place / "runs", ignore_errors=True)
    with monkeypatch.context() as patch:
        patch.setattr(os, "open", deny)
        refused(tiny(), part, words)
    if code in (errno.EACCES, errno.ENOSPC):
        works(tiny())


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (MemoryError("nothing left"), "ran out of memory"),
        (RuntimeError("DefaultCPUAllocator: can't allocate memory"), "ran out of memory"),
        (RuntimeError("CUDA out of memory. Tried to allocate 2 GiB"), "ran out of memory"),
        (RuntimeError("DataLoader worker (pid 7) is killed by signal: Killed."), "num_workers"),
        (OSError(errno.EAGAIN, "Resource temporarily unavailable"), "num_workers"),
        (RuntimeError("can't start new thread"), "ran out of memory or processes"),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, Exception) else "",
)
def test_what_runs_out_in_a_run(
    error: Exception,
    words: str,
    place: Path,
    tiny: Callable,
    refused: Callable,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    from strategies import Happy

    def fail(*arguments: Any) -> None:
        raise error

    monkeypatch.setattr(Happy, "losses", fail)
    refused(tiny("runs_root=out"), words, "the same command goes on")


def test_a_fault_of_ours_says_so(
    place: Path, tiny: Callable, refused: Callable, monkeypatch: pytest.MonkeyPatch
) -> None:
    from strategies import Happy

    monkeypatch.setattr(Happy, "losses", lambda self, batch: {}["oops"])
    words = ("nobody foresaw this: KeyError: 'oops'", "test_bad_resources.py", "HYDRA_FULL_ERROR=1")
    refused(tiny("runs_root=out"), *words, code=1)
    monkeypatch.setenv("HYDRA_FULL_ERROR", "1")
    from cgcd.cli.main import main

    with pytest.raises(KeyError, match="oops"):
        main(tiny("runs_root=out"))


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="no such limit here")
def test_an_address_space_that_is_too_small(
    place: Path, tiny: Callable, refused: Callable, works: Callable
) -> None:
    """The limit is set in a child of this process, where everything is imported already."""
    works(tiny("runs_root=out"))
    read, write = os.pipe()
    child = os.fork()
    if not child:
        said = "it worked"
        try:
            status = Path("/proc/self/status").read_text()
            used = int(status.partition("VmSize:")[2].split()[0]) * 1024
            room = used + 2**26, resource.getrlimit(resource.RLIMIT_AS)[1]
            resource.setrlimit(resource.RLIMIT_AS, room)
            wide = ["model.projection_hidden=20000", "model.projection_layers=4"]
            said = refused(tiny("runs_root=out", *wide), "ran out of memory", "batch_size")
        except BaseException as error:
            said = f"{type(error).__name__}: {error}"
        finally:
            os.write(write, said.encode()[:4000])
            os._exit(0)
    os.close(write)
    with os.fdopen(read, "rb") as pipe:
        said = pipe.read().decode()
    os.waitpid(child, 0)
    assert said.startswith("cgcd: this machine ran out of memory"), said
