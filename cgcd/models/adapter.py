"""A small learned map of embeddings, for data whose features were computed before."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from cgcd.vocabulary import InputError


class Adapter(nn.Module):
    """norm(z + W2 gelu(W1 z)) with z = norm(x), (B, D) to (B, D): only norm until it learns.

    As the backbone of a `GCDModel` it stands for the blocks that would learn: the trunk is the
    identity, the whole of it the tail, and the embeddings count as pretrained. Features leave it
    with mean 0 and deviation 1 over their D values, the scale of a vision transformer's last layer
    norm, which the published learning rates and initial weights of what follows expect; embeddings
    of length 1 are D ** 0.5 times smaller.

    Args:
        dim: width D of the embeddings, > 0.
        hidden: width of the hidden layer, > 0.

    Source: the residual bottleneck of Houlsby et al., Parameter-Efficient Transfer Learning, ICML
    2019, arXiv 1902.00751, here on the features, with W2 exactly 0 at the start and both norms
    without weights of their own.
    """

    origin = "embeddings"

    def __init__(self, dim: int, hidden: int = 512) -> None:
        super().__init__()
        if dim < 1 or hidden < 1:
            raise InputError(
                f"an adapter's dim is {dim} and its hidden is {hidden}; wanted at least 1: set "
                "model.backbone.hidden=512"
            )
        self.dim = dim
        self.input_shape = (dim,)
        self.norm = nn.LayerNorm(dim, elementwise_affine=False)
        self.hidden = nn.Linear(dim, hidden)
        self.out = nn.Linear(hidden, dim)
        self.reset()

    def forward(self, vectors: Tensor) -> Tensor:
        normed = self.norm(vectors)
        return self.norm(normed + self.out(nn.functional.gelu(self.hidden(normed))))

    @torch.no_grad()
    def reset(self, generator: torch.Generator | None = None) -> None:
        """Draw the hidden layer anew and become the plain norm again, in place."""
        drawn = torch.empty(self.hidden.weight.shape)
        nn.init.trunc_normal_(drawn, std=0.02, generator=generator)
        self.hidden.weight.copy_(drawn)
        for zero in (self.hidden.bias, self.out.weight, self.out.bias):
            zero.zero_()
