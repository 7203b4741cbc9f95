"""Whatever happens to the bytes of a checkpoint: it is as it was, or it is known to be damaged."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from cgcd.engine.cache import read_whole, write_whole
from cgcd.engine.checkpoint_files import newest_whole, write_checkpoint
from cgcd.vocabulary import InputError

TENSORS = {"head.directions": torch.arange(24.0).view(4, 6), "memory.count": torch.tensor(7)}
STATE = {"rows": [{"stage": 0, "accuracy/all": 0.5}], "report": {"a": None}, "counters": {"b": 2}}
FILES = ("tensors.safetensors", "state.json")


@st.composite
def damage(draw: st.DrawFn) -> Any:
    """A change of some bytes, as a function of them."""
    kind = draw(st.sampled_from(["flip", "cut", "put", "replace", "whole"]))
    share = draw(st.floats(0, 1, exclude_max=True))
    some = draw(st.binary(min_size=1, max_size=40))
    bit = 1 << draw(st.integers(0, 7))

    def change(content: bytes) -> bytes:
        place = int(share * len(content))
        if kind == "flip":
            return content[:place] + bytes([content[place] ^ bit]) + content[place + 1 :]
        if kind == "cut":
            return content[:place]
        if kind == "put":
            return content[:place] + some + content[place:]
        if kind == "replace":
            return content[:place] + some + content[place + len(some) :]
        return some

    return change


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    folder = tmp_path_factory.mktemp("checkpoints")
    write_checkpoint(folder / "stage_000", TENSORS, STATE)
    yield folder


def same(tensors: dict[str, torch.Tensor]) -> bool:
    return tensors.keys() == TENSORS.keys() and all(
        torch.equal(tensors[name], tensor) for name, tensor in TENSORS.items()
    )


@given(damage(), st.sampled_from(FILES))
def test_a_stage(whole: Path, change: Any, name: str) -> None:
    path = whole / "stage_001"
    shutil.rmtree(path, ignore_errors=True)
    shutil.copytree(whole / "stage_000", path)
    (path / name).write_bytes(change((path / name).read_bytes()))
    try:
        found = newest_whole([path], "going back one stage")
    except InputError as error:
        assert "schema version" in str(error)
        return
    if found is not None:
        assert same(found.tensors) and STATE.items() <= found.state.items()


@given(damage())
def test_a_file_with_its_checksum_inside(whole: Path, change: Any) -> None:
    path = whole / "window_000000.safetensors"
    write_whole(path, TENSORS, {"run": "x"})
    path.write_bytes(change(path.read_bytes()))
    found = read_whole(path)
    assert found is None or same(found[0])
