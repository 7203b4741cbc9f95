"""A model without a backbone: what it gives, and that nothing of it learns."""

from __future__ import annotations

import torch

from cgcd.models import FixedFeatures, GCDModel


def test_features_are_the_vectors_or_their_layer_norm() -> None:
    vectors = torch.randn(5, 6)
    assert torch.equal(FixedFeatures(6, norm=False)(vectors), vectors)
    centered = vectors - vectors.mean(1, keepdim=True)
    wanted = centered / (centered.square().mean(1, keepdim=True) + 1e-5).sqrt()
    torch.testing.assert_close(FixedFeatures(6)(vectors), wanted)


def test_only_heads_learn_and_the_teacher_shares_nothing() -> None:
    model = GCDModel(FixedFeatures(6), tail_units="all", projection_hidden=8, projection_dim=4)
    model.head.grow(3)
    assert model.backbone.pretrained and model.backbone.origin == "embeddings"
    assert not list(model.backbone.parameters()) and not model.backbone.tail.state_dict()
    assert model.inputs.vector == 6 and model.dim == 6
    vectors = torch.randn(4, 2, 6)
    out = model.from_trunk(model.trunk_output(vectors))
    torch.testing.assert_close(out.features, FixedFeatures(6)(vectors))
    teacher = model.snapshot()
    with torch.no_grad():
        model.head.directions.zero_()
    assert teacher.logits(vectors).abs().sum() > 0
