"""Files in the layouts that are published, written from small networks, give their features."""

from __future__ import annotations

import argparse
from collections.abc import Callable

import pytest
import timm
import torch
from torch import Tensor, nn

from cgcd.models import create_backbone
from cgcd.models.remap import remapped, summed_up, unwrapped
from cgcd.models.weights import load_weights
from cgcd.vocabulary import InputError

VIT = {"img_size": 32, "embed_dim": 24, "depth": 3, "num_heads": 2, "patch_size": 8}
RES = {"layers": (1, 1, 1, 1), "channels": (8, 8, 16, 16)}
State = dict[str, Tensor]


def source(name: str, **kwargs) -> nn.Module:
    """A small network with its head off and unlike a new one in every tensor."""
    net = timm.create_model(name, num_classes=0, **kwargs).eval()
    generator = torch.Generator().manual_seed(3)
    with torch.no_grad():
        for key, tensor in net.state_dict().items():
            if tensor.is_floating_point():
                noise = 0.05 * torch.randn(tensor.shape, generator=generator)
                tensor.add_(noise.abs() if "running_var" in key else noise)
    return net


def under(prefix: str, state: State) -> State:
    return {f"{prefix}{key}": value.clone() for key, value in state.items()}


def heads(prefix: str, *names: str) -> State:
    return {f"{prefix}{name}": torch.ones(3, 3) for name in names}


def other(state: State) -> State:
    """The copy of another encoder in the same file: must not be taken."""
    return {k: v + 1 if v.is_floating_point() else v for k, v in state.items()}


def dino(state: State, ddp: str) -> dict:
    head = heads("head.", "mlp.0.weight", "mlp.0.bias", "last_layer.weight_g")
    return {
        "student": under("module.", under("backbone.", other(state)) | head),
        "teacher": under(ddp, under("backbone.", state) | head),
        "optimizer": {"state": {0: {"exp_avg": torch.zeros(2)}}, "param_groups": [{"lr": 0.1}]},
        "epoch": 100,
        "args": argparse.Namespace(arch="vit_base", lr=0.1, global_crops_scale=(0.4, 1.0)),
        "dino_loss": {"center": torch.zeros(1, 3)},
    }


def moco(state: State, fc: tuple[str, ...]) -> dict:
    """MoCo v1 has one linear layer for its head, v2 two."""
    encoders = under("encoder_q.", state) | under("encoder_k.", other(state))
    more = heads("encoder_q.", *fc) | {
        "queue": torch.ones(3, 9),
        "queue_ptr": torch.zeros(1).long(),
    }
    return {"epoch": 200, "arch": "resnet50", "state_dict": under("module.", encoders | more)}


def moco_v3(state: State, head: str) -> dict:
    encoders = under("base_encoder.", state) | under("momentum_encoder.", other(state))
    more = heads("base_encoder.", f"{head}.0.weight", f"{head}.1.running_mean")
    predictor = heads("predictor.", "0.weight", "1.weight")
    return {"state_dict": under("module.", encoders | more | predictor)}


def chunked(state: State) -> dict:
    """DINOv2's training checkpoint: two chunks, blocks keep their numbers inside."""
    names = {"blocks.0.": "blocks.0.0.", "blocks.1.": "blocks.0.1.", "blocks.2.": "blocks.1.2."}
    renamed = {}
    for key, value in state.items():
        old = next((n for n in names if key.startswith(n)), "")
        renamed[names.get(old, "") + key.removeprefix(old)] = value
    renamed |= {"mask_token": torch.zeros(1, 24)}
    more = heads("dino_head.", "mlp.0.weight") | heads("ibot_head.", "last_layer.weight_v")
    return {"teacher": under("backbone.", renamed) | more}


def registers(state: State) -> State:
    """Registers apart; the class token and its position, one sum in timm, are two tensors."""
    rest = {k: v for k, v in state.items() if k not in ("reg_token", "cls_token", "pos_embed")}
    place = torch.full((1, 1, state["cls_token"].shape[-1]), 0.25)
    return rest | {
        "register_tokens": state["reg_token"],
        "cls_token": state["cls_token"] - place,
        "pos_embed": torch.cat([place, state["pos_embed"]], 1),
        "mask_token": torch.zeros(1, 24),
    }


