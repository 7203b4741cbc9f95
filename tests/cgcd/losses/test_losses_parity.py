"""Values and gradients of the released implementations, in float32 and float64."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from cgcd.losses import (
    adaptive_pseudo_labels,
    cosine_cross_entropy,
    feature_distillation,
    group_entropy,
    hard_ratio,
    info_nce,
    mean_entropy,
    parametric_discovery,
    prototype_separation,
    ramped,
    self_distillation,
    supervised_contrastive,
)
from cgcd.losses.pseudo_labels import adaptive_targets
from cgcd.vocabulary import UNLABELED, GCDOutput

both_precisions = pytest.mark.parametrize("bits", [32, 64])


class Case:
    """One case of a fixture: inputs in the wanted precision, comparison at its tolerance."""

    def __init__(self, arrays: dict[str, np.ndarray], bits: int = 32) -> None:
        self.arrays, self.bits = arrays, bits
        self.dtype = torch.float64 if bits == 64 else torch.float32

    def __getitem__(self, name: str):
        value = self.arrays[name]
        return value.item() if value.ndim == 0 else torch.from_numpy(value)

    def rows(self, name: str, requires_grad: bool = True) -> Tensor:
        return self[name].to(self.dtype).requires_grad_(requires_grad)

    def check(self, name: str, value: Tensor) -> None:
        rtol, atol = (1e-9, 1e-12) if self.bits == 64 else (1e-5, 1e-6)
        self._compare(name, value, rtol, atol)

    def check_grad(self, name: str, gradient: Tensor) -> None:
        rtol, atol = (1e-9, 1e-12) if self.bits == 64 else (1e-4, 1e-6)
        self._compare(name, gradient, rtol, atol)

    def _compare(self, name: str, value: Tensor, rtol: float, atol: float) -> None:
        expected = self.arrays[f"{name}64" if self.bits == 64 else name]
        assert value.dtype == self.dtype
        np.testing.assert_allclose(
            value.detach().numpy(), expected, rtol, atol, err_msg=f"{self['desc']}: {name}"
        )


def views(rows: Tensor) -> Tensor:
    """Two stacked blocks of B rows as (B, 2, ...)."""
    return rows.unflatten(0, (2, -1)).transpose(0, 1)


def cosine(features: Tensor, directions: Tensor) -> Tensor:
    return F.normalize(features, dim=-1) @ F.normalize(directions, dim=-1).T


@pytest.mark.parity
@both_precisions
def test_supcon(parity, bits):
    for case in (Case(arrays, bits) for arrays in parity("supcon")):
        features = case.rows("features")  # (B, V, D) already
        loss = supervised_contrastive(
            features,
            case["labels"] if case["has_labels"] else None,
            case["temperature"],
            case["base_temperature"],
            normalize=False,
        )
        loss.backward()
        case.check("loss", loss)
        case.check_grad("grad", features.grad)


@pytest.mark.parity
@both_precisions
def test_info_nce(parity, bits):
    for case in (Case(arrays, bits) for arrays in parity("info_nce")):
        projections = case.rows("features")
        loss = info_nce(views(projections), case["temperature"])
        loss.backward()
        case.check("loss", loss)
        case.check_grad("grad", projections.grad)


@pytest.mark.parity
@both_precisions
def test_self_distillation(parity, bits):
    for case in (Case(arrays, bits) for arrays in parity("simgcd_distill")):
        ramp = (case["warmup_teacher_temp"], case["teacher_temp"])
        ramp = (*ramp, case["warmup_teacher_temp_epochs"])
        temperatures = [ramped(epoch, *ramp) for epoch in range(case["nepochs"])]
        np.testing.assert_allclose(temperatures, case["schedule"], rtol=1e-12)

        losses, gradients = [], []
        for epoch in case["epochs"].tolist():
            logits, teacher = case.rows("student_output"), case.rows("teacher_output")
            losses.append(
                self_distillation(
                    views(logits),
                    temperatures[epoch],
                    case["student_temp"],
                    None if case["teacher_is_student"] else views(teacher),
                )
            )
            losses[-1].backward()
            assert teacher.grad is None
            gradients.append(logits.grad)
        case.check("loss", torch.stack(losses))
        case.check_grad("grad", torch.stack(gradients))


@pytest.mark.parity
@both_precisions
def test_mean_entropy(parity, bits):
    for case in (Case(arrays, bits) for arrays in parity("memax")):
        logits = case.rows("logits")
        loss = mean_entropy(views(logits), case["student_temp"])
        loss.backward()
        case.check("loss", loss)
        case.check_grad("grad", logits.grad)


@pytest.mark.parity
@both_precisions
def test_group_entropy(parity, bits):
    for case in (Case(arrays, bits) for arrays in parity("happy_soft_entropy")):
        logits = case.rows("student_out")
        terms = group_entropy(views(logits), case["num_seen"], case["student_temp"])
        weights = case["weights"].tolist()
        if case["num_novel_class_per_session"] == 1:
            weights[2] = 0.0  # the released code asks for this number, not for the columns
        else:
            case.check("l_new_in", terms.within_novel)
        case.check("l_old_new", terms.between_groups)
        case.check("l_old_in", terms.within_known)
        total = sum(weight * term for weight, term in zip(weights, terms, strict=True))
        total.backward()
        case.check("total", total)
        case.check_grad("grad", logits.grad)


@pytest.mark.parity
@both_precisions
def test_feature_distillation(parity, bits):
    for case in (Case(arrays, bits) for arrays in parity("happy_feat_distill")):
        features, previous = case.rows("feats"), case.rows("feats_pre")
        loss = feature_distillation(views(features), views(previous))
        loss.backward()
        assert previous.grad is None
        case.check("loss", loss)
        case.check_grad("grad", features.grad)


def prototype_loss(case: Case, directions: Tensor, temperature: float) -> Tensor:
    classes = case["sampled_labels"]
    prototypes = F.normalize(case.rows("prototypes", False), dim=-1)
    features = prototypes[classes] + case["noise"] * case["radius"] * case["radius_scale"]
    return cosine_cross_entropy(cosine(features, directions), classes, temperature)


@pytest.mark.parity
def test_prototype_replay(parity):
    for case in map(Case, parity("happy_proto_aug")):
        directions = case.rows("weight_v")
        loss = prototype_loss(case, directions, case["logit_temp"])
        loss.backward()
        case.check("loss", loss)
        case.check_grad("grad_weight_v", directions.grad)


def gcd_terms(
    projections: Tensor, logits: Tensor, labels: Tensor, teacher_temperature: float
) -> dict[str, Tensor]:
    """The terms of SimGCD and of Happy's base stage from two stacked blocks of rows."""
    out = GCDOutput(projections, views(projections), views(logits))
    return parametric_discovery(out, labels, teacher_temperature)


