"""Weights that timm publishes: found in its cache, or one sentence that says how to get them."""

from __future__ import annotations

import hashlib

import pytest
import timm
import torch
from safetensors.torch import save_file

from cgcd.models import create_backbone
from cgcd.models.published import published_facts, published_file
from cgcd.vocabulary import InputError

NAME = "resnet10t.c3_in1k"


@pytest.fixture
def hub(tmp_path, monkeypatch):
    """An empty cache of the hub and of torch."""
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))
    monkeypatch.setattr("torch.hub._hub_dir", None)
    return tmp_path / "hub"


def stored(hub, net):
    """The folders in which the hub keeps one file of one commit."""
    repository = hub / f"models--timm--{NAME}"
    snapshot = repository / "snapshots" / ("0" * 40)
    snapshot.mkdir(parents=True)
    (repository / "refs").mkdir()
    (repository / "refs" / "main").write_text("0" * 40)
    save_file(net.state_dict(), snapshot / "model.safetensors")
    return snapshot / "model.safetensors"


def test_the_cache_is_enough(hub, monkeypatch):
    net = timm.create_model("resnet10t").eval()
    file = stored(hub, net)
    monkeypatch.setattr("socket.getaddrinfo", lambda *_, **__: pytest.fail("asked the network"))
    assert published_file(NAME) == published_file("resnet10t") == file
    backbone = create_backbone("resnet10t", pretrained=True, input_size=32)
    net.reset_classifier(0)
    images = torch.rand(2, 3, 32, 32)
    with torch.no_grad():
        torch.testing.assert_close(backbone(images), net(images))
    assert backbone.origin == "timm:resnet10t" and backbone.pretrained
    facts = backbone.weights
    assert (facts.name, facts.size, facts.license) == (
        f"timm:{NAME}",
        file.stat().st_size,
        "apache-2.0",
    )
    assert facts.sha256 == hashlib.sha256(file.read_bytes()).hexdigest()


def test_a_file_that_torch_fetched_is_found(hub, tmp_path):
    assert published_file(NAME) is None and published_facts(NAME).size is None
    file = tmp_path / "torch/hub/checkpoints" / timm.get_pretrained_cfg(NAME).url.split("/")[-1]
    file.parent.mkdir(parents=True)
    file.write_bytes(b"12345")
    assert published_file(NAME) == file and published_facts(NAME).size == 5


def test_without_network_one_sentence_says_what_to_do(hub, monkeypatch):
    original = timm.create_model

    def offline(name, pretrained=False, **kwargs):
        if pretrained:
            raise ConnectionError("no\nroute")
        return original(name, pretrained=False, **kwargs)

    monkeypatch.setattr("timm.create_model", offline)
    with pytest.raises(InputError) as caught:
        create_backbone(NAME, pretrained=True)
    message = str(caught.value)
    for part in (NAME, str(hub), "ConnectionError", "model.weights=FILE", "model.pretrained=false"):
        assert part in message
    assert "\n" not in message
    with pytest.raises(InputError, match=r"model.backbone_kwargs do not fit resnet10t.*no_such"):
        create_backbone(NAME, pretrained=True, backbone_kwargs={"no_such": 1})


def test_a_damaged_file_in_the_cache_is_named(hub):
    file = stored(hub, timm.create_model("resnet10t"))
    file.write_bytes(file.read_bytes()[:1000])
    with pytest.raises(InputError, match=r"in the cache .* cannot be loaded .*; delete that file"):
        create_backbone(NAME, pretrained=True)


def test_weights_that_timm_does_not_publish_are_named():
    with pytest.raises(
        InputError, match=r"publishes no such weights; .* it has resnet10t\.c3_in1k"
    ):
        create_backbone("resnet10t.nope")
    with pytest.raises(InputError, match="of resnet200 it has none"):
        create_backbone("resnet200", pretrained=True)


def test_an_architecture_of_fixed_size_is_built_for_the_input_size():
    small = {"embed_dim": 24, "depth": 1, "num_heads": 2, "patch_size": 8}
    backbone = create_backbone("vit_tiny_patch16_224", backbone_kwargs=small, input_size=40)
    assert backbone.spec.size == 40 and backbone.trunk.net.pos_embed.shape == (1, 26, 24)
    kwargs = {**small, "dynamic_img_size": True}
    backbone = create_backbone("vit_tiny_patch16_224", backbone_kwargs=kwargs, input_size=40)
    assert backbone.trunk.net.pos_embed.shape == (1, 28 * 28 + 1, 24)
