"""Gaussian: shrunk class Gaussians of features that stay, tied or one covariance a class."""

from __future__ import annotations

from typing import Any

from cgcd.engine import ClosedFormStrategy
from cgcd.engine.parametric import BASE
from cgcd.models import FeCAMHead, GaussianHead, GCDModel
from cgcd.models.shrinkage import LEAST_SHRINKAGE
from cgcd.vocabulary import InputError

__all__ = ["BASE", "Gaussian"]

COVARIANCES = ("per_class", "tied", "fecam", "fecam_cnn")


class Gaussian(ClosedFormStrategy):
    """A mean and a covariance a class: what few samples cannot tell is taken from all classes.

    Principal components and the tied covariance are those of the labeled base samples, for good.
    The covariance of a class is its own after Ledoit-Wolf shrinkage, blended with the tied one the
    more the fewer samples it has. Clusters are sought among the principal components, and the same
    Gaussians relabel.

    Args:
        model: shared model.
        covariance: "per_class" (quadratic discriminants), "tied" (linear ones), "fecam", or
            "fecam_cnn" for features >= 0.
        num_components: principal components to keep; None, or more than there are features, keeps
            the features. FeCAM goes without.
        blend: samples that the tied covariance counts for in that of a class, >= 0.
        least_shrinkage: floor of the shrinkage, in [0, 1].
        log_determinant: False scores by the Mahalanobis distance alone.
        score_temperature: 1 gives probabilities under equal priors.
        **closed_form: arguments of `ClosedFormStrategy`: base, tune_base, proposal, ...

    Source: VB-CGCD, ICML 2025, arXiv 2507.17382, for Gaussians on 384 components of frozen
    features, without its variational fit; FeCAM, NeurIPS 2023, arXiv 2309.14062. Blend and
    floor are ours: 25 samples a class support no covariance of 384 features.
    """

    def __init__(
        self,
        *,
        model: GCDModel,
        covariance: str = "per_class",
        num_components: int | None = 384,
        blend: float = 10.0,
        least_shrinkage: float = LEAST_SHRINKAGE,
        log_determinant: bool = True,
        score_temperature: float = 1.0,
        **closed_form: Any,
    ) -> None:
        if covariance not in COVARIANCES:
            raise InputError(
                f"covariance is {covariance!r}; wanted one of {', '.join(COVARIANCES)}"
            )
        super().__init__(model=model, score_temperature=score_temperature, **closed_form)
        self.covariance, self.num_components, self.blend = covariance, num_components, blend
        self.least_shrinkage, self.log_determinant = least_shrinkage, log_determinant
        self._gaussians: GaussianHead
        if covariance.startswith("fecam"):
            recipe = "cnn" if covariance == "fecam_cnn" else "vit"
            self._gaussians = FeCAMHead(model.dim, recipe).to(self.device)
        else:
            self._gaussians = GaussianHead(
                model.dim,
                covariance=covariance,
                num_components=num_components,
                blend=blend,
                least_shrinkage=least_shrinkage,
                log_determinant=log_determinant,
            ).to(self.device)

    @property
    def classifier(self) -> GaussianHead:
        return self._gaussians
