"""The words shared by every layer: the mark of a hidden label, the model's output, the one error.

Shape letters, the same in every docstring: B batch, V views, D feature, P projection, K classes,
N samples of a stage, L hash bits, C H W image.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from torch import Tensor

UNLABELED = -1
"""The label of a sample whose class is hidden."""

SCHEMA_VERSION = 1
"""Version of configs, results and checkpoints; a reader refuses a newer one."""


class GCDOutput(NamedTuple):
    """What a `GCDModel` gives for B images under V views.

    Attributes:
        features: backbone features, not normalized, (B, V, D).
        projections: output of the projection head, not normalized, (B, V, P).
        logits: cosine similarities of features and class directions in [-1, 1], (B, V, K).
    """

    features: Tensor
    projections: Tensor
    logits: Tensor


class InputError(ValueError):
    """Something a user gave cannot be used; the message says what, what was wanted and the mend.

    The command line prints the message alone and exits with code 2.
    """
