"""`cgcd tune` from the command line's side: composed, refused, finished, gone on with."""

from __future__ import annotations

import json
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from hydra.core.override_parser.overrides_parser import OverridesParser
from omegaconf import OmegaConf

from cgcd.cli.configs import choices, compose_run, config_dir, value_text, with_values
from cgcd.cli.main import main
from cgcd.cli.settings import check_settings
from cgcd.cli.tune import command, without_settled
from cgcd.engine.candidates import flat_grid, grid_candidates
from cgcd.vocabulary import InputError
from strategies import Happy

TINY = [
    "strategy.base.epochs=1",
    "strategy.continual.epochs=1",
    "strategy.warm_up.steps=1",
    "strategy.base.batch_size=32",
    "model.input_size=16",
    "model.projection_hidden=16",
    "torch_threads=1",
    "tune=none",
    "tune.num_folds=1",
    "tune.hidden=0.2",
    "tune.grid.strategy.radius_scale=[1.0,2.0]",
]
TUNED = sorted(path.stem for path in (config_dir() / "tune").glob("*.yaml"))


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty working directory, and a cache of its own beside it."""
    monkeypatch.setenv("CGCD_CACHE", str(tmp_path / "cache"))
    place = tmp_path / "work"
    place.mkdir()
    monkeypatch.chdir(place)
    return place


@pytest.mark.parametrize("name", TUNED)
def test_every_grid_names_values_of_its_strategy(name: str) -> None:
    text = (config_dir() / "tune" / f"{name}.yaml").read_text(encoding="utf-8")
    assert text.startswith("# ")
    if name == "none":
        return
    config, chosen = compose_run([f"strategy={name}", "recipe=none"], "tune")
    assert chosen["tune"] == name
    grid = flat_grid(OmegaConf.to_container(config.tune.grid))
    candidates = grid_candidates(grid)
    assert 4 <= len(candidates) <= 6
    for values in candidates:
        check_settings(with_values(config, values), chosen)
    published = {key: OmegaConf.select(config, key) for key in grid}
    assert published in candidates  # so that the default is one of them


def test_every_strategy_has_a_grid() -> None:
    assert set(TUNED) == {*choices("strategy"), "none"}


def test_values_come_back_from_the_command_line() -> None:
    parser = OverridesParser.create()
    values = [
        *(0.001, 5e-05, 3, True, None, "word", "two words", "it's", "a\\", "1e3", "null", ""),
        *([1, [2.5, "x y"]], {"a": 1, "b": [None]}, "${seed}"),
    ]
    for value in values:
        assert parser.parse_override(f"k={value_text(value)}").value() == value, value


def test_the_command_is_the_one_typed_with_the_best_values() -> None:
    typed = ["strategy=happy", "tune=none", "tune.num_folds=3", "seed=4", "overwrite=true"]
    typed += ["strategy.continual.optimizer.lr=0.5", "+tune.grid.strategy.x=[1]"]
    best = {"strategy.continual.optimizer.lr": 0.03, "scenario.augmentations": ["a b"]}
    words = shlex.split(command(typed, best))
    assert words == [
        *("cgcd", "run", "strategy=happy", "seed=4"),
        *("strategy.continual.optimizer.lr=0.03", "scenario.augmentations=['a b']"),
    ]
    assert command(["scenario=digits"], {}) == "cgcd run scenario=digits"


def test_what_the_command_line_settles_is_not_tried() -> None:
    def settled(*typed: str) -> tuple[list[str], set[str]]:
        config, _ = compose_run(["strategy=gaussian", *typed], "tune")
        return without_settled(config, typed), {*flat_grid(OmegaConf.to_object(config.tune.grid))}

    blend, tuned = "strategy.blend", "strategy.tune_base"
    assert settled("strategy.kmeans_starts=2") == ([], {blend, tuned})
    assert settled("strategy.tune_base=false") == ([tuned], {blend})
    for grid in (f"++tune.grid.{tuned}=[true]", "tune.grid={strategy: {tune_base: [true]}}"):
        assert settled(f"{tuned}=false", grid) == ([], {blend, tuned})


def test_values_at_keys_that_are_not_there_are_refused() -> None:
    config, _ = compose_run([])
    changed = with_values(config, {"strategy.base.epochs": 7, "strategy.warm_up": None})
    assert changed.strategy.base.epochs == 7 and changed.strategy.warm_up is None
    assert config.strategy.base.epochs == 5
    with pytest.raises(InputError, match=r"'strategy.base.epoch'.*'strategy.base.epochs'"):
        with_values(config, {"strategy.base.epoch": 7})


def test_a_wrong_key_beside_new_ones_is_the_one_that_is_named() -> None:
    with pytest.raises(InputError, match=r"^strategy.base.epoch=1: .*'strategy.base.epochs'"):
        compose_run(["++tune.grid.strategy.radius_scale=[1.0]", "strategy.base.epoch=1"], "tune")


def test_it_stops_goes_on_ends_and_is_printed_again(
    here: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    begin, calls = Happy.begin_stage, []

    def stop_in_the_second_trial(self: Happy, stage: object) -> None:
        calls.append(stage)
        if len(calls) == 3:  # two stages a trial
            raise KeyboardInterrupt
        begin(self, stage)

    arguments = ["tune", *TINY]
    with monkeypatch.context() as patch:
        patch.setattr(Happy, "begin_stage", stop_in_the_second_trial)
        assert main(arguments) == 130
    out, err = capsys.readouterr()
    assert err == "cgcd: stopped; the same command goes on after the last whole run\n"
    (folder,) = (here / "runs").iterdir()
    assert out.splitlines()[0] == f"tune digits, happy, seed 0: runs/{folder.name}"
    assert folder.name.startswith("tune-digits-happy-s0-")
    assert {p.name for p in folder.iterdir()} == {".lock", "config.yaml", "trials"}
    (first,) = (folder / "trials").iterdir()
    before = first.read_bytes()

    assert main(arguments) == 0
    out, err = capsys.readouterr()
    assert first.read_bytes() == before and not err
    lines = out.splitlines()
    assert [line.split()[0] for line in lines[3:5]] == ["1/2", "2/2"]  # 1.0 is the default
    assert lines[3].endswith("default") and lines[4].endswith("strategy.radius_scale=2.0")
    assert {p.name for p in folder.iterdir()} == {
        ".lock",
        "config.yaml",
        "trials",
        "table.csv",
        "tune.json",
    }
    stored = json.loads((folder / "tune.json").read_text())
    assert {"versions", "commit", "seed", "settings", "hidden_classes"} <= stored.keys()
    assert stored["command"].startswith("cgcd run strategy.base.epochs=1")
    assert "tune" not in stored["command"]

    code = (
        f"import sys; from cgcd.cli.main import main; assert main({arguments}) == 0; "
        "print({'torch', 'avalanche', 'timm', 'sklearn'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "finished before" in done.stdout and "(floor)" in done.stdout
    assert done.stdout.endswith("set()\n") and not done.stderr

    shutil.rmtree(folder / "trials")
    flags = ["--config-dir", str(here)]
    assert main(["tune", *flags, *TINY]) == 0  # asks for no trial
    assert not (folder / "trials").exists() and "finished before" in capsys.readouterr().out
    assert main(["tune", *flags, *TINY, "tune.grid.model.nope=[1]"]) == 2
    assert "'model.nope'" in capsys.readouterr().err and len(list((here / "runs").iterdir())) == 1


@pytest.mark.parametrize(
    ("arguments", "part"),
    [
        (["tune=none"], "no grid for happy"),
        (["tune=nope"], "'none'"),
        (["strategy=hapy"], "'happy'"),
        (["tune.grid.strategy.base.epoch=[1]"], "'strategy.base.epochs'"),
        (["tune.grid.strategy.base.epochs=3"], "tune.grid.strategy.base.epochs=[first,second]"),
        (["tune.grid=3"], "tune.grid is 3"),
        (["tune.grid.seed=[1,2]"], "values for seed"),
        (["tune.grid.scenario.protocol.num_base=[3]"], "the question"),
        (["tune.num_random=0"], "num_random is 0"),
        (["tune.hidden=2"], "tune.hidden=0.4"),
        (["tune.num_folds=9"], "9 folds"),
        (["tune.nope=1"], "'tune.nope'"),
        (["+tune.nope=1"], "'nope'"),
        (["strategy.base.epochs=1,2"], "tune.grid.KEY"),
        (["-m", "seed=0,1"], "not -m"),
        (["strategy=phe"], "PHE is for the setting online"),
        (["tune=none", "tune.grid.strategy.continual.batch_size=[5000]"], "batch_size=5000: stage"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_a_refusal_is_one_sentence_and_leaves_nothing(
    arguments: list[str], part: str, here: Path, capsys: pytest.CaptureFixture
) -> None:
    assert main(["tune", *arguments]) == 2
    out, err = capsys.readouterr()
    assert err.startswith("cgcd: ") and err.count("\n") == 1 and part in err, err
    assert not out and not list(here.iterdir())


def test_help_and_config_are_printed(here: Path, capsys: pytest.CaptureFixture) -> None:
    assert main(["tune", "--help"]) == 0
    assert "cgcd tune [group=choice" in capsys.readouterr().out
    assert main(["tune", "--cfg", "job", "strategy=smile", "scenario=digits_online"]) == 0
    assert "code_length:\n      - 8" in capsys.readouterr().out
    assert not list(here.iterdir())
