"""Damaged, foreign and hostile checkpoints: passed over or refused, and the run can be mended."""

from __future__ import annotations

import json
import os
import pickle
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

TENSORS, STATE = "tensors.safetensors", "state.json"


class Owned:
    """Leaves a file behind where somebody unpickles it."""

    def __reduce__(self) -> Any:
        return os.system, ("touch owned",)


def cut(path: Path, size: int) -> None:
    path.write_bytes(path.read_bytes()[:size])


def flip(path: Path, place: int) -> None:
    content = bytearray(path.read_bytes())
    content[place] ^= 1
    path.write_bytes(content)


def edit(path: Path, **values: Any) -> None:
    state = json.loads((path / STATE).read_text())
    (path / STATE).write_text(json.dumps({**state, **values}))


@pytest.fixture(scope="module")
def stored(place: Path, tiny: Callable) -> Path:
    """A finished run, kept apart."""
    from cgcd.cli.main import main

    assert main(tiny()) == 0
    (own,) = (place / "runs").iterdir()
    shutil.copytree(own, place / "kept")
    return own


@pytest.fixture
def run(stored: Path, place: Path) -> Path:
    """The run, whole again, as if it had been broken off before its results were written."""
    shutil.rmtree(stored)
    shutil.copytree(place / "kept", stored)
    (stored / "results.json").unlink()
    return stored


DAMAGED = {
    "truncated tensors": lambda last: cut(last / TENSORS, 500),
    "no tensors": lambda last: (last / TENSORS).unlink(),
    "a flipped bit": lambda last: flip(last / TENSORS, 3000),
    "a pickle": lambda last: (last / TENSORS).write_bytes(pickle.dumps(Owned())),
    "truncated state": lambda last: cut(last / STATE, 300),
    "another list": lambda last: (last / STATE).write_text("[1]"),
    "a deep one": lambda last: (last / STATE).write_text("[" * 100_000),
    "another number": lambda last: edit(last, counters={"stage_index": 5}),
    "no rows": lambda last: edit(last, rows=None),
    "a version that is none": lambda last: edit(last, schema_version="x"),
}


@pytest.mark.parametrize("name", DAMAGED)
def test_a_damaged_newest_one_is_passed_over(
    name: str, run: Path, place: Path, tiny: Callable, capsys: pytest.CaptureFixture[str]
) -> None:
    from cgcd.cli.main import main

    DAMAGED[name](run / "checkpoints" / "stage_001")
    assert main(tiny()) == 0
    out, err = capsys.readouterr()
    assert "going on after stage 0" in out and not (place / "owned").exists()
    assert err.count("\n") == 1 and "stage_001 is damaged" in err and "going back one stage" in err
    for name in ("metrics.csv", "predictions/stage_1.csv"):
        ours, theirs = (
            (folder / name).read_text().splitlines() for folder in (run, place / "kept")
        )
        assert [x for x in ours if "seconds" not in x] == [x for x in theirs if "seconds" not in x]


