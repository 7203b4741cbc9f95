"""The shared model: views, the frozen trunk pass, the snapshot that teaches the next stage."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from cgcd.models import GCDModel


@pytest.fixture(scope="module")
def images_model():
    net = nn.Sequential(nn.Conv2d(3, 4, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 6))
    model = GCDModel(
        net, example=torch.rand(2, 3, 8, 8), projection_hidden=8, projection_dim=5, input_size=8
    )
    model.head.grow(3)
    return model


def test_four_and_five_dimensions(images_model):
    views = torch.rand(4, 2, 3, 8, 8)
    logits = images_model(views)
    assert logits.shape == (4, 3)
    torch.testing.assert_close(logits, images_model(views[:, 0]))


def test_vectors_with_and_without_views(blob_model):
    model = blob_model()
    model.head.grow(2)
    views = torch.rand(4, 2, 16)
    assert model(views[:, 1]).shape == (4, 2)
    torch.testing.assert_close(model(views), model(views[:, 0]))


def test_trunk_then_tail_equals_the_whole(images_model):
    views = torch.rand(4, 2, 3, 8, 8)
    trunk = images_model.trunk_output(views)
    out = images_model.from_trunk(trunk)
    assert not trunk.requires_grad and trunk.shape[:2] == (4, 2)
    assert [t.shape for t in out] == [(4, 2, 6), (4, 2, 5), (4, 2, 3)]
    for view in range(2):
        torch.testing.assert_close(out.logits[:, view], images_model(views[:, view]))


def test_gradient_reaches_tail_and_heads_only(images_model):
    out = images_model.from_trunk(images_model.trunk_output(torch.rand(4, 2, 3, 8, 8)))
    images_model.zero_grad()
    (out.logits.sum() + out.projections.square().sum()).backward()
    with_gradient = {n for n, p in images_model.named_parameters() if p.grad is not None}
    trunk = {n for n, _ in images_model.named_parameters() if n.startswith("backbone.trunk")}
    assert trunk and with_gradient == {n for n, _ in images_model.named_parameters()} - trunk


def test_snapshot_equals_the_model_and_shares_nothing(images_model):
    trunk = images_model.trunk_output(torch.rand(4, 2, 3, 8, 8))
    teacher = images_model.snapshot()
    out = images_model.from_trunk(trunk)
    assert torch.equal(teacher.features(trunk), out.features.detach())
    assert torch.equal(teacher.logits(trunk), out.logits.detach())
    assert not any(p.requires_grad for p in teacher.parameters())
    assert not teacher.train().training and not any(m.training for m in teacher.modules())

    own = {p.data_ptr() for p in images_model.state_dict().values()}
    assert own.isdisjoint(p.data_ptr() for p in teacher.state_dict().values())
    before = {k: v.clone() for k, v in teacher.state_dict().items()}
    with torch.no_grad():
        for parameter in images_model.parameters():
            parameter.add_(1.0)
    images_model.head.grow(4)
    assert all(torch.equal(v, before[k]) for k, v in teacher.state_dict().items())
    assert teacher.logits(trunk).shape[-1] < images_model.num_classes


def test_a_stage_checkpoint_of_another_size_loads(blob_model):
    grown, fresh = blob_model(1), blob_model(2)
    grown.head.grow(5)
    fresh.load_state_dict(grown.state_dict())
    views = torch.rand(3, 16)
    assert torch.equal(fresh(views), grown(views))
