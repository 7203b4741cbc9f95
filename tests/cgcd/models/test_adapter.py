"""The adapter starts as a plain norm, learns whole, and counts as pretrained."""

from __future__ import annotations

import dataclasses
import logging

import pytest
import torch
from torch import nn

from cgcd.models import Adapter, GCDModel, InputSpec, create_backbone
from cgcd.vocabulary import InputError


def model(**kwargs) -> GCDModel:
    return GCDModel(Adapter(6, hidden=8), projection_hidden=8, projection_dim=4, **kwargs)


def normed(vectors: torch.Tensor) -> torch.Tensor:
    centered = vectors - vectors.mean(-1, keepdim=True)
    return centered / (centered.square().mean(-1, keepdim=True) + 1e-5).sqrt()


def test_it_starts_as_a_norm_and_can_leave_it():
    adapter, vectors = Adapter(6, hidden=8), torch.randn(5, 6)
    start = adapter(vectors).detach()
    torch.testing.assert_close(start, normed(vectors), rtol=1e-4, atol=1e-4)
    optimizer = torch.optim.SGD(adapter.parameters(), lr=1)
    for _ in range(2):  # the first step moves the last layer only
        optimizer.zero_grad()
        adapter(vectors).square().sum().backward()
        optimizer.step()
    assert all(p.grad is not None and p.grad.any() for p in adapter.parameters())
    assert not torch.allclose(adapter(vectors), start, rtol=1e-3)

    adapter.reset(torch.Generator().manual_seed(0))
    assert torch.equal(adapter(vectors), start)
    other = Adapter(6, hidden=8)
    other.reset(torch.Generator().manual_seed(0))
    for mine, its in zip(adapter.parameters(), other.parameters(), strict=True):
        assert torch.equal(mine, its)


def test_it_agrees_with_its_formula():
    adapter, vectors = Adapter(6, hidden=8), torch.randn(5, 2, 6)
    with torch.no_grad():
        for parameter in adapter.parameters():
            parameter.normal_()
        inner = normed(vectors) @ adapter.hidden.weight.T + adapter.hidden.bias
        outer = (inner * torch.special.ndtr(inner)) @ adapter.out.weight.T + adapter.out.bias
        wanted = normed(normed(vectors) + outer)
        torch.testing.assert_close(adapter(vectors), wanted, rtol=1e-4, atol=1e-4)


def test_short_and_long_embeddings_leave_it_at_one_scale():
    adapter, vectors = Adapter(64), torch.nn.functional.normalize(torch.randn(5, 64), dim=1)
    for scale in (1, 1000):
        out = adapter(scale * vectors)
        torch.testing.assert_close(out.std(-1, correction=0), torch.ones(5), rtol=2e-3, atol=0)


@pytest.mark.parametrize("units", ["all", 1, 2])
@pytest.mark.parametrize("trainable", ["blocks", "tail"])
def test_as_a_backbone_it_is_the_whole_tail(units, trainable, caplog):
    with caplog.at_level(logging.WARNING):
        built = model(tail_units=units, trainable=trainable)
    assert not caplog.records
    backbone = built.backbone
    assert isinstance(backbone.trunk, nn.Identity)
    assert backbone.dim == built.dim == 6
    names = {name for name, p in backbone.named_parameters() if p.requires_grad}
    assert names == {f"tail.net.{name}" for name, _ in Adapter(6, 8).named_parameters()}
    assert backbone.pretrained and backbone.origin == "embeddings"
    vectors = torch.randn(3, 2, 6)
    out = built.train().from_trunk(built.trunk_output(vectors))
    torch.testing.assert_close(out.features, normed(vectors), rtol=1e-4, atol=1e-4)
    assert torch.equal(built.snapshot().features(vectors), out.features)


def test_the_input_says_that_it_is_a_vector():
    assert model().inputs == InputSpec(vector=6)
    assert dataclasses.asdict(model().inputs)["vector"] == 6
    assert create_backbone("resnet10t", input_size=32).spec.vector is None


def test_only_a_declared_vector_input_changes_what_a_module_is():
    class Named(nn.Linear):
        origin = "somewhere"

    plain = create_backbone(Named(4, 3), example=torch.rand(2, 4))
    assert plain.origin == "Named" and not plain.pretrained and plain.spec.vector == 4

    class Vectors(nn.Linear):
        input_shape = (4,)

    nameless = create_backbone(Vectors(4, 3))
    assert nameless.origin == "Vectors" and not nameless.pretrained and nameless.spec.vector == 4

    given = torch.rand(5, 4)
    assert create_backbone(Vectors(4, 3), example=given).spec.vector == 4
    with pytest.raises(InputError, match=r"refuses a batch of shape \(2, 4\)"):
        create_backbone(Vectors(5, 3))
