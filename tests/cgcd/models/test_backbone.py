"""Every known cut gives the uncut network's features, names and frozen parts."""

from __future__ import annotations

import copy
import logging
import re

import pytest
import timm
import torch
from torch import nn

from cgcd.models import InputSpec, create_backbone
from cgcd.models.cut import Tail
from cgcd.vocabulary import InputError

VIT = {"img_size": 32, "embed_dim": 24, "depth": 3, "num_heads": 2, "patch_size": 8}
SWIN = {
    "img_size": 32,
    "patch_size": 2,
    "embed_dim": 8,
    "depths": (2, 2, 2),
    "num_heads": (1, 2, 2),
}
SWIN |= {"window_size": 4}
SMALL_RES = {"layers": (1, 1, 1, 1), "channels": (8, 8, 16, 16)}
SMALL_NEXT = {"depths": (1, 1, 2, 1), "dims": (8, 8, 16, 16)}

CASES = {
    "vit": ("vit_tiny_patch16_224", VIT, 1, 32, r"^blocks\.2\."),
    "vit two": ("vit_tiny_patch16_224", VIT, 2, 32, r"^blocks\.[12]\."),
    "vit averaged": ("vit_tiny_patch16_224", {**VIT, "global_pool": "avg"}, 1, 32, r"^blocks\.2\."),
    "vit attention pooled": (
        "vit_tiny_patch16_224",
        {**VIT, "global_pool": "map", "class_token": False},
        1,
        32,
        r"^blocks\.2\.",
    ),
    "deit": ("deit_tiny_patch16_224", VIT, 1, 32, r"^blocks\.2\."),
    "deit distilled": ("deit_tiny_distilled_patch16_224", VIT, 1, 32, r"^blocks\.2\."),
    "swin within": ("swin_tiny_patch4_window7_224", SWIN, 1, 32, r"^layers\.2\.blocks\.1\."),
    "swin whole": ("swin_tiny_patch4_window7_224", SWIN, 2, 32, r"^layers\.2\."),
    "swin across": (
        "swin_tiny_patch4_window7_224",
        SWIN,
        3,
        32,
        r"^layers\.(2\.|1\.blocks\.1\.)",
    ),
    "resnet": ("resnet10t", SMALL_RES, 1, 32, r"^layer4\."),
    "resnet two": ("resnet10t", SMALL_RES, 2, 32, r"^layer[34]\."),
    "convnext": ("convnext_tiny", SMALL_NEXT, 1, 32, r"^stages\.3\."),
    "convnext two": ("convnext_tiny", SMALL_NEXT, 2, 32, r"^stages\.[23]\."),
    "mobilenetv2": ("mobilenetv2_035", {}, 1, 32, r"^blocks\.6\."),
    "mobilenetv2 across": ("mobilenetv2_035", {}, 3, 32, r"^blocks\.(6\.|5\.[12]\.)"),
    "efficientnet": ("efficientnet_lite0", {}, 1, 32, r"^blocks\.6\."),
    "mobilenetv3": ("mobilenetv3_small_050", {}, 1, 32, r"^blocks\.5\."),
    "mobilenetv3 across": ("mobilenetv3_small_050", {}, 2, 32, r"^blocks\.(5\.|4\.2\.)"),
}


def shake_batch_norm(net: nn.Module) -> nn.Module:
    """Statistics unlike those of a new network, so that a lost layer shows."""
    generator = torch.Generator().manual_seed(1)
    for module in net.modules():
        if isinstance(module, nn.modules.batchnorm._BatchNorm):
            module.running_mean.normal_(0, 0.1, generator=generator)
            module.running_var.uniform_(0.5, 1.5, generator=generator)
    return net


def timm_names(backbone) -> set[str]:
    parts = (backbone.trunk, backbone.tail)
    return {n.removeprefix("net.") for part in parts for n, _ in part.named_parameters()}


