"""Weights from files: every format, every way in which a file can be wrong."""

from __future__ import annotations

import hashlib
import os
import pickle
import zipfile

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from cgcd.models import create_backbone
from cgcd.models.weights import load_weights
from cgcd.vocabulary import InputError


def net() -> nn.Sequential:
    return nn.Sequential(nn.Linear(4, 6), nn.BatchNorm1d(6), nn.Linear(6, 3))


def write(path, state):
    if path.suffix == ".safetensors":
        save_file({k: v.contiguous() for k, v in state.items()}, path)
    elif path.suffix == ".npz":
        np.savez(path, **{k: v.numpy() for k, v in state.items()})
    else:
        torch.save(state, path)
    return path


@pytest.mark.parametrize("suffix", [".safetensors", ".npz", ".pth", ".pt"])
def test_every_format_gives_the_same_bits(tmp_path, suffix):
    source, target = net(), net()
    origin = load_weights(target, write(tmp_path / f"w{suffix}", source.state_dict())).origin
    for name, tensor in source.state_dict().items():
        assert torch.equal(target.state_dict()[name], tensor)
    assert origin.startswith(f"w{suffix} sha256:") and len(origin.split(":")[1]) == 16


@pytest.mark.parametrize("suffix", [".safetensors", ".npz", ".pth"])
def test_half_precision_is_widened(tmp_path, suffix):
    source, target = net(), net()
    half = {k: v.half() if v.is_floating_point() else v for k, v in source.state_dict().items()}
    load_weights(target, write(tmp_path / f"w{suffix}", half))
    assert target[0].weight.dtype == torch.float32
    assert torch.equal(target[0].weight, half["0.weight"].float())


def test_a_state_dict_inside_a_checkpoint_is_found(tmp_path):
    source, target = net(), net()
    torch.save({"state_dict": source.state_dict()}, tmp_path / "w.pth")
    load_weights(target, tmp_path / "w.pth")
    assert torch.equal(target[2].weight, source[2].weight)


def test_the_classifier_of_the_file_is_left_out(tmp_path):
    state = net().state_dict() | {"head.weight": torch.ones(5, 3), "head.bias": torch.ones(5)}
    path = write(tmp_path / "w.npz", state)
    load_weights(net(), path, classifier="head")
    load_weights(net(), path, classifier=("head", "head_dist"))
    with pytest.raises(InputError, match=r"not wanted: head\.bias, head\.weight"):
        load_weights(net(), path)


def test_what_does_not_fit_is_named(tmp_path):
    state = net().state_dict()
    del state["0.bias"]
    state["0.weight"] = torch.zeros(5, 4)
    state["stem.weight"] = torch.zeros(2)
    target = net()
    before = {k: v.clone() for k, v in target.state_dict().items()}
    with pytest.raises(InputError) as caught:
        load_weights(target, write(tmp_path / "w.safetensors", state))
    message = str(caught.value)
    assert "missing: 0.bias" in message and "not wanted: stem.weight" in message
    assert "0.weight (5, 4) instead of (6, 4)" in message and "\n" not in message
    assert all(torch.equal(v, before[k]) for k, v in target.state_dict().items())


@pytest.mark.parametrize("suffix", [".safetensors", ".npz", ".pth"])
@pytest.mark.parametrize("keep", [0, 3, 200, -40])
def test_a_truncated_file_is_an_input_error(tmp_path, suffix, keep):
    path = write(tmp_path / f"w{suffix}", net().state_dict())
    path.write_bytes(path.read_bytes()[:keep])
    with pytest.raises(InputError, match="cannot be read"):
        load_weights(net(), path)


def test_a_missing_file_and_a_strange_ending(tmp_path):
    with pytest.raises(InputError, match=r"does not exist; wanted a .safetensors"):
        load_weights(net(), tmp_path / "none.pth")
    (tmp_path / "w.onnx").write_bytes(b"x")
    with pytest.raises(InputError, match=r"ends in '\.onnx'; wanted"):
        load_weights(net(), tmp_path / "w.onnx")
    (tmp_path / "w.pth").mkdir()
    with pytest.raises(InputError, match=r"w.pth is a folder; wanted"):
        load_weights(net(), tmp_path / "w.pth")


class _Hostile:
    def __init__(self, flag):
        self.flag = str(flag)

    def __reduce__(self):
        return os.mkdir, (self.flag,)


@pytest.mark.filterwarnings("ignore:Detected pickle protocol")
@pytest.mark.parametrize("writer", ["torch", "pickle", "npz"])
def test_a_hostile_pickle_is_refused_and_never_runs(tmp_path, writer):
    flag, path = tmp_path / "ran", tmp_path / ("w.npz" if writer == "npz" else "w.pth")
    if writer == "torch":
        torch.save({"0.weight": _Hostile(flag)}, path)
    elif writer == "pickle":
        path.write_bytes(pickle.dumps(_Hostile(flag)))
    else:
        np.savez(path, **{"0.weight": np.array([_Hostile(flag)], dtype=object)})
    with pytest.raises(InputError, match="cannot be read"):
        load_weights(net(), path)
    assert not flag.exists()