def openai_clip(state: State) -> State:
    """The published names of the image tower, and some of the text tower beside it."""
    image: State = {
        "class_embedding": state["cls_token"][0, 0],
        "positional_embedding": state["pos_embed"][0],
        "conv1.weight": state["patch_embed.proj.weight"],
        "proj": torch.ones(24, 5),
    }
    layers = {
        "norm1": "ln_1",
        "norm2": "ln_2",
        "attn.proj": "attn.out_proj",
        "mlp.fc1": "mlp.c_fc",
        "mlp.fc2": "mlp.c_proj",
    }
    for kind in ("weight", "bias"):
        image[f"ln_pre.{kind}"] = state[f"norm_pre.{kind}"]
        image[f"ln_post.{kind}"] = state[f"norm.{kind}"]
        for block in range(3):
            ours, theirs = f"blocks.{block}.", f"transformer.resblocks.{block}."
            image[f"{theirs}attn.in_proj_{kind}"] = state[f"{ours}attn.qkv.{kind}"]
            for name, published in layers.items():
                image[f"{theirs}{published}.{kind}"] = state[f"{ours}{name}.{kind}"]
    text = heads("transformer.resblocks.0.", "ln_1.weight", "attn.in_proj_weight")
    text |= {"positional_embedding": torch.ones(7, 4), "logit_scale": torch.tensor(1.0)}
    return under("visual.", image) | text


def mae(state: State) -> dict:
    more = heads("decoder_", "embed.weight", "blocks.0.norm1.weight", "pos_embed")
    return {"model": state | more | {"mask_token": torch.zeros(1, 1, 4)}}


DINOV2 = {**VIT, "img_size": 28, "patch_size": 14}
LAYOUTS: dict[str, tuple[str, dict, Callable[[State], object], set[str]]] = {
    "plain": ("vit_base_patch16_224.dino", VIT, dict, set()),
    "dino": ("vit_base_patch16_224.dino", VIT, lambda s: dino(s, ""), {"head.* (3)", "student"}),
    "dino ddp": (
        "vit_base_patch16_224.dino",
        VIT,
        lambda s: dino(s, "module."),
        {"head.* (3)", "args", "optimizer"},
    ),
    "dino resnet": ("resnet18", RES, lambda s: dino(s, "module."), {"head.* (3)"}),
    "dinov2": (
        "vit_base_patch14_dinov2",
        DINOV2,
        lambda s: s | {"mask_token": torch.zeros(1, 24)},
        {"mask_token"},
    ),
    "dinov2 chunked": (
        "vit_base_patch14_dinov2",
        DINOV2,
        chunked,
        {"dino_head.mlp.0.weight", "ibot_head.last_layer.weight_v", "mask_token"},
    ),
    "dinov2 registers": ("vit_base_patch14_reg4_dinov2", DINOV2, registers, {"mask_token"}),
    "moco v1": (
        "resnet18",
        RES,
        lambda s: moco(s, ("fc.weight", "fc.bias")),
        {"fc.* (2)", "queue", "queue_ptr", "arch"},
    ),
    "moco v2": ("resnet18", RES, lambda s: moco(s, ("fc.0.weight", "fc.2.bias")), {"fc.* (2)"}),
    "moco v3": ("resnet18", RES, lambda s: moco_v3(s, "fc"), {"fc.* (2)", "predictor.* (2)"}),
    "moco v3 vit": ("vit_base_patch16_224", VIT, lambda s: moco_v3(s, "head"), {"head.* (2)"}),
    "swav": (
        "resnet18",
        RES,
        lambda s: under("module.", s | heads("", "projection_head.0.weight", "prototypes.weight")),
        {"projection_head.0.weight", "prototypes.weight"},
    ),
    "mae": ("vit_base_patch16_224.mae", VIT, mae, {"decoder_blocks.0.norm1.weight", "mask_token"}),
    "clip": (
        "vit_base_patch16_clip_quickgelu_224.openai",
        VIT,
        openai_clip,
        {"head.* (2)", "transformer.* (2)", "logit_scale"},
    ),
    "open_clip": (
        "vit_base_patch16_clip_224",
        VIT,
        lambda s: under("visual.trunk.", s) | heads("text.", "a.weight", "b.weight"),
        {"text.* (2)"},
    ),
    "lightning": ("resnet18", RES, lambda s: {"state_dict": under("model.", s), "epoch": 3}, set()),
    "compiled": ("resnet18", RES, lambda s: under("module._orig_mod.", s), set()),
}


@pytest.mark.parametrize("layout", LAYOUTS)
def test_a_published_layout_gives_the_same_features(layout, tmp_path):
    name, kwargs, write, dropped = LAYOUTS[layout]
    net = source(name, **kwargs)
    torch.save(write(net.state_dict()), tmp_path / "w.pth.tar")
    size = kwargs.get("img_size", 32)
    backbone = create_backbone(
        name, weights=tmp_path / "w.pth.tar", backbone_kwargs=kwargs, input_size=size
    )
    images = torch.rand(2, 3, size, size)
    with torch.no_grad():
        torch.testing.assert_close(backbone(images), net(images), rtol=1e-5, atol=1e-5)
    assert dropped <= set(backbone.weights.dropped), backbone.weights.dropped
    assert bool(backbone.weights.adapted) == (layout == "dinov2 registers")


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_every_precision_becomes_single(dtype, tmp_path):
    state = {k: v.to(dtype) for k, v in source("vit_base_patch16_224", **VIT).state_dict().items()}
    torch.save(moco_v3(state, "head"), tmp_path / "w.pth")
    net = timm.create_model("vit_base_patch16_224", num_classes=0, **VIT)
    load_weights(net, tmp_path / "w.pth", classifier="head")
    for name, tensor in net.state_dict().items():
        assert tensor.dtype == torch.float32 and torch.equal(tensor, state[name].float())