@pytest.mark.parametrize("case", CASES)
def test_cut_equals_the_uncut_network(case, caplog):
    name, kwargs, units, size, learning = CASES[case]
    torch.manual_seed(0)
    with caplog.at_level(logging.WARNING):
        backbone = create_backbone(name, backbone_kwargs=kwargs, tail_units=units, input_size=size)
    assert not caplog.records
    uncut = timm.create_model(name, num_classes=0, **kwargs).eval()
    assert timm_names(backbone) == {n for n, _ in uncut.named_parameters()}

    state = {}
    for part in (backbone.trunk, backbone.tail):
        for module in part.modules():
            if isinstance(module, nn.modules.batchnorm._BatchNorm):
                shake_batch_norm(module)
        state |= {n.removeprefix("net."): t for n, t in part.state_dict().items()}
    uncut.load_state_dict(state)
    images = torch.rand(3, 3, size, size)
    with torch.no_grad():
        torch.testing.assert_close(backbone(images), uncut(images), rtol=1e-4, atol=1e-5)
    assert backbone.dim == uncut.num_features or backbone.dim == uncut.head_hidden_size

    trainable = {
        n.removeprefix("net.") for n, p in backbone.tail.named_parameters() if p.requires_grad
    }
    assert trainable == {n for n, _ in uncut.named_parameters() if re.match(learning, n)}
    assert not any(p.requires_grad for p in backbone.trunk.parameters())


def test_the_final_norm_learns_only_if_the_whole_tail_does():
    kwargs = {"backbone_kwargs": VIT, "tail_units": 1}
    frozen = create_backbone("vit_tiny_patch16_224", **kwargs)
    assert not frozen.tail.net.norm.weight.requires_grad
    learning = create_backbone("vit_tiny_patch16_224", trainable="tail", **kwargs)
    assert learning.tail.net.norm.weight.requires_grad
    assert not any(p.requires_grad for p in learning.trunk.parameters())


@pytest.mark.parametrize("name", ["resnet10t", "mobilenetv2_035"])
def test_batch_norm_moves_only_while_warming(name):
    kwargs = SMALL_RES if name == "resnet10t" else {}
    backbone = create_backbone(name, backbone_kwargs=kwargs, input_size=32)
    images = torch.rand(4, 3, 32, 32)
    before = {n: b.clone() for n, b in backbone.named_buffers()}
    backbone.train()
    first = backbone(images)
    assert torch.equal(backbone(images), first)
    assert all(torch.equal(b, before[n]) for n, b in backbone.named_buffers())
    assert not any(m.training for m in backbone.trunk.modules())

    backbone.warming = True
    backbone.train()
    backbone(images)
    moved = {n for n, b in backbone.named_buffers() if not torch.equal(b, before[n])}
    assert any(n.startswith("trunk") for n in moved) and any(n.startswith("tail") for n in moved)
    backbone.warming = False
    backbone.train()
    after = {n: b.clone() for n, b in backbone.named_buffers()}
    backbone(images)
    assert all(torch.equal(b, after[n]) for n, b in backbone.named_buffers())


def test_an_unknown_architecture_is_all_tail_with_a_warning(caplog):
    with caplog.at_level(logging.WARNING):
        backbone = create_backbone("edgenext_xx_small", input_size=32)
    assert "has no known cut: the whole of it is the tail" in caplog.text
    assert isinstance(backbone.trunk, nn.Identity)
    assert all(p.requires_grad for p in backbone.tail.parameters())


class _Skips(nn.Sequential):
    """A sequence in name only."""

    def __init__(self, dim):
        super().__init__(nn.Linear(dim, dim), nn.Linear(dim, dim))

    def forward(self, x):
        return self[1](self[0](x)) + x


class ResNet(timm.models.resnet.ResNet):
    """Looks like one that we can cut, but its forward pass does more."""

    def forward_features(self, x):
        return super().forward_features(x) + x.mean()


def test_a_cut_that_changes_the_features_is_not_made(caplog):
    example = torch.rand(2, 3, 32, 32)
    net = ResNet(timm.models.resnet.BasicBlock, num_classes=0, **SMALL_RES).eval()
    with caplog.at_level(logging.WARNING):
        backbone = create_backbone(net, example=example)
    assert "ResNet cannot be cut exactly: the whole of it is the tail" in caplog.text
    assert isinstance(backbone.trunk, nn.Identity)
    torch.testing.assert_close(backbone(example), net(example))


