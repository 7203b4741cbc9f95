"""Analytic: ridge regression on random features, exact after any order of stages."""

from __future__ import annotations

from typing import Any

import torch

from cgcd.engine import ClosedFormStrategy
from cgcd.engine.parametric import BASE
from cgcd.models import GaussianHead, GCDModel, RidgeHead

__all__ = ["BASE", "Analytic"]


class Analytic(ClosedFormStrategy):
    """Sums of products of random features are all it keeps; one Cholesky solve gives the head.

    The head is that of all samples at once, whatever the order of the stages. It proposes no
    classes itself: class Gaussians do and relabel, and what they keep as new enters the sums.

    Args:
        model: shared model.
        num_features: random features.
        penalty: of the ridge, relative to the mean diagonal of the base stage's sums; None chooses
            it by five-fold accuracy on the labeled samples.
        balanced: every sample counts one over the size of its class.
        single_precision: keeps the sums in float32: half the memory, four to five digits.
        num_components, blend: of the Gaussians that relabel, see `strategies.Gaussian`.
        **closed_form: arguments of `ClosedFormStrategy`: base, tune_base, proposal, ...

    Source: Zhuang et al., ACIL, NeurIPS 2022, arXiv 2205.14922; McDonnell et al., RanPAC, NeurIPS
    2023, arXiv 2307.02251. Both have labels at every stage; discovery is ours.
    """

    def __init__(
        self,
        *,
        model: GCDModel,
        num_features: int = 3000,
        penalty: float | None = None,
        balanced: bool = False,
        single_precision: bool = False,
        num_components: int | None = 384,
        blend: float = 10.0,
        **closed_form: Any,
    ) -> None:
        super().__init__(model=model, **closed_form)
        self.num_features, self.penalty, self.balanced = num_features, penalty, balanced
        self.single_precision, self.num_components, self.blend = (
            single_precision,
            num_components,
            blend,
        )
        self._ridge = RidgeHead(
            model.dim,
            num_features=num_features,
            penalty=penalty,
            balanced=balanced,
            seed=self.seed,
            dtype=torch.float32 if single_precision else torch.float64,
        ).to(self.device)
        self._gaussians = GaussianHead(model.dim, num_components=num_components, blend=blend).to(
            self.device
        )

    @property
    def classifier(self) -> RidgeHead:
        return self._ridge

    @property
    def scorer(self) -> GaussianHead:
        return self._gaussians