@pytest.mark.parametrize("layout", ["dinov2", "dinov2 registers", "clip"])
def test_position_embeddings_follow_the_input_size(layout, tmp_path):
    name, kwargs, write, _ = LAYOUTS[layout]
    side = kwargs["patch_size"]
    net = source(name, **{**kwargs, "img_size": 5 * side})
    torch.save(write(net.state_dict()), tmp_path / "w.pth")
    small = {k: v for k, v in kwargs.items() if k != "img_size"}
    backbone = create_backbone(
        name, weights=tmp_path / "w.pth", backbone_kwargs=small, input_size=3 * side
    )
    assert backbone.spec.size == 3 * side
    extra = 0 if layout == "dinov2 registers" else 1
    expected = timm.layers.resample_abs_pos_embed(
        net.pos_embed, [3, 3], num_prefix_tokens=extra, interpolation="bicubic", antialias=True
    )
    torch.testing.assert_close(backbone.trunk.net.pos_embed, expected)
    adapted = f"pos_embed {(1, 26, 24) if layout != 'clip' else (26, 24)} -> {(1, 9 + extra, 24)}"
    assert backbone.weights.adapted == (adapted,)


@pytest.mark.parametrize(
    ("name", "kwargs", "parts"),
    [
        ("vit_base_patch16_224", {**VIT, "depth": 4}, ["12 missing: blocks.3."]),
        ("vit_base_patch16_224", {**VIT, "depth": 2}, ["12 not wanted: blocks.2."]),
        (
            "vit_base_patch16_224",
            {**VIT, "embed_dim": 12},
            ["42 wrong shape: ", "instead of (12,)"],
        ),
        (
            "vit_base_patch16_224",
            {**VIT, "patch_size": 4},
            ["patch_embed.proj.weight (24, 3, 8, 8) instead of (24, 3, 4, 4)"],
        ),
        ("resnet18", RES, ["missing: bn1.bias, bn1.running_mean", "not wanted: blocks.0."]),
    ],
)
def test_another_architecture_is_refused(name, kwargs, parts, tmp_path):
    torch.save(dino(source("vit_base_patch16_224", **VIT).state_dict(), ""), tmp_path / "w.pth")
    with pytest.raises(InputError) as caught:
        create_backbone(name, weights=tmp_path / "w.pth", backbone_kwargs=kwargs, input_size=32)
    message = str(caught.value)
    assert all(part in message for part in parts), message
    assert "model.backbone" in message and "\n" not in message


def test_a_name_that_the_network_has_is_no_prefix():
    net = nn.ModuleDict({"encoder": nn.Linear(2, 2), "head": nn.Linear(2, 2)})
    found = remapped(net.state_dict(), net)
    assert found.state.keys() == net.state_dict().keys() and not found.dropped


def test_what_the_conversion_cannot_read_is_said(monkeypatch):
    def refuses(state: State, net: nn.Module) -> State:
        raise KeyError("conv")

    net = timm.create_model("vit_base_patch16_224", num_classes=0, **VIT)
    monkeypatch.setattr("timm.models.vision_transformer.checkpoint_filter_fn", refuses)
    with pytest.raises(ValueError, match=r"timm cannot convert .* \(KeyError: 'conv'\)"):
        remapped({"a": torch.ones(1)}, net)


@pytest.mark.parametrize(
    "content",
    [{}, {"state_dict": {}}, {"model": {"a": 1}}, None, {1: 2}, {"a\x1b[2J": torch.ones(1)}],
)
def test_no_tensors_by_name(content):
    with pytest.raises(ValueError, match="no state dict"):
        unwrapped(content)


@pytest.mark.parametrize("odd", ["sparse", "meta"])
def test_tensors_without_values_in_memory_are_refused(odd):
    tensor = torch.eye(2).to_sparse() if odd == "sparse" else torch.empty(2, device="meta")
    with pytest.raises(ValueError, match="no state dict"):
        unwrapped({"a": tensor})


def test_names_are_summed_up():
    names = ["module.encoder_k.a", "module.encoder_k.b", "queue", "fc.0.weight"]
    assert summed_up(names) == ("encoder_k.* (2)", "fc.0.weight", "queue")
