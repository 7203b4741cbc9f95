"""`cgcd run` from the command line's side: what it prints, leaves, refuses and goes on with."""

from __future__ import annotations

import contextlib
import fnmatch
import io
import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from filelock import FileLock

from cgcd.cli.help_topics import topic
from cgcd.cli.main import main
from strategies import Happy

TINY = [
    "strategy.base.epochs=1",
    "strategy.continual.epochs=1",
    "strategy.warm_up.steps=2",
    "scenario.protocol.num_stages=2",
    "scenario.protocol.samples_per_novel=60",
    "model.input_size=16",
    "model.projection_hidden=16",
]


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str, str]:
    """A folder with one finished run, and what the run printed on both streams."""
    place = tmp_path_factory.mktemp("finished")
    out, err = io.StringIO(), io.StringIO()
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(place)
        patch.setenv("CGCD_CACHE", str(tmp_path_factory.mktemp("cache")))
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            assert main(["run", *TINY]) == 0
    return place, out.getvalue(), err.getvalue()


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty working directory, and a cache of its own beside it."""
    monkeypatch.setenv("CGCD_CACHE", str(tmp_path / "cache"))
    place = tmp_path / "work"
    place.mkdir()
    monkeypatch.chdir(place)
    return place


@pytest.fixture
def copied(finished: tuple[Path, str, str], here: Path) -> Path:
    """The finished run's folder, copied below the working directory."""
    shutil.copytree(finished[0] / "runs", here / "runs")
    (folder,) = (here / "runs").iterdir()
    return folder


def measured(folder: Path) -> list[str]:
    lines = (folder / "metrics.csv").read_text().splitlines()
    return [line for line in lines if ",seconds" not in line]


def test_a_run_prints_the_table_and_nothing_else(finished: tuple[Path, str, str]) -> None:
    _, out, err = finished
    lines = out.splitlines()
    assert lines[0].startswith("digits, happy, seed 0: runs/digits-happy-s0-")
    assert lines[1].startswith("warm-up: 2 steps") and lines[2].startswith("stage  known")
    assert [line.split()[0] for line in lines[3:6]] == ["0", "1", "2"]
    assert lines[6].startswith("headline: All ") and lines[-1].endswith("--logdir runs")
    assert not err


def test_a_run_leaves_one_folder(finished: tuple[Path, str, str]) -> None:
    place = finished[0]
    (folder,) = (place / "runs").iterdir()
    assert [path.name for path in place.iterdir()] == ["runs"]
    assert {path.name for path in folder.iterdir()} == {
        ".lock",
        "analysis",
        "categories.csv",
        "checkpoints",
        "config.yaml",
        "metrics.csv",
        "predictions",
        "results.json",
        "stage_curves.png",
        "tensorboard",
    }
    results = json.loads((folder / "results.json").read_text())
    assert results["finished"] and len(results["stages"]) == 3
    assert {"versions", "commit", "machine", "model", "num_novel", "warm_up"} <= results.keys()


def test_the_metrics_topic_explains_every_measured_key(finished: tuple[Path, str, str]) -> None:
    results = next(finished[0].glob("runs/*/results.json"))
    keys = set().union(*json.loads(results.read_text())["stages"])
    keys -= {"stage", "seconds", "seconds_analysis"}
    words = topic("metrics").replace(",", " ").split()
    explained = {
        word for word in words if "/" in word and "/..." not in word and "train" not in word
    }
    assert not {k for k in keys if not any(fnmatch.fnmatch(k, e) for e in explained)}
    assert not {e for e in explained if e != "Old/New" and not fnmatch.filter(keys, e)}


