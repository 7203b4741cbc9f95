"""Hash heads and class prototypes: released steps, hand-worked values, growth and loading."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from cgcd.losses import (
    center_cross_entropy,
    center_quantization,
    center_separation,
    class_scores,
    prototype_similarity,
    sign_quantization,
    supervised_contrastive,
)
from cgcd.models import ClassPrototypes, HashHead, HashTrunk, SignMagnitudeHead
from cgcd.models.hashing import magnitude
from cgcd.vocabulary import InputError

Case = dict[str, np.ndarray]
HEADS = {
    "trunk": lambda: HashTrunk(6, 8, 5),
    "hash": lambda: HashHead(6, 4, 8, 5),
    "sign and magnitude": lambda: SignMagnitudeHead(6, 4, 8, 5),
}


def random(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def load(module: nn.Module, case: Case, names: dict[str, str]) -> None:
    """Loads a fixture's weights; `names` maps its prefixes to ours."""
    found = {}
    for theirs, ours in names.items():
        for key, array in case.items():
            if key.startswith(f"{theirs}.") and not key.endswith("_after"):
                found[ours + key.removeprefix(theirs).removeprefix("" if ours else ".")] = (
                    torch.from_numpy(array)
                )
    module.load_state_dict(found)


def learned(case: Case, name: str) -> Tensor:
    return torch.tensor(case[name], requires_grad=True)


def assert_close(
    got: Tensor | None, case: Case, name: str, rtol: float = 1e-5, atol: float = 1e-6
) -> None:
    assert got is not None
    desc = f"{case['desc']}: {name}"
    np.testing.assert_allclose(got.detach().numpy(), case[name], rtol, atol, err_msg=desc)


def phe_parts(case: Case) -> tuple[nn.Sequential, ClassPrototypes, HashHead]:
    add_on = nn.Sequential(nn.Linear(case["cls_tokens"].shape[1], case["prototypes"].shape[1]))
    load(add_on, case, {"add_on_layers": ""})
    add_on.append(nn.GELU())
    prototypes = ClassPrototypes(case["prototypes"].shape[1], int(case["protos_per_class"]))
    prototypes.load_state_dict({"rows": torch.from_numpy(case["prototypes"])})
    hidden, bottleneck = len(case["hash_head.mlp.0.bias"]), len(case["hash_head.mlp.4.bias"])
    head = HashHead(case["prototypes"].shape[1], int(case["L"]), hidden, bottleneck)
    load(head, case, {"hash_head.mlp": "trunk", "hash_head.hash": "code"})
    return add_on, prototypes, head


@pytest.mark.parity
def test_a_step_of_the_released_phe(parity):
    for case in parity("phe_step"):
        add_on, prototypes, head = phe_parts(case)
        tokens, labels = learned(case, "cls_tokens"), torch.from_numpy(case["labels"])
        assert prototypes.num_classes == case["num_classes"]

        features = add_on(tokens)
        similarities = prototype_similarity(features, prototypes.rows)
        scores = class_scores(torch.from_numpy(case["mask"]) * similarities, prototypes.num_classes)
        codes = head(features)
        means = prototypes.class_means()
        centers = head(means)
        terms = {
            "loss_proto": F.cross_entropy(scores, labels),
            "loss_sep": center_separation(centers, int(case["d_max"])),
            "loss_quan": center_quantization(centers),
            "loss_feature": center_cross_entropy(codes, centers, labels),
        }
        alpha, beta = float(case["alpha"]), float(case["beta"])
        weights = dict(zip(terms, (1, alpha, alpha, beta), strict=True))
        total = sum(weights[name] * term for name, term in terms.items())
        total.backward()

        assert_close(similarities, case, "activations")
        assert_close(scores.log_softmax(-1), case, "log_probs")
        assert_close(codes, case, "hash_feat")
        assert_close(means, case, "class_means")
        # batch norm over a few class means: the released float32 is itself 5e-6 off its float64
        assert_close(centers, case, "hash_centers", atol=1e-5)
        for name, term in terms.items():
            assert_close(term, case, name)
        assert_close(total, case, "loss")
        assert_close(tokens.grad, case, "grad_cls_tokens", 1e-4)
        assert_close(prototypes.rows.grad, case, "grad_prototypes", 1e-4)
        assert_close(head.code.weight.grad, case, "grad_hash_weight", 1e-4)
        assert_close(add_on[0].weight.grad, case, "grad_add_on_weight", 1e-4)
        for name in ("running_mean", "running_var"):
            assert_close(getattr(head.trunk[5], name), case, f"hash_head.mlp.5.{name}_after")

        _, _, untouched = phe_parts(case)
        assert_close(untouched.eval()(features), case, "hash_feat_eval")


