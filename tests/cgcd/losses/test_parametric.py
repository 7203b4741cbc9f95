"""The five terms of SimGCD by name; their values are compared with fixtures elsewhere."""

import pytest
import torch

from cgcd.losses import (
    cosine_cross_entropy,
    info_nce,
    mean_entropy,
    parametric_discovery,
    self_distillation,
    supervised_contrastive,
)
from cgcd.vocabulary import UNLABELED, GCDOutput


def output(requires_grad: bool = False) -> GCDOutput:
    generator = torch.Generator().manual_seed(0)
    projections = torch.randn(6, 2, 5, generator=generator).requires_grad_(requires_grad)
    logits = (torch.rand(6, 2, 4, generator=generator) * 2 - 1).requires_grad_(requires_grad)
    return GCDOutput(torch.randn(6, 2, 3, generator=generator), projections, logits)


LABELS = torch.tensor([0, UNLABELED, 1, 0, UNLABELED, 3])


def test_each_name_has_its_loss_and_temperature():
    out = output()
    terms = parametric_discovery(out, LABELS, 0.05, 0.2)
    assert terms == {
        "self_distillation": self_distillation(out.logits, 0.05, 0.2),
        "mean_entropy": mean_entropy(out.logits, 0.2),
        "cross_entropy": cosine_cross_entropy(out.logits, LABELS, 0.2),
        "contrastive": info_nce(out.projections),
        "supervised_contrastive": supervised_contrastive(out.projections, LABELS),
    }


@pytest.mark.parametrize("name", ["cross_entropy", "supervised_contrastive"])
def test_labeled_terms_ignore_unlabeled_rows(name):
    out = output(requires_grad=True)
    inputs = [out.projections, out.logits]
    gradients = torch.autograd.grad(
        parametric_discovery(out, LABELS, 0.05)[name], inputs, allow_unused=True
    )
    (gradient,) = [g for g in gradients if g is not None]
    assert not gradient[LABELS == UNLABELED].any() and gradient[LABELS != UNLABELED].any()


def test_without_any_label_two_terms_are_zero():
    terms = parametric_discovery(output(), torch.full((6,), UNLABELED), 0.05)
    assert terms["cross_entropy"] == 0 and terms["supervised_contrastive"] == 0
    assert terms["self_distillation"] > 0 and terms["contrastive"] > 0
