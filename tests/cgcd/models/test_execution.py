"""Trunk and tail in another precision or compiled: what changes, and what stays float32."""

from __future__ import annotations

import copy
from functools import partial

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from cgcd.models import GCDModel
from cgcd.vocabulary import InputError

VIT = {"img_size": 32, "depth": 1, "embed_dim": 48, "num_heads": 3}


def tiny_vit() -> GCDModel:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return GCDModel(
            "vit_tiny_patch16_224", backbone_kwargs=VIT, projection_hidden=16, projection_dim=8
        )


@pytest.fixture
def images() -> torch.Tensor:
    return torch.rand(5, 3, 32, 32, generator=torch.Generator().manual_seed(1))


def test_fp32_is_the_network_as_it_is_written(blob_model):
    model = blob_model()
    backbone = model.backbone
    backbone.compute_in("bf16")
    backbone.compute_in("fp32")
    for part in (backbone.trunk, backbone.tail):
        assert part.forward.__func__ is type(part).forward
    assert (backbone.precision, backbone.compiled) == ("fp32", False)


def test_products_are_half_as_long_and_features_whole(images):
    model = tiny_vit().eval()
    wanted = model.backbone(images)
    seen = {}
    for name, module in model.named_modules():
        if isinstance(module, nn.Linear):
            module.register_forward_hook(lambda *call, name=name: seen.update({name: call[2]}))
    model.backbone.compute_in("bf16")
    out = model.from_trunk(model.trunk_output(images.unsqueeze(1)))
    inside = [value.dtype for name, value in seen.items() if name.startswith("backbone")]
    outside = [value.dtype for name, value in seen.items() if name.startswith("projection")]
    assert len(inside) == 4 and set(inside) == {torch.bfloat16}
    assert set(outside) == {torch.float32}
    assert {part.dtype for part in out} == {torch.float32}
    assert {p.dtype for p in model.parameters()} == {torch.float32}
    assert not torch.equal(out.features[:, 0], wanted)
    torch.testing.assert_close(out.features[:, 0], wanted, rtol=0.05, atol=0.05)
    out.features.sum().backward()
    assert {p.grad.dtype for p in model.backbone.parameters() if p.requires_grad} == {torch.float32}


def test_a_copy_computes_likewise_with_its_own_weights(blob_model):
    model = blob_model()
    model.backbone.compute_in("bf16")
    trunk = model.trunk_output(torch.rand(4, 2, 16))
    teacher, twin = model.snapshot(), copy.deepcopy(model)
    before = teacher.features(trunk)
    assert torch.equal(before, model.from_trunk(trunk).features)
    with torch.no_grad():
        for parameter in model.backbone.tail.parameters():
            parameter.add_(1.0)
    assert torch.equal(teacher.features(trunk), before)
    assert torch.equal(twin.from_trunk(trunk).features, before)
    assert not torch.equal(model.from_trunk(trunk).features, before)
    assert model.state_dict().keys() == blob_model().state_dict().keys()


def test_an_unknown_precision_is_refused(blob_model):
    with pytest.raises(InputError, match=r"'half'; wanted one of fp32, bf16, fp16: set precision"):
        blob_model().backbone.compute_in("half")


def test_attention_is_that_of_torch(images, monkeypatch):
    model = tiny_vit()
    calls = []

    def noted(*args, **kwargs):
        calls.append(args[0].dtype)
        return attention(*args, **kwargs)

    attention = F.scaled_dot_product_attention
    monkeypatch.setattr(F, "scaled_dot_product_attention", noted)
    model.backbone(images)
    model.backbone.compute_in("bf16")
    model.backbone(images)
    assert calls == [torch.float32] * VIT["depth"] + [torch.bfloat16] * VIT["depth"]


# -------------------------------------------------------------------- compiled


@pytest.fixture
def graphs(monkeypatch):
    """What `torch.compile` was asked for: every graph that it built, run as it is written."""
    built = []

    def backend(graph, inputs):
        built.append(graph)
        return graph.forward

    torch.compiler.reset()
    monkeypatch.setattr(torch, "compile", partial(torch.compile, backend=backend))
    yield built
    torch.compiler.reset()


def test_every_batch_size_runs_by_the_same_graphs(graphs, images):
    model, plain = tiny_vit().eval(), tiny_vit().eval()
    model.backbone.compute_in(compiled=True)
    with torch.no_grad():
        model.backbone(images[:4])
        num_built = len(graphs)
        for count in (2, 3, 5, 1, 0):
            features = model.backbone(images[:count])
            assert torch.equal(features, plain.backbone(images[:count]))
    assert len(graphs) == num_built == 3  # trunk, tail, and the tail of the teachers to come


@pytest.mark.parametrize("measured", [False, True])
def test_nothing_is_compiled_after_stage_0(graphs, quick_happy, blob_model, blobs, measured):
    from cgcd.engine import Baselines, discovery_evaluator, run_stages

    def run(compiled: bool):
        model, numbers = blob_model(), []
        model.backbone.compute_in(compiled=compiled)
        evaluator = discovery_evaluator(Baselines()) if measured else None
        strategy = quick_happy(model, (2, 2), evaluator=evaluator, eval_batch_size=47)
        run_stages(strategy, blobs(), on_stage=lambda row: numbers.append(len(graphs)))
        return model.state_dict(), numbers

    compiled, numbers = run(True)
    assert numbers[0] > 0 and len(set(numbers)) == 1 and len(numbers) == 3
    written, unchanged = run(False)
    assert unchanged == numbers
    assert all(torch.equal(compiled[name], tensor) for name, tensor in written.items())