def test_a_finished_run_is_printed_again_without_torch(copied: Path) -> None:
    code = (
        f"import sys; from cgcd.cli.main import main; assert main(['run', *{TINY}]) == 0; "
        "print({'torch', 'avalanche', 'timm', 'sklearn'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "headline: All " in done.stdout and "overwrite=true" in done.stdout
    assert done.stdout.endswith("set()\n") and not done.stderr


def test_overwriting_gives_the_same_numbers_again_profiled_or_not(
    copied: Path, capsys: pytest.CaptureFixture
) -> None:
    before = measured(copied)
    (copied / "metrics.csv").unlink()
    assert main(["run", *TINY, "overwrite=true", "profile=true", "trunk_cache_gb=0"]) == 0
    assert measured(copied) == before
    words = {line.split()[0] for line in capsys.readouterr().out.splitlines()}
    assert {"profile", "data", "trunk", "tail", "losses", "optimizer", "framework"} <= words
    for recipe in ("base", "continual"):
        assert (copied / "profile" / f"{recipe}.pt.trace.json").is_file()


def test_an_interrupted_run_goes_on_with_the_same_numbers(
    finished: tuple[Path, str, str],
    here: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture,
) -> None:
    begin = Happy.begin_stage

    def stop_in_stage_2(self: Happy, stage: object) -> None:
        if self.stage_index == 2:
            raise KeyboardInterrupt
        begin(self, stage)

    with monkeypatch.context() as patch:
        patch.setattr(Happy, "begin_stage", stop_in_stage_2)
        assert main(["run", *TINY]) == 130
    assert (
        capsys.readouterr().err
        == "cgcd: stopped; the same command goes on from the last checkpoint\n"
    )
    assert main(["run", *TINY]) == 0
    out = capsys.readouterr().out
    assert "going on after stage 1" in out and "headline" in out
    (folder,) = (here / "runs").iterdir()
    assert measured(folder) == measured(next((finished[0] / "runs").iterdir()))


@pytest.mark.parametrize("text", ["", '{"schema_version": 1, "stages": ['])
def test_damaged_results_are_written_again(
    text: str, copied: Path, capsys: pytest.CaptureFixture
) -> None:
    stages = json.loads((copied / "results.json").read_text())["stages"]
    (copied / "results.json").write_text(text)
    assert main(["run", *TINY]) == 0
    out, err = capsys.readouterr()
    assert err.count("\n") == 1 and "results.json is damaged" in err
    assert "going on after stage 2" in out and "headline" in out
    assert json.loads((copied / "results.json").read_text())["stages"] == stages


def test_a_folder_in_use_is_refused_and_kept(copied: Path, capsys: pytest.CaptureFixture) -> None:
    before = measured(copied)
    with FileLock(copied / ".lock"):
        assert main(["run", *TINY, "overwrite=true"]) == 2
    assert "in use by another run" in capsys.readouterr().err
    assert measured(copied) == before and (copied / "checkpoints").is_dir()


def test_what_cannot_be_built_overwrites_nothing(copied: Path) -> None:
    assert main(["run", *TINY, "overwrite=true", "device=quantum"]) == 2
    assert (copied / "results.json").is_file() and (copied / "checkpoints").is_dir()


def test_a_sweep_skips_what_is_finished_and_leaves_no_folder_of_hydra(
    copied: Path, here: Path, capsys: pytest.CaptureFixture
) -> None:
    assert main(["run", "-m", "seed=0,1", *TINY, "tracking=none"]) == 0
    out, err = capsys.readouterr()
    assert out.index("finished before") < out.index("digits, happy, seed 1") and not err
    assert "TensorBoard" not in out
    assert [path.name for path in here.iterdir()] == ["runs"]
    assert len(list((here / "runs").iterdir())) == 2


def test_the_rest_of_a_sweep_runs_after_a_failed_one(
    copied: Path, capsys: pytest.CaptureFixture
) -> None:
    assert main(["run", "-m", "model.weights=/nope,null", *TINY]) == 2
    out, err = capsys.readouterr()
    assert err.count("\n") == 1 and err.startswith("cgcd: model.weights=/nope: model.weights")
    assert "finished before" in out  # the second one


@pytest.mark.parametrize(
    ("overrides", "part"),
    [
        (["strategy=hapy"], "'happy'"),
        (["seed=-1"], "seed=-1"),
        (["scenario.protocol.num_stages=0"], "scenario.protocol.num_stages"),
        (["scenario=cifar100", "data_root=/nope"], "/nope"),
        (["model.backbone=nope"], "model.backbone=nope"),
        (["model.weights=/nope"], "model.weights=/nope"),
        (["model.projection_layers=0"], "projection_layers is 0"),
        (["device=quantum"], "device=quantum"),
        (["num_novel=maybe"], "num_novel"),
        (["strategy.base.epochs=0"], "epochs"),
        (["strategy.base.batch_size=100000"], "lower strategy.base.batch_size"),
        (["strategy.continual.batch_size=400"], "lower strategy.continual.batch_size"),
        (["+strategy.base.weights.nope=1"], "strategy.base.weights: nope is given"),
        (["~strategy.continual.weights.contrastive"], "contrastive is missing"),
        (["strategy.base.weights.contrastive=null"], "wanted a number"),
        (["+strategy.nope=1"], "nope"),
        (["strategy._target_=nowhere.Nothing"], "nowhere.Nothing"),
        (["strategy.base.optimizer._target_=torch.optim.Nope"], "torch.optim.Nope"),
        (["-m", "seed=0,-1"], "seed=-1"),
        (["-m", "strategy=happy,hapy"], "'happy'"),
        (["-m", "--cfg", "job"], "one of the two"),
        (["runs_root=/dev/null/x"], "runs_root="),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_a_refusal_is_one_sentence_and_leaves_nothing(
    overrides: list[str], part: str, here: Path, capsys: pytest.CaptureFixture
) -> None:
    assert main(["run", *overrides]) == 2
    out, err = capsys.readouterr()
    assert err.startswith("cgcd: ") and err.count("\n") == 1 and part in err, err
    assert not out and not list(here.iterdir())


def test_a_class_of_the_working_directory_is_found(
    here: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    monkeypatch.setattr(sys, "path", list(sys.path))
    (here / "own_method.py").write_text(
        "from strategies import Happy\n"
        "class OwnMethod(Happy):\n"
        "    def __init__(self, **arguments):\n"
        "        raise ValueError(f'own, {len(arguments) > 10}')\n"
    )
    assert main(["run", "strategy._target_=own_method.OwnMethod"]) == 2
    assert capsys.readouterr().err == "cgcd: strategy cannot be built: own, True\n"


def test_help_and_config_are_printed(here: Path, capsys: pytest.CaptureFixture) -> None:
    assert main(["run", "--help"]) == 0
    out = capsys.readouterr().out
    for part in ("strategy: analytic, gaussian, gcd, happy", "happy_cifar100", "num_base: 5"):
        assert part in out
    assert main(["run", "--cfg", "job", "seed=3"]) == 0
    assert "\nseed: 3\n" in capsys.readouterr().out
    assert not list(here.iterdir())


def test_a_config_of_the_users_own_is_found(here: Path, capsys: pytest.CaptureFixture) -> None:
    (here / "mine" / "experiment").mkdir(parents=True)
    (here / "mine" / "experiment" / "me.yaml").write_text("# @package _global_\nseed: 7\n")
    own = ["--config-dir", "mine", "--cfg", "job"]
    assert main(["run", *own, "experiment=me"]) == 0
    assert "\nseed: 7\n" in capsys.readouterr().out
    assert main(["run", *own, "experiment=you"]) == 2
    assert "experiment/you" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["strategy=phe"], "PHE is for the setting online and digits is continual"),
        (["scenario=digits_gcd"], "Happy is for the setting continual and digits_gcd is single"),
        (["scenario=digits_online"], "Happy is for the setting continual and digits_online is"),
        (["strategy=phe", "scenario=digits_online", "strategy.code_length=0"], "code of 0 bits"),
        (["strategy=smile", "scenario=digits_online", "strategy.code_length=65000"], "65000 bits"),
    ],
)
def test_wrong_streams_and_codes_leave_nothing(arguments, message, tmp_path, capsys):
    assert main(["run", *arguments, f"runs_root={tmp_path}"]) == 2
    assert message in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


def test_one_stage_is_printed_in_parts_and_again(here: Path, capsys: pytest.CaptureFixture) -> None:
    small = ["model.input_size=16", "strategy.base.epochs=1", "strategy.warm_up.steps=2"]
    arguments = ["run", "scenario=digits_gcd", "strategy=simgcd", *small]
    assert main(arguments) == 0
    first = capsys.readouterr().out
    assert main(arguments) == 0
    again = capsys.readouterr().out
    (folder,) = (here / "runs").iterdir()
    results = json.loads((folder / "results.json").read_text())
    assert results["setting"] == "single_stage" and results["composition"][0]["labeled"] == 315
    assert [
        line.split()[0] for line in first.splitlines() if line.startswith(("unl", "test "))
    ] == [
        "unlabeled",
        "test",
    ]
    for text in (first, again):
        assert "943 unlabeled training samples" in text and "539 test samples" in text
        assert "number of novel classes: given, 5; in truth 5" in text
    assert "finished before" in again and (folder / "stage_curves.png").is_file()
