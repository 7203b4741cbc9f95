"""`cgcd scenario show`: what it prints and writes, and what it refuses."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from cgcd.cli.main import main


@pytest.fixture(autouse=True)
def _inside(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def show(capsys: pytest.CaptureFixture, *arguments: str) -> str:
    assert main(["scenario", "show", *arguments]) == 0
    out, err = capsys.readouterr()
    assert not err
    return out


@pytest.mark.parametrize(
    ("arguments", "wanted"),
    [
        ([], ["digits, protocol digits, seed 0: 5 continual stages", "503          0     270"]),
        (["scenario=digits_gcd"], ["single stage", "315        943     539"]),
        (["scenario=digits_online"], ["on-line stream", "0        944       -"]),
        (
            ["protocol@scenario.protocol=digits_mixed", "seed=2"],
            ["protocol digits_mixed, seed 2", "L+"],
        ),
        (["scenario.protocol.num_stages=2"], ["2 continual stages, 7 classes"]),
    ],
)
def test_it_prints_and_draws(arguments, wanted, capsys, tmp_path) -> None:
    text = show(capsys, *arguments)
    assert all(part in text for part in wanted), text
    assert "without their label: 0" in text and "stream hash: " in text
    assert (tmp_path / "composition.png").read_bytes().startswith(b"\x89PNG")
    assert [path.name for path in tmp_path.iterdir()] == ["composition.png"]  # trains nothing


def test_the_hash_is_that_of_a_run(capsys) -> None:
    import scenarios
    from cgcd.models import GCDModel

    inputs = GCDModel("resnet10t", input_size=24, crop_pct=0.875, interpolation="bicubic").inputs
    scenario = scenarios.digits_scenario(inputs=inputs, seed=4)
    text = show(capsys, "seed=4")
    assert scenario.stream_hash in text and scenario.data_hash in text
    assert scenario.stream_hash not in show(capsys, "seed=5")


def test_a_hundred_classes_and_another_picture(capsys, tmp_path) -> None:
    labels = np.concatenate([np.repeat(np.arange(100), n) for n in (10, 2)])
    images = np.zeros((len(labels), 32, 32, 3), dtype=np.uint8)
    np.savez(tmp_path / "small.npz", x=images, y=labels, split=np.repeat([0, 1], [1000, 200]))
    protocol = "protocol@scenario.protocol=si_blurry_cifar100"
    text = show(capsys, "scenario=cifar100", "data_root=small.npz", protocol, "out=a.svg")
    assert "50: 8 / 8 / 8 (400 L)" in text and "1000 different ones" in text
    assert (tmp_path / "a.svg").exists() and not (tmp_path / "composition.png").exists()


def test_no_weights_are_fetched_or_read(capsys) -> None:
    text = show(capsys, "model.pretrained=true", "model.weights=missing.safetensors")
    assert "picture:" in text


@pytest.mark.parametrize(
    ("arguments", "parts"),
    [
        ([], ["'nothing'", "cgcd scenario show"]),
        (["draw"], ["'draw'", "cgcd scenario show"]),
        (["show", "scenario=nope"], ["scenario=nope", "digits"]),
        (["show", "scenario.protocol.num_bas=3"], ["num_base"]),
        (["show", "scenario.protocol.num_base=99"], ["num_base", "wanted"]),
        (["show", "-m"], ["-m", "--help"]),
        (["show", "out="], ["out=composition.png"]),
        (["show", "out=picture.doc"], ["out=picture.doc", "png"]),
        (["show", "out=missing/a.png"], ["out=missing/a.png", "folder"]),
        (["show", "scenario=cifar100"], ["data_root"]),
    ],
)
def test_what_cannot_be_used_is_one_sentence(arguments, parts, capsys, tmp_path) -> None:
    assert main(["scenario", *arguments]) == 2
    err = capsys.readouterr().err
    assert err.startswith("cgcd: ") and err.count("\n") == 1
    assert all(part in err for part in parts), err
    assert not list(tmp_path.iterdir())


def test_help(capsys) -> None:
    assert main(["scenario", "--help"]) == main(["scenario", "show", "-h"]) == 0
    assert "cgcd scenario show" in capsys.readouterr().out
