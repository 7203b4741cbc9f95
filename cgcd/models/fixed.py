"""No backbone at all: the features are the embeddings as they were computed before."""

from __future__ import annotations

from torch import Tensor, nn


class FixedFeatures(nn.Module):
    """Embeddings (B, D) as they are, or brought to mean 0 and deviation 1 over their D values.

    As the backbone of a `GCDModel` its trunk and its tail have no parameter, so that projection and
    heads are all that learns, and features never move. Norm gives them the scale of a vision
    transformer's last layer norm, which the published learning rates expect; directions, and with
    them cosines, change by the subtracted mean only.

    Args:
        dim: width D of the embeddings, > 0.
        norm: bring each embedding to mean 0 and deviation 1.
    """

    origin = "embeddings"

    def __init__(self, dim: int, norm: bool = True) -> None:
        super().__init__()
        self.dim = dim
        self.input_shape = (dim,)
        self.norm = nn.LayerNorm(dim, elementwise_affine=False) if norm else nn.Identity()

    def forward(self, vectors: Tensor) -> Tensor:
        return self.norm(vectors)
