"""`cgcd verify`: what is as stored, what was tampered with, and what cannot be compared."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.torch import load_file

from cgcd.cli.main import main
from cgcd.engine.checkpoint_files import write_checkpoint

SMALL = [
    "data_root=all.npz",
    "model=adapter",
    "tracking=none",
    "analysis=false",
    "strategy.base.epochs=1",
    "strategy.base.batch_size=32",
    "model.projection_hidden=16",
    "model.projection_dim=8",
]
PARTED = ["scenario.protocol.num_known=3", "scenario.protocol.num_novel=3"]
RUNS = {
    "continual": [
        "scenario=features",
        "strategy.continual.epochs=1",
        "strategy.continual.batch_size=32",
        "scenario.protocol.num_stages=2",
    ],
    "single_stage": ["scenario=features_gcd", "strategy=simgcd", *PARTED],
    "online": [
        "scenario=features_online",
        "strategy=phe",
        "strategy.separation=4",
        "strategy.hash_hidden=16",
        *PARTED,
    ],
}
Capture = pytest.CaptureFixture[str]


@pytest.fixture(scope="module")
def stored(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Path]]:
    """A finished run of each setting."""
    folder = tmp_path_factory.mktemp("runs")
    generator = np.random.default_rng(0)
    labels = np.repeat(np.arange(6), 40)
    vectors = generator.standard_normal((6, 12))[labels] + 0.2 * generator.standard_normal(
        (240, 12)
    )
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("CGCD_CACHE", str(tmp_path_factory.mktemp("cache")))
        patch.chdir(folder)
        np.savez("all.npz", f=vectors.astype(np.float32), y=labels)
        for setting, arguments in RUNS.items():
            assert main(["run", *SMALL, *arguments, f"runs_root={setting}"]) == 0
        yield {setting: next(Path(setting).iterdir()) for setting in RUNS}


@pytest.fixture
def run(stored: dict[str, Path], tmp_path: Path) -> Path:
    """A copy of the continual run."""
    return Path(shutil.copytree(stored["continual"], tmp_path / "run"))


def tampered(checkpoint: Path, **changes: Any) -> None:
    """A checkpoint with other content and sound checksums."""
    tensors = load_file(checkpoint / "tensors.safetensors")
    state = json.loads((checkpoint / "state.json").read_text())
    tensors["head.directions"][0, 0] += 1e-3
    heads = ("schema_version", "sha256", "state_sha256")
    write_checkpoint(checkpoint, tensors, {k: v for k, v in state.items() if k not in heads})


@pytest.mark.parametrize(
    ("setting", "stage", "words"),
    [
        ("continual", None, "stage 2: as stored; 15 of 15 tensors equal, 48 of 48 predictions"),
        ("continual", 0, "stage 0: as stored; 15 of 15 tensors equal"),
        ("continual", 1, "stage 1: as stored; "),
        ("single_stage", None, "stage 0: as stored; "),
        ("online", None, "stage 1: as stored; weights not trained here, 180 of 180 predictions"),
        ("online", 0, "stage 0: as stored; "),
    ],
)
def test_an_honest_run_is_as_stored(
    stored: dict[str, Path], setting: str, stage: int | None, words: str, capsys: Capture
) -> None:
    before = {p: p.stat().st_mtime_ns for p in stored[setting].rglob("*")}
    chosen = [] if stage is None else [f"stage={stage}"]
    assert main(["verify", str(stored[setting]), *chosen]) == 0
    out, err = capsys.readouterr()
    assert words in out and out.count("\n") == 1 and "same machine and versions" in out, out
    assert "largest difference of a number 0," in out and "Traceback" not in err
    assert {p: p.stat().st_mtime_ns for p in stored[setting].rglob("*")} == before


def test_other_weights_differ(run: Path, capsys: Capture) -> None:
    tampered(run / "checkpoints" / "stage_002")
    assert main(["verify", str(run)]) == 1
    assert "DIFFERS; 14 of 15 tensors equal (not head.directions)" in capsys.readouterr().out
    assert main(["verify", str(run), "stage=1"]) == 0


def test_a_start_that_was_changed_leads_elsewhere(run: Path, capsys: Capture) -> None:
    tampered(run / "checkpoints" / "stage_001")
    assert main(["verify", str(run)]) == 1
    assert "DIFFERS" in capsys.readouterr().out


def test_other_predictions_and_numbers_differ(run: Path, capsys: Capture) -> None:
    path = run / "predictions" / "stage_2.csv"
    path.write_text(path.read_text().replace(",0.", ",1.", 1))
    results = json.loads((run / "results.json").read_text())
    results["stages"][2]["accuracy/all"] += 0.25
    (run / "results.json").write_text(json.dumps(results))
    assert main(["verify", str(run)]) == 1
    out = capsys.readouterr().out
    assert "47 of 48 predictions equal" in out and "largest difference of a number 0.25" in out


def test_elsewhere_accuracies_count(run: Path, capsys: Capture) -> None:
    results = json.loads((run / "results.json").read_text())
    results["versions"]["torch"] = "1.0"
    (run / "results.json").write_text(json.dumps(results))
    tampered(run / "checkpoints" / "stage_002")
    assert main(["verify", str(run)]) == 0
    assert "another torch (1.0, here " in capsys.readouterr().out
    results["stages"][2]["accuracy/all"] -= 0.002
    (run / "results.json").write_text(json.dumps(results))
    assert main(["verify", str(run)]) == 1


def test_what_cannot_be_compared_is_said(run: Path, capsys: Capture) -> None:
    def refused(*arguments: str) -> str:
        assert main(["verify", *arguments]) == 2
        out, err = capsys.readouterr()
        assert not out and err.startswith("cgcd: ") and err.count("\n") == 1
        return err

    assert "got 0 folders; wanted one" in refused()
    assert "got 2 folders" in refused("a", "b")
    assert "nowhere holds no results of a run" in refused("nowhere")
    assert "has no stage 7; wanted one of 0 to 2" in refused(str(run), "stage=7")
    assert "stage=x cannot be used" in refused(str(run), "stage=x")
    assert "does not know --loud" in refused(str(run), "--loud")
    tensors = run / "checkpoints" / "stage_001" / "tensors.safetensors"
    tensors.write_bytes(tensors.read_bytes()[:-1])
    assert "stage_001 is damaged or missing (checksum differs)" in refused(str(run))
    shutil.rmtree(run / "checkpoints" / "stage_000")
    assert "stage_000 is damaged or missing" in refused(str(run), "stage=0")


def test_other_data_at_the_same_place_are_noticed(run: Path, capsys: Capture) -> None:
    text = (run / "config.yaml").read_text()
    with np.load("all.npz") as file:
        np.savez("other.npz", f=file["f"] + np.float32(0.5), y=file["y"])
    (run / "config.yaml").write_text(text.replace("all.npz", "other.npz"))
    assert main(["verify", str(run)]) == 2
    assert "another data" in capsys.readouterr().err


def test_help(capsys: Capture) -> None:
    assert main(["verify", "--help"]) == 0
    assert "--trust-code" in capsys.readouterr().out