@pytest.mark.parametrize("content", [torch.zeros(3), [1, 2], {"0.weight": "text", "epoch": 3}])
def test_a_file_without_a_state_dict_is_an_input_error(tmp_path, content):
    torch.save(content, tmp_path / "w.pth")
    with pytest.raises(InputError, match=r"model.weights="):
        load_weights(net(), tmp_path / "w.pth")


def test_the_facts_are_those_of_the_file(tmp_path):
    state = net().state_dict() | {"fc.weight": torch.ones(2)}
    save_file(state, tmp_path / "w.safetensors", {"license": "CC0-1.0"})
    facts = load_weights(net(), tmp_path / "w.safetensors", classifier="fc")
    content = (tmp_path / "w.safetensors").read_bytes()
    assert facts.size == len(content) and facts.sha256 == hashlib.sha256(content).hexdigest()
    assert facts.license == "CC0-1.0" and facts.dropped == ("fc.weight",) and facts.adapted == ()
    assert facts.sentence() == (
        f"w.safetensors; 0.0 MiB; sha256 {facts.sha256[:16]}; license CC0-1.0; left out fc.weight"
    )
    assert load_weights(net(), write(tmp_path / "w.npz", net().state_dict())).license == (
        "not stated in the file"
    )


def test_batch_counters_may_be_missing(tmp_path):
    state = {k: v for k, v in net().state_dict().items() if not k.endswith("num_batches_tracked")}
    load_weights(net(), write(tmp_path / "w.pth", state))


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_values_that_are_no_numbers_are_refused(tmp_path, value):
    state = net().state_dict()
    state["0.bias"][2] = value
    with pytest.raises(InputError, match=r"NaN or infinite values \(0\.bias\)"):
        load_weights(net(), write(tmp_path / "w.pth", state))


def test_integer_codes_are_not_taken_for_weights(tmp_path):
    state = net().state_dict()
    state["0.weight"] = (state["0.weight"] * 127).to(torch.int8)
    with pytest.raises(InputError, match=r"1 wrong type: 0\.weight int8 instead of float32"):
        load_weights(net(), write(tmp_path / "w.safetensors", state))


def test_a_program_is_refused(tmp_path):
    with zipfile.ZipFile(tmp_path / "ViT-B-16.pt", "w") as archive:
        archive.writestr("ViT-B-16/constants.pkl", b"")
    with pytest.raises(InputError, match=r"is a TorchScript program .* state_dict\(\)"):
        load_weights(net(), tmp_path / "ViT-B-16.pt")


@pytest.mark.parametrize("name", ["w.npz", "w.pth"])
def test_a_bomb_is_refused_before_it_is_unpacked(tmp_path, monkeypatch, name):
    monkeypatch.setattr("cgcd.models.weights._SMALL", 2**10)
    with zipfile.ZipFile(tmp_path / name, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("w/data.pkl", bytes(2**20))
    with pytest.raises(InputError, match=r"unpacks to 0\.0 GiB, far more than its size"):
        load_weights(net(), tmp_path / name)


@pytest.mark.filterwarnings("ignore:Detected pickle protocol")
@pytest.mark.parametrize("legacy", [False, True])
def test_damaged_bytes_are_an_input_error_or_harmless(tmp_path, legacy):
    path, generator = tmp_path / "w.pth", np.random.default_rng(0)
    torch.save(net().state_dict(), path, _use_new_zipfile_serialization=not legacy)
    whole = np.frombuffer(path.read_bytes(), np.uint8)
    for _ in range(150):
        damaged = whole.copy()
        damaged[generator.integers(0, len(whole), 3)] = generator.integers(0, 256, 3)
        path.write_bytes(damaged.tobytes())
        try:
            load_weights(net(), path)
        except InputError as error:
            assert "\n" not in str(error) and "weights_only" not in str(error)


def test_a_file_takes_the_place_of_a_download(tmp_path, monkeypatch):
    made = []

    def create(name, pretrained=False, **kwargs):
        made.append(pretrained)
        return original(name, pretrained=False, **kwargs)

    import timm

    original = timm.create_model
    path = write(tmp_path / "w.pth", timm.create_model("resnet10t").state_dict())
    monkeypatch.setattr("timm.create_model", create)
    backbone = create_backbone("resnet10t.c3_in1k", pretrained=True, weights=path, input_size=32)
    assert made == [False] and backbone.pretrained and backbone.weights.name == "w.pth"
    with pytest.raises(InputError, match="beside a backbone that is a module"):
        create_backbone(nn.Linear(4, 3), weights=path, example=torch.rand(2, 4))


def test_a_backbone_takes_a_file_and_says_so(tmp_path):
    import timm

    source = timm.create_model("resnet10t", num_classes=7)
    path = write(tmp_path / "resnet.safetensors", source.state_dict())
    backbone = create_backbone("resnet10t", weights=path, input_size=32)
    assert backbone.origin.startswith("resnet.safetensors sha256:")
    images = torch.rand(2, 3, 32, 32)
    source.eval().reset_classifier(0)
    with torch.no_grad():
        torch.testing.assert_close(backbone(images), source(images))