def gcd_total(terms: dict[str, Tensor], supervised: float, entropy: float) -> Tensor:
    unsupervised = terms["self_distillation"] + entropy * terms["mean_entropy"]
    unsupervised = unsupervised + terms["contrastive"]
    labeled = terms["cross_entropy"] + terms["supervised_contrastive"]
    return (1 - supervised) * unsupervised + supervised * labeled


@pytest.mark.parity
@both_precisions
def test_gcd_step(parity, bits):
    for case in (Case(arrays, bits) for arrays in parity("gcd_step")):
        projections, logits = case.rows("proj"), case.rows("out")
        labels = case["labels"].where(case["mask_lab"], UNLABELED)
        temperature = ramped(
            case["epoch"],
            case["warmup_teacher_temp"],
            case["teacher_temp"],
            case["warmup_teacher_temp_epochs"],
        )
        terms = gcd_terms(projections, logits, labels, temperature)
        total = gcd_total(terms, case["sup_weight"], case["memax_weight"])
        total.backward()
        cluster = terms["self_distillation"] + case["memax_weight"] * terms["mean_entropy"]
        case.check("cls_loss", terms["cross_entropy"])
        case.check("cluster_loss", cluster)
        case.check("contrastive_loss", terms["contrastive"])
        case.check("sup_con_loss", terms["supervised_contrastive"])
        case.check("me_max_loss", terms["mean_entropy"])
        case.check("loss", total)
        case.check_grad("grad_proj", projections.grad)
        case.check_grad("grad_out", logits.grad)


@pytest.mark.parity
def test_happy_online_step(parity):
    for case in map(Case, parity("happy_online_step")):
        projections, logits = case.rows("proj"), case.rows("out")
        features, directions = case.rows("feats"), case.rows("weight_v")
        groups = group_entropy(views(logits), case["num_seen"])
        cluster = (
            self_distillation(views(logits), case["teacher_temp"])
            + case["memax_old_new_weight"] * groups.between_groups
            + case["memax_old_in_weight"] * groups.within_known
            + case["memax_new_in_weight"] * groups.within_novel
        )
        contrastive = info_nce(views(projections))
        prototypes = prototype_loss(case, directions, 0.1)
        distillation = feature_distillation(views(features), views(case.rows("feats_pre", False)))
        total = (
            cluster
            + contrastive
            + case["proto_aug_weight"] * prototypes
            + case["feat_distill_weight"] * distillation
        )
        total.backward()
        case.check("l_old_new", groups.between_groups)
        case.check("l_old_in", groups.within_known)
        case.check("l_new_in", groups.within_novel)
        case.check("cluster_loss", cluster)
        case.check("contrastive_loss", contrastive)
        case.check("proto_aug_loss", prototypes)
        case.check("feat_distill_loss", distillation)
        case.check("loss", total)
        case.check_grad("grad_proj", projections.grad)
        case.check_grad("grad_out", logits.grad)
        case.check_grad("grad_feats", features.grad)
        case.check_grad("grad_weight_v", directions.grad)


