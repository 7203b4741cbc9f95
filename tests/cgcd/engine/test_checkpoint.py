"""Stored stages: whole or not at all, and refused where they cannot be trusted."""

from __future__ import annotations

import json
import logging
import re
from types import SimpleNamespace

import pytest
import torch
from avalanche.training.plugins import ReplayPlugin
from safetensors.torch import load_file

from cgcd.engine import checkpoint as module
from cgcd.engine import run_stages
from cgcd.engine.checkpoint import latest, restore, save_stage
from cgcd.vocabulary import InputError


@pytest.fixture
def run(tmp_path, quick_happy, blobs):
    """A finished short run of three stages."""
    scenario, strategy = blobs(), quick_happy(epochs=(1, 1))
    result = run_stages(strategy, scenario, tmp_path)
    return SimpleNamespace(
        folder=tmp_path,
        checkpoints=tmp_path / "checkpoints",
        strategy=strategy,
        scenario=scenario,
        result=result,
    )


def test_only_plain_files_and_what_changes(run):
    names = {str(p.relative_to(run.checkpoints)) for p in run.checkpoints.rglob("*") if p.is_file()}
    stages = {
        f"stage_00{i}/{name}" for i in range(3) for name in ("state.json", "tensors.safetensors")
    }
    assert names == {"backbone.safetensors", *stages}
    tensors = load_file(run.checkpoints / "stage_002" / "tensors.safetensors")
    assert {name.split(".")[0] for name in tensors} == {"tail", "projection", "head", "memory"}
    assert tensors["head.directions"].shape == (7, 24) and tensors["memory.means"].shape == (7, 24)
    backbone = load_file(run.checkpoints / "backbone.safetensors")
    assert {name.split(".")[0] for name in backbone} == {"trunk", "tail"}


def test_the_newest_is_restored(run, quick_happy):
    found = latest(run.checkpoints)
    assert found.stage == 2
    fresh = quick_happy(epochs=(1, 1))
    restore(fresh, found, run.checkpoints)
    for name, tensor in run.strategy.model.state_dict().items():
        assert torch.equal(fresh.model.state_dict()[name], tensor)
    assert torch.equal(fresh.memory.means, run.strategy.memory.means)
    assert (fresh.stage_index, fresh.num_base, fresh.num_known) == (2, 4, 5)
    assert vars(fresh.clock) == vars(run.strategy.clock)
    assert fresh.evaluator.metrics[0].history == run.strategy.evaluator.metrics[0].history


def cut(path):
    path.write_bytes(path.read_bytes()[:-20])


def flip(path):
    data = bytearray(path.read_bytes())
    data[-5] ^= 1
    path.write_bytes(bytes(data))


def garble(path):
    path.write_bytes(b"\xff\xfe\x00garbage")