@pytest.mark.parity
def test_the_frozen_classifier_is_the_released_matrix(parity):
    for case in parity("phe_step"):
        similarities = torch.from_numpy(case["activations"]).double()
        frozen = torch.from_numpy(case["last_layer_weight"]).double()
        scores = class_scores(similarities, int(case["num_classes"]))
        torch.testing.assert_close(scores, similarities @ frozen.T)


@pytest.mark.parity
def test_prototypes_learn_from_every_term(parity):
    case = parity("phe_step")[0]
    add_on, prototypes, head = phe_parts(case)
    labels = torch.from_numpy(case["labels"])
    features = add_on(torch.from_numpy(case["cls_tokens"]))
    centers = head(prototypes.class_means())
    scores = class_scores(prototype_similarity(features, prototypes.rows), prototypes.num_classes)
    terms = [
        F.cross_entropy(scores, labels),
        center_separation(centers, 12),
        center_quantization(centers),
        center_cross_entropy(head(features), centers, labels),
    ]
    for term in terms:
        (gradient,) = torch.autograd.grad(term, prototypes.rows, retain_graph=True)
        assert gradient.any(1).all()


@pytest.mark.parity
def test_a_step_of_the_released_smile(parity):
    names = {"mlp": "trunk", "hash": "sign", "variance": "magnitude"}
    names |= {"bn_h": "sign_norm", "bn_v": "magnitude_norm"}
    for case in parity("smile_step"):
        rows, labels = learned(case, "backbone_feats"), torch.from_numpy(case["labels"])
        num_bits = len(case["bn_h.bias"])
        sizes = len(case["mlp.0.bias"]), len(case["mlp.4.bias"])
        head = SignMagnitudeHead(rows.shape[1], num_bits, *sizes)
        load(head, case, names)

        def views(stacked: Tensor) -> Tensor:
            return stacked.unflatten(0, (2, -1)).transpose(0, 1)

        signs, features = head(views(rows))
        assert signs.shape == (len(labels), 2, num_bits)
        contrast = supervised_contrastive(features, labels)
        quantization = sign_quantization(signs)
        total = contrast + 3 * quantization
        total.backward()

        for got, name in ((signs, "h"), (features / signs, "v")):
            assert_close(got.transpose(0, 1).flatten(0, 1), case, name)
        unit = F.normalize(features, dim=-1).transpose(0, 1).flatten(0, 1)
        assert_close(unit, case, "contrastive")
        assert_close(contrast, case, "supcon")
        assert_close(quantization, case, "reg")
        assert_close(total, case, "loss")
        assert_close(rows.grad, case, "grad_backbone_feats", 1e-4)
        assert_close(head.sign.weight.grad, case, "grad_hash_weight", 1e-4)
        assert_close(head.magnitude.weight.grad, case, "grad_variance_weight", 1e-4)

        load(head, case, names)
        assert_close(head.eval()(rows).signs, case, "h_eval")
        assert torch.equal(features > 0, signs > 0)


def test_magnitudes_of_the_specification():
    table = {0.01: 1.0000333, 0.5: 1.081977, 1: 1.313035, 2: 2.074629, -2: 2.074629, 0: 1}
    values = torch.tensor(list(table), dtype=torch.float64)
    expected = torch.tensor(list(table.values()), dtype=torch.float64)
    torch.testing.assert_close(magnitude(values), expected, rtol=0, atol=5e-7)

    signs = torch.tensor([2, -0.5, 0.1], dtype=torch.float64).tanh()
    magnitudes = magnitude(torch.tensor([1, -2, 0.5], dtype=torch.float64))
    for got, printed in (
        (signs, [0.964028, -0.462117, 0.099668]),
        (magnitudes, [1.313035, 2.074629, 1.081977]),
        (signs * magnitudes, [1.265802, -0.958722, 0.107838]),
    ):
        assert got.tolist() == pytest.approx(printed, abs=1e-6)


def test_magnitudes_are_smooth_and_at_least_one():
    values = torch.linspace(-3, 3, 31, dtype=torch.float64)
    values = torch.cat([values, torch.tensor([0, 9.9e-4, 1.01e-3, -1e-9])]).requires_grad_()
    assert (magnitude(values) >= 1).all()
    torch.testing.assert_close(magnitude(values), magnitude(-values), rtol=0, atol=0)
    assert torch.autograd.gradcheck(magnitude, values)
    zero = torch.zeros(3, requires_grad=True)
    magnitude(zero).sum().backward()
    assert not zero.grad.any()


def test_features_have_the_signs_of_the_code():
    head = SignMagnitudeHead(6, 7, 16, 8)
    for mode in (True, False):
        signs, features = head.train(mode)(random(20, 3, 6) * 5)
        assert torch.equal(signs.sign(), features.sign()) and signs.abs().max() <= 1
        assert (features.abs() >= signs.abs() * (1 - 1e-6)).all()


