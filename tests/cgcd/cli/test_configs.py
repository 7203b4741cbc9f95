"""Composition of configs, the check of top-level values and the name of the run folder."""

from __future__ import annotations

from pathlib import Path

import pytest

from cgcd.cli.configs import compose_run, without_sweeps
from cgcd.cli.folders import run_folder, stored_results, take_folder
from cgcd.cli.settings import check_settings
from cgcd.vocabulary import InputError


def settings(*overrides: str) -> tuple[dict, dict]:
    config, chosen = compose_run(overrides)
    return check_settings(config, chosen), chosen


def refusal(*overrides: str) -> str:
    with pytest.raises(InputError) as caught:
        settings(*overrides)
    return str(caught.value)


@pytest.mark.parametrize(
    ("override", "parts"),
    [
        ("strategy=hapy", ["strategy=hapy", "'happy'"]),
        ("scenario=nope", ["digits", "cifar100", "image_folder"]),
        ("experiment=nope", ["happy_cifar100"]),
        ("recipe=nope", ["digits-happy"]),
        ("recipe=null", ["recipe=null", "none"]),
        ("scenaro=digits", ["'scenaro'", "'scenario'", "--cfg job"]),
        ("strategy.base.epoch=1", ["'strategy.base.epochs'"]),
        ("strategy.base.weights.nope=1", ["strategy.base.weights.nope"]),
        ("protocol=digits_2per", ["protocol@scenario.protocol"]),
        ("+nope=1", ["'nope'", "nothing reads"]),
        ("a=[", ["a=[", "key=value"]),
        ("nonsense", ["nonsense", "key=value"]),
        ("seed=0,1", ["seed=0,1", "-m"]),
        ("scenario.seed=${nope}", ["'nope'"]),
        ("schema_version=99", ["99", "newer cgcd"]),
        ("model.weights=???", ["model.weights=..."]),
    ],
)
def test_what_does_not_compose_is_named(override: str, parts: list[str]) -> None:
    message = refusal(override)
    assert all(part in message for part in parts), message
    assert "\n" not in message


@pytest.mark.parametrize(
    "override",
    "seed=-1 seed=abc seed=1.5 seed=true seed=null torch_threads=x torch_threads=0 num_workers=-1 "
    "profile=3 trunk_cache_gb=-1 checkpoint_minutes=0 checkpoint_steps=0 precision=half compile=1 "
    "input_cache_gb=-1 device=1 baselines=3 analysis=3 overwrite=maybe runs_root=5 runs_root='' "
    "data_root=7".split(),
)
def test_values_of_the_wrong_kind_are_named(override: str) -> None:
    key = override.split("=")[0]
    message = refusal(override)
    assert message.startswith(f"{key}=") and "wanted" in message


def test_every_value_of_a_sweep_is_seen_once() -> None:
    lists = without_sweeps(["seed=range(0,3)", "+x=1", "strategy=glob(*)", "~data_root", "b=1,2"])
    assert [single[0] for single in lists] == ["seed=0", "seed=1", "seed=2", "seed=0"]
    assert lists[0][1:] == ["+x=1", "~data_root", "b=1"] and lists[3][-1] == "b=2"


def folder(*overrides: str) -> Path:
    return run_folder(*settings(*overrides))


@pytest.mark.parametrize(
    "override",
    "checkpoint_minutes=1 checkpoint_steps=5 analysis=false profile=true trunk_cache_gb=0 "
    "input_cache_gb=0 device=cuda torch_threads=3 num_workers=2 tracking=none overwrite=true "
    "data_root=/x runs_root=elsewhere".split(),
)
def test_the_folder_stays_where_results_do(override: str) -> None:
    assert folder(override).name == folder().name


@pytest.mark.parametrize(
    "overrides",
    [
        ["seed=1"],
        ["strategy.base.epochs=9"],
        ["strategy.memory_branch=analytic"],
        ["num_novel=1"],
        ["recipe=none"],
        ["baselines=false"],
        ["precision=bf16"],
        ["compile=true"],
        ["scenario.protocol.num_stages=2"],
    ],
)
def test_the_folder_changes_with_what_changes_results(overrides: list[str]) -> None:
    assert folder(*overrides).name != folder().name


def test_other_data_is_another_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    here = folder("scenario=image_folder", "data_root=a")
    assert here != folder("scenario=image_folder", "data_root=b")
    assert here == folder("scenario=image_folder", f"data_root={tmp_path}/a")
    assert here.name.startswith("image_folder-happy-s0-")


PHOTOS = ["scenario=folder", "scenario.labeled=a/known", "scenario.stages=[a/may,a/june]"]


def test_photos_are_the_same_from_wherever_they_are_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    here = folder(*PHOTOS)
    (tmp_path / "a").mkdir()
    monkeypatch.chdir(tmp_path / "a")
    stages = f"scenario.stages=[may,{tmp_path}/a/june]"
    assert here == folder("scenario=folder", "scenario.labeled=known", stages)
    assert here != folder(*PHOTOS, "scenario.truth=a.csv")


def test_a_folder_of_photos_counts_its_classes_unless_told() -> None:
    for overrides, wanted in ((PHOTOS, "estimate"), ([*PHOTOS, "num_novel=4"], 4), ([], "given")):
        content, _ = settings(*overrides)
        told = [content["num_novel"], content["strategy"]["num_novel"]]
        assert [*told, content["scenario"]["num_novel"]] == [wanted] * 3


@pytest.mark.parametrize(
    "text", ["", "{", "[]", "3", '{"schema_version": 1}', '{"schema_version": "x", "stages": []}']
)
def test_damaged_results_count_as_none(text: str, tmp_path: Path) -> None:
    (tmp_path / "results.json").write_text(text)
    assert stored_results(tmp_path) is None


def test_results_of_a_newer_version_are_refused(tmp_path: Path) -> None:
    (tmp_path / "results.json").write_text(
        '{"schema_version": 99, "finished": true, "stages": [1]}'
    )
    with pytest.raises(InputError, match="schema version 99"):
        stored_results(tmp_path)


def test_overwriting_removes_what_runs_leave_and_nothing_else(tmp_path: Path) -> None:
    (tmp_path / "checkpoints").mkdir()
    for name in ("checkpoints/x", "results.json", "metrics.csv", "my notes.txt"):
        (tmp_path / name).write_text("x")
    take_folder(tmp_path, "a: 1\n", overwrite=True)
    left = {path.name for path in tmp_path.iterdir()}
    assert left == {".lock", "config.yaml", "my notes.txt"}


@pytest.mark.parametrize("place", ["file", "file/below"])
def test_a_place_that_cannot_be_written_is_named(place: str, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    with pytest.raises(InputError, match="runs_root="):
        take_folder(tmp_path / place, "", overwrite=False)
