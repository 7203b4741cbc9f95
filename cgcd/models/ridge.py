"""Ridge regression to one-hot classes from accumulated products: exact, and in any order."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from cgcd.memory.rows import make_room
from cgcd.models.random_features import RandomFeatures

PENALTIES = (1e-3, 1e-2, 1e-1, 1.0, 1e1, 1e2, 1e3)
"""Penalties to choose from, relative to the mean diagonal of the accumulated products."""
CHUNK = 4096
"""Samples whose random features exist at once."""
KEPT_INPUTS = 2**29
"""Bytes of random features that are kept while penalties are compared; more are made twice."""
STRIP = 500
"""Rows of the symmetric sums that are computed at once, up to the diagonal."""


class RidgeRegression(nn.Module):
    """W = (H'H + g I)^-1 H'Y from the sums G = H'H and Q = H'Y, solved by one Cholesky factor.

    Whatever the order and the parts in which samples came, W is that of all of them at once. A part
    can be taken back, and `penalty` changed at any time. The recursive form, which updates the
    inverse, is the same in exact arithmetic and loses all its digits in float32.

    The buffers hold `gram` (M, M), `moments` (M, K) and `counts` (K,), sums of weights. A state
    dict of any number of classes loads.

    Args:
        width: M, of the inputs.
        penalty: g, > 0.
        dtype: of the sums; torch.float32 halves the memory and keeps four to five digits.

    Source: Zhuang et al., ACIL, NeurIPS 2022, arXiv 2205.14922; McDonnell et al., RanPAC, NeurIPS
    2023, arXiv 2307.02251, which accumulate the same sums.
    """

    gram: Tensor
    moments: Tensor
    counts: Tensor
    penalty: Tensor

    def __init__(
        self, width: int, penalty: float = 1.0, dtype: torch.dtype = torch.float64
    ) -> None:
        super().__init__()
        if not penalty > 0:
            raise ValueError(f"penalty is {penalty}; wanted a number above 0")
        self.register_buffer("gram", torch.zeros(width, width, dtype=dtype))
        self.register_buffer("moments", torch.zeros(width, 0, dtype=dtype))
        self.register_buffer("counts", torch.zeros(0, dtype=torch.float64))
        self.register_buffer("penalty", torch.tensor(float(penalty), dtype=torch.float64))
        self._weights: Tensor | None = None

    @property
    def num_classes(self) -> int:
        return self.moments.shape[1]

    @torch.no_grad()
    def grow(self, num_classes: int) -> None:
        """Adds classes without a sample up to the absolute number."""
        extra = num_classes - self.num_classes
        if extra < 0:
            raise ValueError(
                f"num_classes is {num_classes}, but there are {self.num_classes} and none can be "
                "forgotten; give the number of all classes, not of the novel ones"
            )
        self.moments = nn.functional.pad(self.moments, (0, extra))
        self.counts = nn.functional.pad(self.counts, (0, extra))
        self._weights = None

    @torch.no_grad()
    def add(self, inputs: Tensor, labels: Tensor, weights: Tensor | None = None) -> None:
        """Takes in samples.

        Args:
            inputs: (N, M).
            labels: in [0, K), (N,).
            weights: of each sample, (N,); None: 1. Minus 1 takes a sample back.
        """
        if len(labels) and not (0 <= int(labels.min()) and int(labels.max()) < self.num_classes):
            raise ValueError(
                f"labels from {int(labels.min())} to {int(labels.max())} for {self.num_classes} "
                "classes; grow first"
            )
        rows, labels = inputs.to(self.gram), labels.to(self.gram.device)
        weighed = rows if weights is None else rows * weights.to(rows)[:, None]
        for first in range(0, len(self.gram), STRIP):  # the upper triangle is the lower one
            strip = slice(first, first + STRIP)
            self.gram[strip, : first + STRIP] += weighed[:, strip].T @ rows[:, : first + STRIP]
            self.gram[:first, strip] = self.gram[strip, :first].T
        targets = nn.functional.one_hot(labels, self.num_classes).to(rows)
        self.moments += weighed.T @ targets
        mass = torch.ones(len(labels)) if weights is None else weights
        self.counts.index_add_(0, labels, mass.to(self.counts))
        self._weights = None

    @torch.no_grad()
    def merge(self, other: RidgeRegression) -> None:
        """Takes in the sums of other samples of the same classes."""
        self.gram += other.gram
        self.moments = self.moments + other.moments
        self.counts = self.counts + other.counts
        self._weights = None

    @property
    def mean_diagonal(self) -> float:
        """Mean of the diagonal of H'H: what a penalty is large or small beside."""
        return float(self.gram.diagonal().mean())

    @property
    def weights(self) -> Tensor:
        """W, (M, K), solved when it is first asked for."""
        if self._weights is None or self._weights.device != self.gram.device:
            self._weights = solved(self.gram, self.moments, float(self.penalty))
        return self._weights

    @torch.no_grad()
    def forward(self, inputs: Tensor) -> Tensor:
        """h W, (N, K), for inputs (N, M): near 1 for the class, near 0 for the others."""
        return inputs.to(self.gram) @ self.weights

    def _load_from_state_dict(
        self, state_dict: dict[str, Any], prefix: str, *args: Any, **kwargs: Any
    ) -> None:
        moments, counts = (state_dict.get(prefix + name) for name in ("moments", "counts"))
        # Another width is left alone: torch then reports the mismatch.
        if moments is not None and len(moments) == len(self.moments):
            self.moments = self.moments.new_zeros(moments.shape)
        if counts is not None:
            self.counts = self.counts.new_zeros(counts.shape)
        super()._load_from_state_dict(state_dict, prefix, *args, **kwargs)
        self._weights = None


class RidgeHead(nn.Module):
    """Ridge regression on random features: a head without means, covariances or a gradient.

    Args:
        dim: D, the width of the features.
        num_features: M, random features.
        penalty: of the ridge, relative to the mean diagonal of the labeled classes' products; None
            chooses one of `PENALTIES` by five-fold accuracy on the labeled samples. Either is fixed
            in `remember`: later samples have guessed labels.
        balanced: a sample of a class of n counts 1 / n, so that no class is favored by its size; n
            is the number that the class was made of, for later samples of it too.
        seed: of the random features and of the folds.
        dtype: of the accumulated sums.

    Source: RanPAC, arXiv 2307.02251; 3000 features are those of DYDM's memory branch. RanPAC
    chooses its penalty anew at every task, on labels that discovery does not have.
    """

    sizes: Tensor
    """Samples that each class was made of, (K,)."""

    def __init__(
        self,
        dim: int,
        *,
        num_features: int = 3000,
        penalty: float | None = None,
        balanced: bool = False,
        seed: int = 0,
        dtype: torch.dtype = torch.float64,
    ) -> None:
        super().__init__()
        if penalty is not None and not penalty > 0:
            raise ValueError(f"penalty is {penalty}; wanted a number above 0, or none to choose it")
        self.relative_penalty, self.balanced, self.seed = penalty, balanced, seed
        self.random = RandomFeatures(dim, num_features, seed)
        self.regression = RidgeRegression(num_features, dtype=dtype)
        self.register_buffer("sizes", torch.zeros(0, dtype=torch.float64))

    @property
    def num_classes(self) -> int:
        return self.regression.num_classes

    @torch.no_grad()
    def remember(self, features: Tensor, labels: Tensor) -> None:
        """Starts anew from labeled features (N, D) and labels (N,), 0 .. K-1; sets the penalty."""
        regression, num_classes = self.regression, int(labels.max()) + 1
        regression.gram = torch.zeros_like(regression.gram)
        regression.moments, regression.counts = regression.moments[:, :0], regression.counts[:0]
        regression.grow(num_classes)
        self.sizes = labels.bincount().to(self.sizes)
        share = self.relative_penalty
        if share is None:
            share = self._chosen_penalty(features, labels)
        else:
            self._add(regression, features, labels, self._weights(labels))
        regression.penalty.fill_(max(share * regression.mean_diagonal, 1e-300))

    @torch.no_grad()
    def append(self, features: Tensor, labels: Tensor, num_classes: int) -> None:
        """Adds classes up to `num_classes`; rows of other labels are left out."""
        chosen = labels >= self.num_classes
        fresh = labels[chosen].bincount(minlength=num_classes)[self.num_classes :]
        self.sizes = torch.cat([self.sizes, fresh.to(self.sizes)])
        self.regression.grow(num_classes)
        labels = labels[chosen]
        self._add(self.regression, features[chosen], labels, self._weights(labels))

    @torch.no_grad()
    def update(self, features: Tensor, labels: Tensor, weight: float = 1.0) -> None:
        """Takes in samples of classes that are there, each counting `weight`."""
        self._add(self.regression, features, labels, self._weights(labels, weight))

    @torch.no_grad()
    def forward(self, features: Tensor) -> Tensor:
        """Regressed one-hot targets, (N, K), for features (N, D)."""
        return self.regression(self.random(features))

    def _weights(self, labels: Tensor, weight: float = 1.0) -> Tensor | None:
        if weight == 1 and not self.balanced:
            return None
        weights = torch.full((len(labels),), weight, device=labels.device, dtype=torch.float64)
        return weights / self.sizes.to(labels.device)[labels] if self.balanced else weights

    def _load_from_state_dict(
        self, state_dict: dict[str, Any], prefix: str, *args: Any, **kwargs: Any
    ) -> None:
        make_room(self, state_dict, prefix, ("sizes",))
        super()._load_from_state_dict(state_dict, prefix, *args, **kwargs)

    def _add(
        self, regression: RidgeRegression, features: Tensor, labels: Tensor, weights: Tensor | None
    ) -> None:
        for first in range(0, len(labels), CHUNK):
            some = slice(first, first + CHUNK)
            own = None if weights is None else weights[some]
            regression.add(self.random(features[some]), labels[some], own)

    def _chosen_penalty(self, features: Tensor, labels: Tensor, num_folds: int = 5) -> float:
        """Takes in the samples; the one of `PENALTIES` with the best accuracy on held-out folds.

        The smallest of equals. Each fold's sums are made once: those of the others are the total
        less its own.
        """
        order = np.random.default_rng(self.seed).permutation(len(labels))
        fold = torch.as_tensor(np.arange(len(labels)) % num_folds)[torch.as_tensor(order).argsort()]
        whole, parts, weights = self.regression, [], self._weights(labels)
        keeps = len(labels) * len(whole.gram) * whole.gram.element_size() <= KEPT_INPUTS
        for index in range(num_folds):
            part = RidgeRegression(len(whole.gram), dtype=whole.gram.dtype).to(features.device)
            part.grow(whole.num_classes)
            held = (fold == index).to(features.device)
            inputs = None
            if keeps:
                inputs = self.random(features[held]).to(whole.gram)
                part.add(inputs, labels[held], None if weights is None else weights[held])
            else:
                own = None if weights is None else weights[held]
                self._add(part, features[held], labels[held], own)
            whole.merge(part)
            parts.append((part, held, inputs))
        right = torch.zeros(len(PENALTIES))
        for part, held, inputs in parts:
            if inputs is None:
                inputs = self.random(features[held]).to(whole.gram)
            gram, moments = whole.gram - part.gram, whole.moments - part.moments
            unit = float(gram.diagonal().mean())
            solutions = [solved(gram, moments, max(share * unit, 1e-300)) for share in PENALTIES]
            answers = (inputs @ torch.cat(solutions, 1)).unflatten(1, (len(PENALTIES), -1))
            right += (answers.argmax(2) == labels[held, None]).sum(0).to(right)
        return PENALTIES[int(right.argmax())]


def solved(gram: Tensor, moments: Tensor, penalty: float) -> Tensor:
    """(G + g I)^-1 Q by Cholesky.

    Raises:
        ValueError: if G + g I is not positive definite to the precision of its numbers.
    """
    own = gram.diagonal().clone()
    gram.diagonal().add_(penalty)  # a copy as large as G takes longer
    try:
        factor, failed = torch.linalg.cholesky_ex(gram)
    finally:
        gram.diagonal().copy_(own)
    if int(failed):
        raise ValueError(
            f"a penalty of {penalty:.3g} is too small for products with a mean diagonal of "
            f"{float(gram.diagonal().mean()):.3g}; raise it or use float64"
        )
    return torch.cholesky_solve(moments, factor)
