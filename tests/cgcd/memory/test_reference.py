import numpy as np
import pytest
import torch
import torch.nn.functional as F

from cgcd.memory import ReferenceMemory
from cgcd.vocabulary import UNLABELED


def drawn(num_classes: int, per_class: int, dim: int, seed: int = 0):
    """Features of classes that share a covariance which is not round."""
    generator = np.random.default_rng(seed)
    mix = generator.standard_normal((dim, dim)) / dim
    labels = np.repeat(np.arange(num_classes), per_class)
    means = generator.standard_normal((num_classes, dim))
    features = means[labels] + generator.standard_normal((len(labels), dim)) @ mix
    return torch.tensor(features, dtype=torch.float32), torch.tensor(labels)


def pooled(features: torch.Tensor, labels: torch.Tensor) -> np.ndarray:
    """Covariance within classes, class by class."""
    rows, groups = features.double().numpy(), labels.numpy()
    scatter = sum(
        np.cov(rows[groups == c].T) * ((groups == c).sum() - 1) for c in np.unique(groups)
    )
    return scatter / (len(rows) - len(np.unique(groups)))


@pytest.mark.parametrize("normalize", [True, False])
def test_full_rank_keeps_both_moments(normalize):
    features, labels = drawn(3, 40, 6)
    memory = ReferenceMemory(6, normalize=normalize)
    memory.remember(features, labels)
    rows = F.normalize(features, dim=1) if normalize else features
    for c in range(3):
        torch.testing.assert_close(memory.means[c], rows[labels == c].mean(0))
    assert memory.counts.tolist() == [40, 40, 40]
    found = memory.factor @ memory.factor.T + memory.residual * torch.eye(6)
    np.testing.assert_allclose(found, pooled(rows, labels), atol=1e-6)


def test_draws_have_the_moments_of_the_memory():
    features, labels = drawn(2, 200, 5)
    memory = ReferenceMemory(5, rank=2)
    memory.remember(features, labels)
    memory.append(torch.full((1, 5), 0.1))
    sample = memory.sample(40_000, torch.Generator().manual_seed(0))
    assert sample.labels.bincount().tolist() == [40_000] * 3
    for c in range(3):
        of_class = sample.features[sample.labels == c]
        torch.testing.assert_close(of_class.mean(0), memory.means[c], atol=5e-3, rtol=0)
    wanted = memory.factor @ memory.factor.T + memory.residual * torch.eye(5)
    found = torch.as_tensor(pooled(sample.features, sample.labels), dtype=torch.float32)
    torch.testing.assert_close(found, wanted, atol=5e-3 * float(wanted.trace()), rtol=0.02)


def test_low_rank_keeps_the_total_and_the_leading_variances():
    features, labels = drawn(4, 50, 8)
    memory = ReferenceMemory(8, rank=3, normalize=False)
    memory.remember(features, labels)
    covariance = memory.factor @ memory.factor.T + memory.residual * torch.eye(8)
    exact = np.linalg.eigvalsh(pooled(features, labels))
    np.testing.assert_allclose(float(covariance.trace()), exact.sum(), rtol=1e-5)
    found = np.linalg.eigvalsh(covariance.double())
    np.testing.assert_allclose(found[-3:], exact[-3:], rtol=1e-4)
    np.testing.assert_allclose(found[:5], exact[:5].mean(), rtol=1e-3)


def test_later_classes_leave_the_rest_alone_and_hidden_rows_do_not_count():
    features, labels = drawn(3, 10, 6)
    memory, other = ReferenceMemory(6), ReferenceMemory(6)
    memory.remember(features, labels)
    other.remember(torch.cat([features, features[:4]]), F.pad(labels, (0, 4), value=UNLABELED))
    assert all(torch.equal(a, b) for a, b in zip(memory.buffers(), other.buffers(), strict=True))
    other.append(torch.ones(2, 6), torch.tensor([5, 7]))
    assert len(other) == 5 and other.counts.tolist() == [10, 10, 10, 5, 7]
    assert torch.equal(other.means[:3], memory.means)
    assert torch.equal(other.factor, memory.factor)


def test_classes_of_one_sample_and_rank_zero():
    memory = ReferenceMemory(4, rank=0)
    memory.remember(torch.eye(4), torch.arange(4))
    sample = memory.sample(2, torch.Generator().manual_seed(0))
    torch.testing.assert_close(sample.features, torch.eye(4).repeat_interleave(2, 0))


def test_a_state_of_any_size_loads():
    features, labels = drawn(3, 10, 6)
    memory = ReferenceMemory(6, rank=2)
    memory.remember(features, labels)
    fresh = ReferenceMemory(6)
    fresh.load_state_dict(memory.state_dict())
    one, two = (m.sample(4, torch.Generator().manual_seed(1)) for m in (memory, fresh))
    assert torch.equal(one.features, two.features)
    with pytest.raises(RuntimeError, match="size mismatch"):
        ReferenceMemory(5).load_state_dict(memory.state_dict())


def test_bad_arguments():
    memory = ReferenceMemory(6)
    with pytest.raises(ValueError, match="memory is empty"):
        memory.sample(1, torch.Generator())
    with pytest.raises(ValueError, match=r"none of class \[1\]"):
        memory.remember(torch.ones(2, 6), torch.tensor([0, 2]))
    with pytest.raises(ValueError, match="0 labeled features"):
        memory.remember(torch.ones(2, 6), torch.full((2,), UNLABELED))
    with pytest.raises(ValueError, match=r"\(N, 6\)"):
        memory.remember(torch.ones(2, 5), torch.zeros(2))
    with pytest.raises(ValueError, match=r"\(M, 6\)"):
        memory.append(torch.ones(2, 5))
    with pytest.raises(ValueError, match=r"wanted \(2,\)"):
        memory.append(torch.ones(2, 6), torch.ones(3))
    with pytest.raises(ValueError, match="rank is -1"):
        ReferenceMemory(6, rank=-1)
    memory.remember(torch.ones(2, 6), torch.tensor([0, 0]))
    with pytest.raises(ValueError, match="per_class is 0"):
        memory.sample(0, torch.Generator())