def ratios(case: Case, wait: str, ramp: str) -> list[float]:
    return [
        hard_ratio(epoch, case["init_ratio"], case["final_ratio"], case[ramp], case[wait])
        for epoch in range(case["nepochs"])
    ]


@pytest.mark.parity
def test_adaptive_pseudo_labels(parity):
    for case in map(Case, parity("protogcd_dapl")):
        schedule = ratios(case, "wait_ratio_epochs", "ramp_ratio_epochs")
        np.testing.assert_allclose(schedule, case["ratio_schedule"], rtol=1e-12)
        losses, targets, gradients = [], [], []
        for epoch in case["epochs"].tolist():
            logits, teacher = case.rows("student_output"), case.rows("teacher_output")
            settings = (schedule[epoch], case["temp_schedule"][epoch].item())
            targets.append(
                adaptive_targets(views(teacher), *settings).transpose(0, 1).flatten(0, 1)
            )
            losses.append(
                adaptive_pseudo_labels(
                    views(logits), *settings, case["temp_logits"], views(teacher)
                )
            )
            losses[-1].backward()
            assert teacher.grad is None
            gradients.append(logits.grad)
        case.check("loss", torch.stack(losses))
        case.check("targets", torch.stack(targets))
        case.check_grad("grad", torch.stack(gradients))


def along_the_sphere(directions: Tensor, gradient: Tensor) -> Tensor:
    """The part of a gradient with respect to unit rows that normalizing them inside leaves."""
    return gradient - (gradient * directions).sum(-1, keepdim=True) * directions


@pytest.mark.parity
def test_prototype_separation(parity):
    for case in map(Case, parity("protogcd_regs")):
        logits, directions = case.rows("logits"), case.rows("prototypes")
        entropy = mean_entropy(views(logits), case["temperature"])
        separation = prototype_separation(directions, case["temperature"])
        separation = separation * case["temperature"] / case["base_temperature"]
        (entropy + separation).backward()
        case.check("entropy", entropy)
        case.check_grad("grad_logits", logits.grad)
        case.check("separation", separation)
        wanted = along_the_sphere(directions.detach(), case["grad_prototypes"])
        torch.testing.assert_close(directions.grad, wanted, rtol=1e-4, atol=2e-6)


@pytest.mark.parity
def test_protogcd_step(parity):
    for case in map(Case, parity("protogcd_step")):
        projections, logits = case.rows("proj"), case.rows("out")
        directions = case.rows("prototypes")
        labels = case["labels"].where(case["mask_lab"], UNLABELED)
        student = case["temp_logits"]
        pseudo = adaptive_pseudo_labels(
            views(logits),
            ratios(case, "wait", "ramp")[case["epoch"]],
            case["temp_teacher"],
            student,
        )
        entropy = mean_entropy(views(logits), student)
        separation = prototype_separation(directions)
        labeled = cosine_cross_entropy(views(logits), labels, student)
        contrastive = info_nce(views(projections), case["temp_unsup_con"])
        supervised = supervised_contrastive(views(projections), labels, case["temp_sup_con"])
        cluster = pseudo + case["weight_entropy_reg"] * entropy
        cluster = cluster + case["weight_proto_sep"] * separation
        weight = case["weight_sup"]
        total = (1 - weight) * (cluster + contrastive) + weight * (labeled + supervised)
        total.backward()
        case.check("distill_loss", pseudo)
        case.check("entropy_reg_loss", entropy)
        case.check("proto_sep_loss", separation)
        case.check("cls_loss", labeled)
        case.check("contrastive_loss", contrastive)
        case.check("sup_con_loss", supervised)
        case.check("cluster_loss", cluster)
        case.check("loss", total)
        case.check_grad("grad_proj", projections.grad)
        case.check_grad("grad_out", logits.grad)
        wanted = along_the_sphere(directions.detach(), case["grad_prototypes"])
        torch.testing.assert_close(directions.grad, wanted, rtol=1e-4, atol=2e-6)


def test_weights_of_the_gcd_step():
    generator = torch.Generator().manual_seed(0)
    projections = torch.randn(12, 5, generator=generator).requires_grad_()
    logits = (torch.rand(12, 4, generator=generator) * 2 - 1).requires_grad_()
    labels = torch.tensor([0, UNLABELED, 1, 0, UNLABELED, 3])
    terms = gcd_terms(projections, logits, labels, 0.05)

    difference = gcd_total(terms, 0.35, 4.0) - gcd_total(terms, 0.35, 2.0)
    torch.testing.assert_close(difference, 0.65 * 2.0 * terms["mean_entropy"], rtol=1e-4, atol=0)

    only_labeled = torch.autograd.grad(gcd_total(terms, 1.0, 2.0), [projections, logits])
    for gradient in map(views, only_labeled):
        assert not gradient[labels == UNLABELED].any()
        assert gradient[labels != UNLABELED].any()

    other_terms = gcd_terms(projections, logits, torch.full((6,), 2), 0.05)
    assert gcd_total(terms, 0.0, 2.0) == gcd_total(other_terms, 0.0, 2.0)
