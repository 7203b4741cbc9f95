"""`precision=` and `compile=` from the command line's side: folder, refusals, results, verify."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from cgcd.cli.configs import compose_run
from cgcd.cli.folders import run_folder
from cgcd.cli.main import main
from cgcd.cli.settings import check_settings
from cgcd.engine.feature_file import FeatureFile

QUICK = [
    "scenario=features_online",
    "strategy=phe",
    "data_root=all.npz",
    "model=adapter",
    "tracking=none",
    "analysis=false",
    "strategy.base.epochs=1",
    "strategy.base.batch_size=32",
    "strategy.separation=4",
    "strategy.hash_hidden=16",
    "scenario.protocol.num_known=3",
    "scenario.protocol.num_novel=3",
]
SMALL_NET = ["model=resnet10t", "model.input_size=24", "model.projection_hidden=16"]


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working directory with embeddings of six classes, and a cache of its own."""
    monkeypatch.setenv("CGCD_CACHE", str(tmp_path / "cache"))
    monkeypatch.chdir(tmp_path)
    generator = np.random.default_rng(0)
    labels = np.repeat(np.arange(6), 40)
    vectors = generator.standard_normal((6, 12))[labels] + 0.2 * generator.standard_normal(
        (240, 12)
    )
    np.savez("all.npz", f=vectors.astype(np.float32), y=labels)
    return tmp_path


def test_a_run_of_before_is_found_again() -> None:
    config, chosen = compose_run([])
    content = check_settings(config, chosen)
    older = {key: value for key, value in content.items() if key not in ("precision", "compile")}
    assert run_folder(older, chosen) == run_folder(content, chosen)


@pytest.mark.parametrize("command", ["run", "features"])
def test_fp16_on_a_cpu_writes_nothing(
    here: Path, capsys: pytest.CaptureFixture[str], command: str
) -> None:
    own = {
        "run": QUICK,
        "features": ["data=digits", "out=a.npz", *SMALL_NET],
    }
    assert main([command, *own[command], "device=cpu", "precision=fp16"]) == 2
    assert "precision=fp16 cannot be used on device=cpu" in capsys.readouterr().err
    assert {path.name for path in here.iterdir()} == {"all.npz"}


def test_no_compiler_ends_the_command(
    here: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def missing(function):
        def run(*inputs):
            raise RuntimeError("backend='inductor' raised:\nNo working C++ compiler found")

        return run

    monkeypatch.setattr("torch.compile", missing)
    assert main(["run", *QUICK, "compile=true"]) == 2
    lines = capsys.readouterr().err.strip().splitlines()
    assert len(lines) == 1 and "(No working C++ compiler found); wanted a C++ compiler" in lines[0]
    assert not (here / "runs").exists()


def test_a_run_in_bf16_says_so_answers_and_is_verified(
    here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from cgcd.live import open_run

    assert main(["run", *QUICK, "precision=bf16"]) == 0
    (folder,) = Path("runs").iterdir()
    results = json.loads((folder / "results.json").read_text(encoding="utf-8"))
    assert results["model"]["precision"] == "bf16" and results["model"]["compiled"] is False
    assert main(["verify", str(folder)]) == 0
    assert "as stored" in capsys.readouterr().out
    with open_run(folder, read_only=True) as live:
        assert live.strategy.model.backbone.precision == "bf16"


def test_embeddings_in_bf16_are_computed_for_themselves(here: Path) -> None:
    generator = np.random.default_rng(0)
    Path("photos").mkdir()
    for number in range(3):
        pixels = generator.integers(0, 256, (26, 30, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(f"photos/{number}.png")
    small = ["data_root=photos", *SMALL_NET]
    for precision in ("fp32", "bf16"):
        words = [*small, f"out={precision}.npz", f"precision={precision}", "torch_threads=1"]
        assert main(["features", *words]) == 0
    whole, half = (FeatureFile.read(Path(f"{name}.npz")) for name in ("fp32", "bf16"))
    assert whole is not None and half is not None
    assert half.settings == {**whole.settings, "precision": "bf16"}
    assert not np.array_equal(half.f, whole.f)
    np.testing.assert_allclose(half.f, whole.f, rtol=0.1, atol=0.1)
