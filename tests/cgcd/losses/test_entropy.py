import math

import pytest
import torch
from scipy.stats import entropy

from cgcd.losses import GroupEntropy, group_entropy, mean_entropy


def predicting(probabilities: list[float]) -> torch.Tensor:
    """Logits of one row, (1, 1, K), whose prediction at 0.1 is `probabilities`; log 0 is -inf."""
    return 0.1 * torch.tensor(probabilities, dtype=torch.float64).log()[None, None]


def random(*shape: int) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(0), dtype=torch.float64)


@pytest.mark.parametrize(
    "probabilities, num_known, expected",
    [
        ([1 / 60] * 60, 50, (0.242586, 0, 0)),
        ([1 / 100] * 100, 90, (0.368064, 0, 0)),
        ([0.4, 0.4, 0.1, 0.1], 2, (0.192745, 0, 0)),
        ([0.6, 0.2, 0.1, 0.1], 2, (0.192745, 0.130812, 0)),
        ([0.3, 0.2, 0.25, 0.25], 2, (0, 0.020136, 0)),
        ([0.5, 0.5, 0, 0], 2, (0.693147, 0, 0)),
    ],
)
def test_group_values_of_the_specification(probabilities, num_known, expected):
    found = group_entropy(predicting(probabilities), num_known)
    assert [term.item() for term in found] == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize(
    "probabilities, expected",
    [([0.25] * 4, 0), ([1.0, 0, 0, 0], 1.386294), ([0.5, 0.5, 0, 0], 0.693147)],
)
@pytest.mark.parametrize("dtype", [torch.float16, torch.float32, torch.float64])
def test_mean_values_of_the_specification(probabilities, expected, dtype):
    logits = predicting(probabilities).to(dtype).requires_grad_()
    loss = mean_entropy(logits)
    loss.backward()
    assert loss.item() == pytest.approx(expected, abs=1e-5)
    assert logits.grad.isfinite().all()


def test_agrees_with_scipy():
    logits = random(5, 2, 7)
    mean = (logits / 0.3).softmax(-1).mean((0, 1)).numpy()
    assert mean_entropy(logits, 0.3).item() == pytest.approx(math.log(7) - entropy(mean))
    known, novel = mean[:4], mean[4:]
    expected = (
        math.log(2) - entropy([known.sum(), novel.sum()]),
        math.log(4) - entropy(known),  # scipy normalizes within the group
        math.log(3) - entropy(novel),
    )
    assert [t.item() for t in group_entropy(logits, 4, 0.3)] == pytest.approx(expected)


@pytest.mark.parametrize("known_logit", [-100.0, 100.0, math.inf])
@pytest.mark.parametrize("dtype", [torch.float16, torch.float32, torch.float64])
def test_all_mass_on_one_group(known_logit, dtype):
    logits = torch.zeros(3, 2, 5, dtype=dtype)
    if known_logit == math.inf:
        logits[..., 3:] = -math.inf
    else:
        logits[..., :3] = known_logit
    logits.requires_grad_()
    terms = group_entropy(logits, 3)
    sum(terms).backward()
    assert terms.between_groups.item() == pytest.approx(math.log(2), abs=1e-6)
    assert terms.within_known.item() == pytest.approx(0, abs=1e-6)
    assert terms.within_novel.item() == pytest.approx(0, abs=1e-6)
    assert logits.grad.isfinite().all()


def test_single_novel_class():
    logits = random(4, 2, 6).requires_grad_()
    term = group_entropy(logits, 5).within_novel
    term.backward()
    assert term.item() == 0
    assert logits.grad.abs().max() < 1e-12


def test_bounds_and_symmetry():
    for scale in (0.1, 1.0, 30.0):
        logits = (scale * random(6, 2, 9)).float()
        terms = group_entropy(logits, 5)
        for term, size in zip(terms, (2, 5, 4), strict=True):
            assert -1e-6 <= term.item() <= math.log(size) + 1e-6
        order = torch.tensor([4, 2, 0, 1, 3, 8, 6, 7, 5])  # within the groups
        shuffled = group_entropy(logits.flip(0, 1)[..., order], 5)
        torch.testing.assert_close(tuple(shuffled), tuple(terms), rtol=1e-5, atol=1e-6)
        torch.testing.assert_close(
            mean_entropy(logits), mean_entropy(logits.flip(0, 1)), rtol=1e-5, atol=1e-6
        )


@pytest.mark.parametrize(
    "given, computed",
    [
        (torch.float16, torch.float32),
        (torch.bfloat16, torch.float32),
        (torch.float32, torch.float32),
        (torch.float64, torch.float64),
    ],
)
def test_precision(given, computed):
    logits = torch.zeros(2, 2, 4, dtype=given)
    assert mean_entropy(logits).dtype == computed
    assert {term.dtype for term in group_entropy(logits, 2)} == {computed}


def test_gradients():
    logits = (0.3 * random(3, 2, 5)).requires_grad_()
    assert torch.autograd.gradcheck(lambda x: mean_entropy(x, 0.5), logits)
    assert torch.autograd.gradcheck(lambda x: tuple(group_entropy(x, 3, 0.5)), logits)


def test_names_are_the_terms_of_the_recipe():
    assert GroupEntropy._fields == ("between_groups", "within_known", "within_novel")


@pytest.mark.parametrize("num_known", [-1, 0, 4, 5])
def test_both_groups_need_a_class(num_known):
    with pytest.raises(ValueError, match="wanted 1 to 3"):
        group_entropy(torch.zeros(2, 2, 4), num_known)
