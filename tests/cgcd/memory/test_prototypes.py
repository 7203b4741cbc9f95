import numpy as np
import pytest
import torch
import torch.nn.functional as F
from sklearn.metrics.pairwise import cosine_similarity

from cgcd.memory import PrototypeMemory
from cgcd.vocabulary import UNLABELED


def random(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def remembering(means: list[list[float]]) -> PrototypeMemory:
    """A memory of one sample a class."""
    features = torch.tensor(means)
    memory = PrototypeMemory(features.shape[1])
    memory.remember_labeled(features, torch.arange(len(features)))
    return memory


@pytest.fixture
def memory() -> PrototypeMemory:
    filled = PrototypeMemory(6)
    filled.remember_labeled(random(40, 6), torch.arange(40) % 4)
    return filled


@pytest.mark.parity
def test_bookkeeping_of_the_released_code(parity):
    close = dict(rtol=1e-5, atol=1e-6)
    for case in parity("happy_prototypes"):
        arrays = {name: torch.from_numpy(a) for name, a in case.items() if name != "desc"}
        memory = PrototypeMemory(arrays["feats"].shape[1])

        memory.remember_labeled(arrays["feats"], arrays["labels"])
        assert len(memory) == arrays["num_classes"]
        torch.testing.assert_close(memory.means, arrays["prototypes"], **close)
        torch.testing.assert_close(memory.radius, arrays["radius"], **close)
        torch.testing.assert_close(memory.similarities, arrays["mean_similarity"], **close)
        hardness = [memory.hardness(t) for t in arrays["hardness_temps"].tolist()]
        torch.testing.assert_close(torch.stack(hardness), arrays["sampling_prob"], **close)

        memory.remember_predicted(
            arrays["online_feats"],
            arrays["online_logits"].argmax(-1),
            int(arrays["num_all"]),
            arrays["head_weight_v"],
        )
        assert len(memory) == arrays["num_all"]
        torch.testing.assert_close(memory.means, arrays["prototypes_after"], **close)
        torch.testing.assert_close(memory.radius, arrays["radius"], **close)
        torch.testing.assert_close(memory.similarities, arrays["mean_similarity_after"], **close)
        hardness = [memory.hardness(t) for t in arrays["hardness_temps"].tolist()]
        torch.testing.assert_close(torch.stack(hardness), arrays["sampling_prob_after"], **close)


@pytest.mark.parity
def test_sampling_probabilities_of_the_released_code(parity):
    for case in parity("happy_proto_aug"):
        memory = remembering(case["prototypes"].tolist())
        memory.similarities = torch.from_numpy(case["mean_similarity"])
        np.testing.assert_allclose(
            memory.hardness(case["hardness_temp"].item()), case["sampling_prob"], rtol=1e-5
        )


def test_radius_of_the_specification():
    memory = PrototypeMemory(2)
    memory.remember_labeled(torch.eye(2), torch.tensor([0, 0]))
    assert memory.radius.item() == pytest.approx(0.5)
    torch.testing.assert_close(memory.means, torch.full((1, 2), 0.5**0.5))


def test_radius_agrees_with_numpy_covariances():
    features, labels = random(30, 5), torch.arange(30) % 3
    memory = PrototypeMemory(5)
    memory.remember_labeled(features, labels)
    unit = F.normalize(features, dim=-1).numpy()
    traces = [np.trace(np.cov(unit[labels == c].T, bias=True)) for c in range(3)]
    assert memory.radius.item() == pytest.approx(np.sqrt(np.mean(traces) / 5), rel=1e-5)


def test_hardness_of_the_specification():
    memory = remembering([[1.0, 0, 0], [0.6, 0.8, 0], [0, 0, 1.0]])
    torch.testing.assert_close(memory.similarities, torch.tensor([0.3, 0.3, 0.0]))
    torch.testing.assert_close(
        memory.hardness(), torch.tensor([0.4879, 0.4879, 0.0243]), rtol=0, atol=1e-4
    )
    torch.testing.assert_close(memory.hardness(1e6), torch.full((3,), 1 / 3))


def test_similarities_agree_with_scikit_learn(memory):
    cosines = cosine_similarity(memory.means.numpy())
    np.fill_diagonal(cosines, np.nan)
    np.testing.assert_allclose(memory.similarities, np.nanmean(cosines, 1), rtol=1e-4, atol=1e-6)
    assert memory.hardness().sum().item() == pytest.approx(1)


def test_a_single_prototype():
    memory = remembering([[3.0, 4.0]])
    assert memory.hardness().tolist() == [1.0]
    assert memory.sample(3, torch.Generator()).classes.tolist() == [0, 0, 0]


def test_later_stages_leave_what_is_there(memory):
    means, radius = memory.means.clone(), memory.radius.clone()
    features, fallback = random(10, 6, seed=1), random(7, 6, seed=2)
    predictions = torch.tensor([0, 4, 4, 6, 1, 6, 6, 2, 3, 4])  # nothing is predicted as 5
    memory.remember_predicted(features, predictions, 7, fallback)

    assert len(memory) == 7
    assert torch.equal(memory.means[:4], means)
    assert torch.equal(memory.radius, radius)
    unit = F.normalize(features, dim=-1)
    torch.testing.assert_close(memory.means[4], F.normalize(unit[[1, 2, 9]].sum(0), dim=0))
    torch.testing.assert_close(memory.means[5], F.normalize(fallback[5], dim=0))
    torch.testing.assert_close(memory.means.norm(dim=1), torch.ones(7))

    before = memory.state_dict()
    memory.remember_predicted(features, predictions, 7, fallback)  # no new class
    assert all(torch.equal(before[name], value) for name, value in memory.state_dict().items())


def test_order_scale_and_hidden_labels_do_not_matter(memory):
    features, labels = random(40, 6), torch.arange(40) % 4
    order = torch.randperm(40, generator=torch.Generator().manual_seed(3))
    features = torch.cat([5 * features[order], random(3, 6, seed=4)])
    labels = torch.cat([labels[order], torch.full((3,), UNLABELED)])
    other = PrototypeMemory(6)
    other.remember_labeled(features, labels)
    torch.testing.assert_close(dict(other.state_dict()), dict(memory.state_dict()))


def test_neither_arguments_nor_their_graph_are_kept(memory):
    fallback = random(5, 6).requires_grad_()
    directions = fallback.detach().clone()
    memory.remember_predicted(torch.zeros(0, 6), torch.zeros(0), 5, fallback)
    assert not memory.means.requires_grad
    memory.means.mul_(2)
    assert torch.equal(fallback.detach(), directions)


def test_draws_follow_hardness_and_radius(memory):
    n = 40_000
    drawn = memory.sample(n, torch.Generator().manual_seed(0), 0.2, radius_scale=1.5)
    frequencies = drawn.classes.bincount(minlength=4) / n
    torch.testing.assert_close(frequencies, memory.hardness(0.2), rtol=0, atol=0.01)
    noise = drawn.features - memory.means[drawn.classes]
    assert noise.std().item() == pytest.approx(1.5 * memory.radius.item(), rel=0.01)
    assert noise.mean().item() == pytest.approx(0, abs=0.01)

    exact = memory.sample(9, torch.Generator(), radius_scale=0.0)
    assert torch.equal(exact.features, memory.means[exact.classes])


def test_hardness_is_asked_for_once_until_the_memory_changes(memory, monkeypatch):
    asked, own = [], PrototypeMemory.hardness
    monkeypatch.setattr(
        PrototypeMemory, "hardness", lambda self, t: asked.append(t) or own(self, t)
    )

    def drawn(temperature=0.1):
        classes = memory.sample(500, torch.Generator().manual_seed(0), temperature).classes
        return classes.bincount(minlength=4).tolist()

    before = drawn()
    assert drawn() == before and asked == [0.1]
    assert drawn(10.0) != before and drawn() == before and asked == [0.1, 10.0, 0.1]
    memory.similarities[0] = -5.0  # in place, as a checkpoint is loaded
    assert drawn()[0] == 0 and len(asked) == 4
    memory.remember_predicted(random(5, 6), torch.full((5,), 4), 5, random(5, 6))
    assert len(drawn()) == 5 and len(asked) == 5


def test_draws_depend_on_the_generator_alone(memory):
    state = torch.get_rng_state()
    first = memory.sample(8, torch.Generator().manual_seed(1))
    again = memory.sample(8, torch.Generator().manual_seed(1))
    other = memory.sample(8, torch.Generator().manual_seed(2))
    assert torch.equal(torch.get_rng_state(), state)
    assert torch.equal(first.features, again.features)
    assert torch.equal(first.classes, again.classes)
    assert not torch.equal(first.features, other.features)


def test_loading_grows_first(memory):
    outer = torch.nn.ModuleDict({"memory": PrototypeMemory(6)})
    assert len(outer["memory"]) == 0
    outer.load_state_dict({f"memory.{name}": v for name, v in memory.state_dict().items()})
    loaded = outer["memory"]
    assert all(torch.equal(v, loaded.state_dict()[k]) for k, v in memory.state_dict().items())
    ours, theirs = (m.sample(5, torch.Generator().manual_seed(0)) for m in (memory, loaded))
    assert torch.equal(ours.features, theirs.features)

    memory.load_state_dict(PrototypeMemory(6).state_dict())  # and shrinks
    assert len(memory) == 0
    with pytest.raises(RuntimeError, match="size mismatch for means"):
        memory.load_state_dict(PrototypeMemory(5).state_dict())


def test_precision_is_that_of_the_buffers():
    memory = PrototypeMemory(6)
    memory.remember_labeled(random(8, 6).half(), torch.arange(8) % 2)
    assert memory.means.dtype == memory.radius.dtype == torch.float32
    memory.double()
    memory.remember_labeled(random(8, 6), torch.arange(8) % 2)
    assert memory.sample(2, torch.Generator()).features.dtype == torch.float64


def test_bad_arguments(memory):
    empty = PrototypeMemory(6)
    with pytest.raises(ValueError, match="empty"):
        empty.sample(3, torch.Generator())
    with pytest.raises(ValueError, match=r"class 1, 3 of 0\.\.4"):
        empty.remember_labeled(random(3, 6), torch.tensor([0, 2, 4]))
    with pytest.raises(ValueError, match="none of the 3 features is labeled"):
        empty.remember_labeled(random(3, 6), torch.full((3,), UNLABELED))
    with pytest.raises(ValueError, match="none of the 0 features"):
        empty.remember_labeled(random(0, 6), torch.zeros(0))
    with pytest.raises(ValueError, match=r"wanted \(N, 6\) and \(N,\)"):
        memory.remember_labeled(random(3, 5), torch.zeros(3))
    with pytest.raises(ValueError, match="none can be forgotten"):
        memory.remember_predicted(random(3, 6), torch.zeros(3), 2, random(2, 6))
    with pytest.raises(ValueError, match=r"wanted \(5, 6\)"):
        memory.remember_predicted(random(3, 6), torch.zeros(3), 5, random(1, 6))
    with pytest.raises(ValueError, match="above 0"):
        memory.hardness(0.0)
