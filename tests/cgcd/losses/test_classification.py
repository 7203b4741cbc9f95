import pytest
import torch
from sklearn.metrics import log_loss

from cgcd.losses import cosine_cross_entropy
from cgcd.vocabulary import UNLABELED


def random(*shape: int) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(0), dtype=torch.float64)


def test_agrees_with_scikit_learn():
    logits, labels = random(6, 2, 4), torch.tensor([3, 0, 1, UNLABELED, 1, 2])
    labeled = labels != UNLABELED
    probabilities = (logits[labeled] / 0.2).softmax(-1).flatten(0, 1).numpy()
    truth = labels[labeled].repeat_interleave(2).numpy()
    expected = log_loss(truth, probabilities, labels=range(4))
    assert cosine_cross_entropy(logits, labels, 0.2).item() == pytest.approx(expected)


def test_no_view_axis_is_one_view():
    logits, labels = random(5, 4), torch.tensor([0, UNLABELED, 3, 1, 1])
    torch.testing.assert_close(
        cosine_cross_entropy(logits, labels), cosine_cross_entropy(logits[:, None], labels)
    )


def test_order_does_not_matter():
    logits, labels = random(5, 3, 4), torch.tensor([0, UNLABELED, 3, 1, 1])
    torch.testing.assert_close(
        cosine_cross_entropy(logits, labels),
        cosine_cross_entropy(logits.flip(0, 1), labels.flip(0)),
    )


@pytest.mark.parametrize("shape", [(3, 2, 4), (3, 4), (0, 2, 4)])
def test_none_labeled_is_zero_with_a_graph(shape):
    logits = torch.ones(shape, requires_grad=True)
    loss = cosine_cross_entropy(logits, torch.full(shape[:1], UNLABELED))
    loss.backward()
    assert loss.item() == 0
    assert not logits.grad.any()


def test_gradients():
    labels = torch.tensor([1, UNLABELED, 0])
    assert torch.autograd.gradcheck(
        lambda x: cosine_cross_entropy(x, labels, 0.5), random(3, 2, 4).requires_grad_()
    )


def test_one_label_for_each_image():
    with pytest.raises(ValueError, match="one label for each image"):
        cosine_cross_entropy(torch.zeros(3, 2, 4), torch.zeros(6, dtype=torch.long))