DAMAGES = {
    "tensors cut": ("tensors.safetensors", cut),
    "tensors flipped": ("tensors.safetensors", flip),
    "tensors gone": ("tensors.safetensors", lambda p: p.unlink()),
    "state cut": ("state.json", cut),
    "state garbled": ("state.json", garble),
    "state empty": ("state.json", lambda p: p.write_text("")),
    "state a list": ("state.json", lambda p: p.write_text("[]")),
    "state gone": ("state.json", lambda p: p.unlink()),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_newest_falls_back_with_a_warning(run, damage, caplog):
    name, spoil = DAMAGES[damage]
    spoil(run.checkpoints / "stage_002" / name)
    with caplog.at_level(logging.WARNING):
        assert latest(run.checkpoints).stage == 1
    assert "stage_002 is damaged" in caplog.text and "going back one stage" in caplog.text


def test_the_run_goes_on_from_the_stage_before(run, quick_happy, blobs):
    cut(run.checkpoints / "stage_002" / "tensors.safetensors")
    strategy = quick_happy(epochs=(1, 1))
    result = run_stages(strategy, blobs(), run.folder)
    for name, tensor in run.strategy.model.state_dict().items():
        assert torch.equal(strategy.model.state_dict()[name], tensor)
    drop = [{k: v for k, v in row.items() if k != "seconds"} for row in result.rows]
    assert drop == [{k: v for k, v in r.items() if k != "seconds"} for r in run.result.rows]
    assert latest(run.checkpoints).stage == 2  # whole again


def test_all_damaged_starts_anew_with_a_new_backbone(run, quick_happy, blobs):
    for stage in range(3):
        garble(run.checkpoints / f"stage_00{stage}" / "state.json")
    garble(run.checkpoints / "backbone.safetensors")
    run_stages(quick_happy(epochs=(1, 1)), blobs(), run.folder)
    restore(quick_happy(), latest(run.checkpoints), run.checkpoints)


@pytest.mark.parametrize("spoil", [cut, lambda path: path.unlink()])
@pytest.mark.parametrize("name", ["backbone.safetensors", "stage_000/tensors.safetensors"])
def test_a_damaged_start_of_the_run_is_one_sentence(run, quick_happy, blobs, name, spoil):
    spoil(run.checkpoints / name)
    with pytest.raises(
        InputError, match=r"cannot be read .* start it anew with overwrite=true"
    ) as e:
        run_stages(quick_happy(epochs=(1, 1)), blobs(), run.folder)
    assert "\n" not in str(e.value)


def test_a_newer_schema_is_refused(run, quick_happy, blobs):
    path = run.checkpoints / "stage_002" / "state.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"schema_version": 99}))
    with pytest.raises(InputError, match="has schema version 99 and this cgcd reads up to"):
        run_stages(quick_happy(epochs=(1, 1)), blobs(), run.folder)


def test_another_model_is_refused_in_one_sentence(run, quick_happy, blob_model, blobs):
    other = quick_happy(blob_model(projection_hidden=33), epochs=(1, 1))
    with pytest.raises(InputError, match=r"holds a run with another model .* overwrite=true"):
        run_stages(other, blobs(), run.folder)
    with pytest.raises(InputError, match=r"does not fit this model .* set overwrite=true") as e:
        restore(other, latest(run.checkpoints), run.checkpoints)
    assert "\n" not in str(e.value)


@pytest.mark.parametrize(
    ("what", "settings", "stream"),
    [
        ("stream", {}, {"seed": 1}),
        ("seed", {"seed": 5}, {}),
        ("setting", {"student_temperature": 0.2}, {}),
        ("setting", {"num_novel": 2}, {}),
        ("seed", {"seed": 5, "plugins": [ReplayPlugin(mem_size=5)]}, {}),
    ],
)
def test_another_run_is_refused(run, quick_happy, blobs, what, settings, stream):
    message = re.escape(f"{run.folder} holds a run with another {what}")
    with pytest.raises(InputError, match=f"{message}.*overwrite=true"):
        run_stages(quick_happy(epochs=(1, 1), **settings), blobs(**stream), run.folder)
    assert latest(run.checkpoints).stage == 2  # nothing of the other run is lost


def test_a_failed_write_leaves_nothing_behind(run, monkeypatch):
    before = {p: p.read_bytes() for p in run.checkpoints.rglob("*") if p.is_file()}

    def fails(*args, **kwargs):
        raise OSError("disk full")

    monkeypatch.setattr(module.json, "dumps", fails)
    with pytest.raises(OSError, match="disk full"):
        save_stage(run.strategy, run.checkpoints, {})
    assert {p: p.read_bytes() for p in run.checkpoints.rglob("*") if p.is_file()} == before


def test_leftovers_of_a_broken_write_are_swept_and_never_read(run, quick_happy, blobs):
    leftover = run.checkpoints / ".stage_003-abc"
    leftover.mkdir()
    (leftover / "state.json").write_text("{}")
    assert latest(run.checkpoints).stage == 2
    run_stages(quick_happy(epochs=(1, 1)), blobs(), run.folder)
    assert not leftover.exists()


def test_no_checkpoint_at_all(tmp_path):
    assert latest(tmp_path) is None
