"""Weights from a file as a user of the command line meets them."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
import timm
import torch

from cgcd.cli.configs import choices, compose_run
from cgcd.cli.main import main
from cgcd.cli.parts import Parts
from cgcd.cli.settings import check_settings


class Hostile:
    def __reduce__(self):
        return os.system, ("false",)


@pytest.fixture(autouse=True)
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("CGCD_CACHE", str(tmp_path / "cache"))


@pytest.mark.filterwarnings("ignore:Detected pickle protocol")
@pytest.mark.parametrize(
    ("content", "parts"),
    [
        ("truncated", ["cannot be read"]),
        (
            "other",
            ["does not fit this backbone", " missing: ", " not wanted: blocks.0", "wrong shape"],
        ),
        ("hostile", ["cannot be read", "holds a posix.system", "take a file of tensors"]),
    ],
)
def test_a_file_that_cannot_be_used_is_one_sentence_and_two(content, parts, tmp_path, capsys):
    file = tmp_path / "w.pth"
    if content == "hostile":
        torch.save({"conv1.weight": Hostile()}, file)
    else:
        torch.save(timm.create_model("mobilenetv2_035").state_dict(), file)
    if content == "truncated":
        file.write_bytes(file.read_bytes()[:5000])
    assert main(["run", f"model.weights={file}"]) == 2
    err = capsys.readouterr().err
    assert err.startswith(f"cgcd: model.weights={file}") and err.count("\n") == 1
    assert all(part in err for part in parts), err
    assert not Path("runs").exists()


def test_the_report_says_where_the_weights_came_from(tmp_path, caplog):
    state = timm.create_model("resnet10t", num_classes=7).state_dict()
    torch.save({"state_dict": {f"module.{k}": v.half() for k, v in state.items()}}, "w.pth")
    config, chosen = compose_run(["model.weights=w.pth"])
    check_settings(config, chosen)
    with caplog.at_level("INFO", "cgcd"):
        facts = json.loads(json.dumps(Parts.build(config, tmp_path).describe()))
    weights = facts["weights"]
    assert weights["name"] == "w.pth" and weights["size"] == Path("w.pth").stat().st_size
    assert facts["origin"] == f"w.pth sha256:{weights['sha256'][:16]}"
    assert weights["license"] == "not stated in the file" and weights["dropped"] == ["fc.* (2)"]
    assert facts["input"]["size"] == 24 and facts["input"]["interpolation"] == "bicubic"
    line = next(r.getMessage() for r in caplog.records if r.getMessage().startswith("weights: "))
    for part in ("sha256", "license", "left out fc.* (2)", "input 24 px", "mean 0.485"):
        assert part in line


def test_random_weights_have_no_file(tmp_path):
    config, _ = compose_run([])
    assert Parts.build(config, tmp_path).describe()["weights"] is None


CARDS = {  # what the authors resize, crop and normalize with
    "vit_base_dino": (224, 256, (0.485, 0.456, 0.406), "bicubic"),
    "vit_base_dinov2": (224, 256, (0.485, 0.456, 0.406), "bicubic"),
    "vit_base_clip": (224, 224, (0.48145466, 0.4578275, 0.40821073), "bicubic"),
    "resnet50_moco": (224, 256, (0.485, 0.456, 0.406), "bilinear"),
}


@pytest.mark.parametrize("name", CARDS)
def test_a_published_backbone_has_its_own_transform(name):
    config, _ = compose_run([f"model={name}"])
    size, resized, mean, interpolation = CARDS[name]
    model = config.model
    assert name in choices("model") and model.input_size == size
    assert int(size / model.crop_pct) == resized and model.interpolation == interpolation
    card = timm.get_pretrained_cfg(model.backbone)
    assert tuple(model.mean) == mean == card.mean and tuple(model.std) == card.std
    assert model.pretrained == (name != "resnet50_moco") and model.tail_units == 1


def test_moco_needs_its_file(capsys):
    assert main(["run", "model=resnet50_moco"]) == 2
    assert "model.weights must be given: model.weights=..." in capsys.readouterr().err