def test_a_subclass_of_a_sequence_is_not_cut(caplog):
    net, example = _Skips(4), torch.rand(2, 4)
    with caplog.at_level(logging.WARNING):
        backbone = create_backbone(net, example=example)
    assert "_Skips has no known cut" in caplog.text
    torch.testing.assert_close(backbone(example), net(example))


def test_a_sequence_is_cut_by_its_modules():
    net = nn.Sequential(nn.Linear(4, 5), nn.ReLU(), nn.Linear(5, 3))
    backbone = create_backbone(copy.deepcopy(net), example=torch.rand(2, 4))
    assert timm_names(backbone) == {n for n, _ in net.named_parameters()}
    assert [p.requires_grad for p in backbone.parameters()] == [False, False, True, True]


@pytest.mark.parametrize("units", [0, "all"])
def test_nothing_and_everything_may_be_the_tail(units):
    backbone = create_backbone("vit_tiny_patch16_224", backbone_kwargs=VIT, tail_units=units)
    whole = backbone.trunk if units == 0 else backbone.tail
    other = backbone.tail if units == 0 else backbone.trunk
    assert isinstance(other, nn.Identity)
    assert any(p.requires_grad for p in whole.parameters()) == (units == "all")
    assert isinstance(whole, Tail) == (units == "all")


def test_more_units_than_there_are_take_all_blocks():
    backbone = create_backbone("vit_tiny_patch16_224", backbone_kwargs=VIT, tail_units=9)
    trainable = {n.split(".")[1] for n, p in backbone.tail.named_parameters() if p.requires_grad}
    assert trainable == {"blocks"}
    assert any(n.startswith("net.patch_embed") for n, _ in backbone.trunk.named_parameters())


@pytest.mark.parametrize("units", [-1, "some", 1.5, None])
def test_nonsense_units_are_an_input_error(units):
    with pytest.raises(InputError, match=r"model.tail_units is .*; wanted a number >= 0, or 'all'"):
        create_backbone(nn.Linear(4, 3), example=torch.rand(2, 4), tail_units=units)


def test_bad_names_and_arguments_say_how_to_mend_it():
    with pytest.raises(InputError, match=r"model.backbone=nope is no model that timm"):
        create_backbone("nope")
    with pytest.raises(InputError, match="did you mean 'resnet10t'"):
        create_backbone("resnet10")
    with pytest.raises(InputError, match=r"model.backbone_kwargs do not fit resnet10t"):
        create_backbone("resnet10t", backbone_kwargs={"no_such_thing": 1})
    with pytest.raises(InputError, match=r"model.trainable is 'head'"):
        create_backbone(nn.Linear(4, 3), example=torch.rand(2, 4), trainable="head")
    with pytest.raises(InputError, match=r"shape \(2, 3, 4\); wanted \(B, D\)"):
        create_backbone(nn.Linear(4, 4), example=torch.rand(2, 3, 4))


def test_input_spec_comes_from_timm_unless_overridden():
    config = timm.data.resolve_model_data_config(timm.create_model("mobilenetv2_035"))
    spec = create_backbone("mobilenetv2_035", input_size=64).spec
    assert spec == InputSpec(64, config["mean"], config["std"], config["crop_pct"], "bicubic")
    spec = create_backbone("vit_tiny_patch16_224", backbone_kwargs=VIT).spec
    assert spec.size == 32 and spec.mean == (0.5, 0.5, 0.5)
    spec = create_backbone(
        "vit_tiny_patch16_224",
        backbone_kwargs=VIT,
        mean=[0.1, 0.2, 0.3],
        std=[0.4, 0.5, 0.6],
        crop_pct=0.875,
        interpolation="bilinear",
    ).spec
    assert spec == InputSpec(32, (0.1, 0.2, 0.3), (0.4, 0.5, 0.6), 0.875, "bilinear")
    assert spec.resize == 36 and InputSpec().resize == 256
