"""The cosine head and the projection head, against the released head and hand-made cases."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from cgcd.models import CosineHead, ProjectionHead


@pytest.mark.parity
def test_heads_equal_the_released_one(parity):
    for case in parity("dinohead"):
        x = torch.tensor(case["x"], requires_grad=True)
        weights = {
            k.removeprefix("mlp."): torch.tensor(v) for k, v in case.items() if k.startswith("mlp.")
        }
        if "weight" in weights:  # one layer has no numbers in the released container
            weights = {f"0.{k}": v for k, v in weights.items()}
        depth = int(case["nlayers"])
        hidden = len(weights["0.bias"])
        projector = ProjectionHead(x.shape[1], hidden, case["proj"].shape[1], depth)
        projector.load_state_dict(weights)
        head = CosineHead(x.shape[1])
        head.load_state_dict({"directions": torch.tensor(case["weight_v"])})

        projections, logits = projector(x), head(x)
        weighed = projections * torch.tensor(case["cp"]), logits * torch.tensor(case["cl"])
        (weighed[0].sum() + weighed[1].sum()).backward()
        for got, name, rtol, atol in (
            (projections, "proj", 1e-5, 1e-6),
            (logits, "logits", 1e-5, 1e-6),
            (x.grad, "grad_x", 1e-4, 1e-6),
            (head.directions.grad, "grad_weight_v", 1e-4, 1e-6),
        ):
            np.testing.assert_allclose(
                got.detach().numpy(), case[name], rtol, atol, err_msg=f"{case['desc']}: {name}"
            )


def test_logits_are_cosines():
    generator = torch.Generator().manual_seed(0)
    features = torch.randn(5, 2, 8, generator=generator) * 100
    head = CosineHead(8, 4)
    logits = head(features)
    by_hand = F.cosine_similarity(features.unsqueeze(-2), head.directions, dim=-1)
    torch.testing.assert_close(logits, by_hand)
    assert logits.shape == (5, 2, 4) and logits.abs().max() <= 1 + 1e-6
    with torch.no_grad():
        head.directions[2] *= 17.0
    torch.testing.assert_close(head(0.003 * features), logits)


def test_growth_keeps_old_rows_and_outputs_bit_identical():
    head = CosineHead(16, 3)
    features = torch.randn(7, 16)
    rows, before = head.directions.detach().clone(), head(features)
    head.grow(5)
    assert head.num_classes == 5
    assert torch.equal(head.directions[:3], rows)
    # the same dot products, but a wider matrix may be summed in another order
    torch.testing.assert_close(head(features)[:, :3], before)


def test_given_directions_become_unit_rows_of_the_mean_fresh_norm():
    head = CosineHead(16, 3)
    wanted = torch.randn(2, 16) * 9
    head.grow(5, wanted, generator=torch.Generator().manual_seed(1))
    bound = 1 / math.sqrt(16)
    fresh = torch.empty(2, 16).uniform_(-bound, bound, generator=torch.Generator().manual_seed(1))
    torch.testing.assert_close(
        F.normalize(head.directions[3:], dim=-1), F.normalize(wanted, dim=-1)
    )
    torch.testing.assert_close(
        head.directions[3:].norm(dim=-1), fresh.norm(dim=-1).mean().expand(2)
    )


def test_fresh_rows_have_the_norm_of_a_linear_layer():
    head = CosineHead(768)  # happy.md section 2: mean row norm 1/sqrt(3)
    head.grow(10_000, generator=torch.Generator().manual_seed(0))
    assert head.directions.norm(dim=-1).mean().item() == pytest.approx(0.577, abs=1e-3)
    assert head.directions.abs().max().item() <= 1 / math.sqrt(768)


def test_growth_is_a_function_of_its_generator():
    first, second = CosineHead(8), CosineHead(8)
    state = torch.get_rng_state()
    for head in (first, second):
        head.grow(4, generator=torch.Generator().manual_seed(3))
    assert torch.equal(first.directions, second.directions)
    assert torch.equal(torch.get_rng_state(), state)


def test_growth_refuses_to_shrink_and_wrong_shapes():
    head = CosineHead(8, 3)
    with pytest.raises(ValueError, match="3 classes and cannot shrink to 2"):
        head.grow(2)
    with pytest.raises(ValueError, match=r"\(3, 8\); wanted \(2, 8\)"):
        head.grow(5, torch.randn(3, 8))
    head.grow(3)
    assert head.num_classes == 3


def test_a_state_dict_of_another_size_loads_and_another_width_does_not():
    stored = CosineHead(8, 6).state_dict()
    head = CosineHead(8, 2)
    head.load_state_dict(stored)
    assert torch.equal(head.directions, stored["directions"]) and head.directions.requires_grad
    frozen = CosineHead(8, 2).requires_grad_(False)
    frozen.load_state_dict(stored)
    assert not frozen.directions.requires_grad
    with pytest.raises(RuntimeError, match="size mismatch"):
        CosineHead(9, 2).load_state_dict(stored)


def test_projection_starts_as_a_truncated_normal_and_resets_from_its_generator():
    head = ProjectionHead(64, 128, 32)
    linear = [layer for layer in head if isinstance(layer, torch.nn.Linear)]
    assert [(layer.in_features, layer.out_features) for layer in linear] == [
        (64, 128),
        (128, 128),
        (128, 32),
    ]
    assert all(bool((layer.bias == 0).all()) for layer in linear)
    assert linear[1].weight.std().item() == pytest.approx(0.02, rel=0.05)
    parameters = list(head.parameters())
    head.reset(torch.Generator().manual_seed(5))
    first = [p.detach().clone() for p in parameters]
    head.reset(torch.Generator().manual_seed(5))
    assert all(torch.equal(a, b) for a, b in zip(first, head.parameters(), strict=True))
    assert all(a is b for a, b in zip(parameters, head.parameters(), strict=True))  # in place
    with pytest.raises(ValueError, match="projection_layers is 0"):
        ProjectionHead(8, num_layers=0)


def test_happys_number_of_trainable_parameters():
    timm = pytest.importorskip("timm")
    block = timm.models.vision_transformer.Block(768, 12, qkv_bias=True)
    counts = [sum(p.numel() for p in m.parameters()) for m in (block, ProjectionHead(768))]
    counts.append(CosineHead(768, 100).directions.numel())
    assert counts == [7_087_872, 6_295_808, 76_800]
    assert sum(counts) == 13_460_480