REFUSED: dict[str, tuple[Callable[[Path], Any], tuple[str, ...]]] = {
    "a newer version": (
        lambda folder: edit(folder / "stage_001", schema_version=2),
        ("stage_001", "version 2", "up to 1"),
    ),
    "the trunk gone": (
        lambda folder: (folder / "backbone.safetensors").unlink(),
        ("backbone.safetensors", "overwrite=true"),
    ),
    "the trunk truncated": (
        lambda folder: cut(folder / "backbone.safetensors", 100),
        ("backbone.safetensors", "overwrite=true"),
    ),
    "a flipped bit of the trunk": (
        lambda folder: flip(folder / "backbone.safetensors", 5000),
        ("backbone.safetensors", "checksum differs", "put a copy back"),
    ),
    "the base stage gone": (
        lambda folder: shutil.rmtree(folder / "stage_000"),
        ("stage_000", "overwrite=true"),
    ),
    "the base stage flipped": (
        lambda folder: flip(folder / "stage_000" / TENSORS, 3000),
        ("stage_000 is damaged", "overwrite=true"),
    ),
    "a file in its place": (
        lambda folder: (shutil.rmtree(folder), folder.write_text("x")),
        ("checkpoints",),
    ),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_cannot_be_passed_over_is_refused(
    name: str, run: Path, place: Path, tiny: Callable, refused: Callable, works: Callable
) -> None:
    spoil, words = REFUSED[name]
    spoil(run / "checkpoints")
    refused(tiny(), *words)
    if name == "the trunk gone":  # put back, as the sentence says
        shutil.copy(place / "kept" / "checkpoints" / "backbone.safetensors", run / "checkpoints")
        assert "going on after stage 1" in works(tiny())


def test_checkpoints_of_another_model(
    run: Path, place: Path, tiny: Callable, refused: Callable, works: Callable
) -> None:
    works(tiny("model.projection_dim=4", "runs_root=other"))
    (other,) = (place / "other").iterdir()
    shutil.rmtree(run / "checkpoints")
    shutil.copytree(other / "checkpoints", run / "checkpoints")
    refused(tiny(), run.name, "another model", "give another folder or set overwrite=true")
    works(tiny("overwrite=true"))


def test_tensors_of_another_model(
    run: Path, place: Path, tiny: Callable, refused: Callable, works: Callable
) -> None:
    from safetensors.torch import load_file

    from cgcd.engine.checkpoint_files import write_checkpoint

    last = run / "checkpoints" / "stage_001"
    tensors = load_file(last / TENSORS)
    tensors["head.directions"] = torch.ones(6, 3)
    state = json.loads((last / STATE).read_text())
    heads = ("schema_version", "sha256", "state_sha256")
    write_checkpoint(last, tensors, {k: v for k, v in state.items() if k not in heads})
    refused(tiny(), "does not fit this model", "[3, 12]", "overwrite=true")
    works(tiny("overwrite=true"))


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ('{"schema_version": 2, "finished": true, "stages": [{}]}', ("version 2", "up to 1")),
        ('{"schema_version": 1, "finished": true, "stages": [1]}', ()),
        ("{", ()),
        ("[" * 100_000, ()),
    ],
    ids=["newer", "no rows", "cut off", "deep"],
)
def test_results_that_cannot_be_printed(
    text: str, words: tuple[str, ...], run: Path, tiny: Callable, refused: Callable, works: Callable
) -> None:
    (run / "results.json").write_text(text)
    if words:
        refused(tiny(), "results.json", *words)
        (run / "results.json").unlink()
    assert "going on after stage 1" in works(tiny())


WEIGHTS = {
    "a pickle that runs": (lambda path: torch.save({"a": Owned()}, path), "could run code"),
    "a bare pickle": (lambda path: path.write_bytes(pickle.dumps(Owned())), "no file of tensors"),
    "damaged": (lambda path: path.write_bytes(b"x" * 99), "damaged"),
    "zero bytes": (lambda path: path.write_bytes(b""), "cannot be read"),
    "of another model": (lambda path: torch.save({"w": torch.ones(3)}, path), "does not fit"),
    "nan": (None, "NaN or infinite"),
    "missing": (lambda path: None, "does not exist; wanted a .safetensors"),
}


@pytest.mark.parametrize("name", WEIGHTS)
def test_weights_that_cannot_be_used(name: str, place: Path, refused: Callable) -> None:
    make, words = WEIGHTS[name]
    path = place / f"{name.replace(' ', '_')}.pth"
    if make is None:
        import timm

        state = timm.create_model("resnet10t", num_classes=0).state_dict()
        torch.save(
            {k: v * torch.nan if v.is_floating_point() else v for k, v in state.items()}, path
        )
    else:
        make(path)
    refused(["run", "model.input_size=16", f"model.weights={path}"], f"model.weights={path}", words)
    assert not (place / "owned").exists()