def test_both_branches_and_the_trunk_learn():
    head = SignMagnitudeHead(6, 7, 16, 8)
    frozen = nn.Linear(6, 6).requires_grad_(False)
    signs, features = head(frozen(random(10, 2, 6)))
    loss = supervised_contrastive(features, torch.arange(10) % 3) + 3 * sign_quantization(signs)
    loss.backward()
    assert all(p.grad is not None and p.grad.any() for p in head.parameters())
    assert all(p.grad is None for p in frozen.parameters())


@pytest.mark.parametrize("name", HEADS)
def test_leading_axes_are_samples(name):
    features = random(4, 3, 6)
    for mode in (True, False):
        head = HEADS[name]().train(mode)
        got, flat = head(features), head(features.flatten(0, 1))
        pairs = zip(got, flat, strict=True) if isinstance(got, tuple) else [(got, flat)]
        for many, few in pairs:
            torch.testing.assert_close(many.flatten(0, 1), few)
            assert many.shape[:2] == (4, 3)
    got = head(features[0, 0])  # one vector, in eval mode
    alone = got.signs if isinstance(got, tuple) else got
    assert alone.dim() == 1


@pytest.mark.parametrize("name", HEADS)
def test_reset_draws_everything_anew(name):
    head = HEADS[name]()
    head(3 + random(9, 6))  # moves the batch statistics
    head.reset(torch.Generator().manual_seed(4))
    for module in head.modules():
        if isinstance(module, nn.Linear):
            assert 0 < module.weight.abs().max() < 0.1
            assert module.bias is None or not module.bias.any()
        elif isinstance(module, nn.BatchNorm1d):
            assert not module.running_mean.any() and (module.running_var == 1).all()
            assert module.num_batches_tracked == 0
    other = HEADS[name]()
    other.reset(torch.Generator().manual_seed(4))
    for mine, its in zip(head.state_dict().values(), other.state_dict().values(), strict=True):
        assert torch.equal(mine, its)
    state = torch.get_rng_state()
    other.reset(torch.Generator())
    assert torch.equal(torch.get_rng_state(), state)


def test_weights_start_with_the_published_spread():
    trunk = HashTrunk(64, 256, 128)
    assert trunk[2].weight.std().item() == pytest.approx(0.02, rel=0.05)


@pytest.mark.parametrize("num_bits", [0, -1, 1025])
@pytest.mark.parametrize("made", [HashHead, SignMagnitudeHead])
def test_impossible_code_lengths_are_an_input_error(made, num_bits):
    with pytest.raises(InputError, match=f"code_length is {num_bits}; wanted .* 1 to 1024"):
        made(6, num_bits)


# prototypes


def test_prototypes_grow_and_keep_old_rows():
    prototypes = ClassPrototypes(5, 3)
    assert prototypes.num_classes == 0 and prototypes.class_means().shape == (0, 5)
    prototypes.grow(2, torch.Generator().manual_seed(0))
    before = prototypes.rows.detach().clone()
    assert before.shape == (6, 5) and (before >= 0).all() and (before < 1).all()
    prototypes.grow(2)
    prototypes.grow(4, torch.Generator().manual_seed(1))
    assert prototypes.num_classes == 4 and torch.equal(prototypes.rows[:6], before)
    assert prototypes.rows.requires_grad and prototypes.rows.is_leaf
    with pytest.raises(ValueError, match="prototypes of 4 classes and none can be forgotten; 3"):
        prototypes.grow(3)
    with pytest.raises(InputError, match="per_class is 0"):
        ClassPrototypes(5, 0)


def test_class_means_are_those_of_neighboring_rows():
    prototypes = ClassPrototypes(5, 3)
    prototypes.grow(4)
    means = prototypes.class_means()
    for c in range(4):
        torch.testing.assert_close(means[c], sum(prototypes.rows[3 * c + j] for j in range(3)) / 3)
    means[1].sum().backward()
    assert prototypes.rows.grad.any(1).tolist() == [c == 1 for c in range(4) for _ in range(3)]


def test_reset_redraws_the_prototypes_in_place():
    prototypes = ClassPrototypes(5, 3)
    prototypes.grow(4, torch.Generator().manual_seed(0))
    rows, old = prototypes.rows, prototypes.rows.detach().clone()
    prototypes.reset(torch.Generator().manual_seed(1))
    assert prototypes.rows is rows and not torch.equal(rows, old)
    prototypes.reset(torch.Generator().manual_seed(0))
    assert torch.equal(rows, old)


def test_prototypes_load_any_number_of_classes():
    stored = ClassPrototypes(5, 3)
    stored.grow(4)
    for size in (0, 2, 6):
        prototypes = ClassPrototypes(5, 3)
        prototypes.grow(size)
        prototypes.load_state_dict(stored.state_dict())
        assert torch.equal(prototypes.rows, stored.rows) and prototypes.rows.requires_grad
    for dim, per_class in ((6, 3), (5, 7)):
        with pytest.raises(RuntimeError, match="size mismatch for rows"):
            ClassPrototypes(dim, per_class).load_state_dict(stored.state_dict())
