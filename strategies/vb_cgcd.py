"""VB-CGCD: class Gaussians on fixed features, cluster, relabel, fit again."""

from __future__ import annotations

from typing import Any

from cgcd.engine import ClosedFormStrategy
from cgcd.engine.parametric import BASE
from cgcd.models import GaussianHead, GCDModel, SteppedGaussianHead
from cgcd.models.shrinkage import LEAST_SHRINKAGE
from cgcd.vocabulary import InputError

__all__ = ["BASE", "VBCGCD"]

FITS = ("steps", "closed")


class VBCGCD(ClosedFormStrategy):
    """Every class a Gaussian on principal components; a whole stage is clustered as if it were new.

    The clusters make provisional Gaussians, every sample goes to the best of all, and the new
    classes are fitted again to what they keep. Known Gaussians never change.

    Args:
        model: shared model.
        fit: "steps" as published: a fixed number of small Adam steps from N(0, I). "closed" is the
            stand-in: shrunk covariances scaled to the volume of the known ones.
        num_components: principal components to keep; None, or more than there are, keeps all.
        steps, learning_rate, stop_early: of "steps", see `cgcd.models.SteppedGaussianHead`.
        blend, least_shrinkage: of "closed", see `cgcd.models.GaussianHead`.
        volume_ratio: of "closed": new classes get the mean log volume of the known ones less this;
            None leaves them as they are.
        proposal: "cluster_all" is the paper's.
        score_temperature: 1 gives probabilities under equal priors.
        **closed_form: arguments of `ClosedFormStrategy`: base, tune_base, relabel_rounds, ...

    Source: VB-CGCD, ICML 2025, arXiv 2507.17382, and its code, which differs: there clusters are a
    Gaussian mixture of unreduced features, samples keep their cluster as label, and all classes of
    the whole stream are scored from the start. Here only classes that were met are, and labels are
    the second look's, as the paper says. The paper tunes adapters on the labeled classes; here the
    base stage is that of the other methods. "closed" is ours.
    """

    def __init__(
        self,
        *,
        model: GCDModel,
        fit: str = "steps",
        num_components: int | None = 384,
        steps: int = 1000,
        learning_rate: float = 4e-5,
        stop_early: bool = True,
        blend: float = 10.0,
        least_shrinkage: float = LEAST_SHRINKAGE,
        volume_ratio: float | None = 0.0,
        proposal: str = "cluster_all",
        score_temperature: float = 1.0,
        **closed_form: Any,
    ) -> None:
        if fit not in FITS:
            raise InputError(f"fit is {fit!r}; wanted 'steps' or 'closed'")
        if fit == "steps" and closed_form.get("update_known"):
            raise InputError(
                f"update_known is {closed_form['update_known']}, but Gaussians fitted by steps "
                "never change; set strategy.update_known=0 or strategy.fit=closed"
            )
        super().__init__(
            model=model, proposal=proposal, score_temperature=score_temperature, **closed_form
        )
        self.fit, self.num_components = fit, num_components
        self.steps, self.learning_rate, self.stop_early = steps, learning_rate, stop_early
        self.blend, self.least_shrinkage = blend, least_shrinkage
        self.volume_ratio = volume_ratio
        self._gaussians: GaussianHead
        if fit == "steps":
            self._gaussians = SteppedGaussianHead(
                model.dim,
                num_components=num_components,
                steps=steps,
                learning_rate=learning_rate,
                stop_early=stop_early,
                seed=self.seed,
            ).to(self.device)
        else:
            self._gaussians = GaussianHead(
                model.dim,
                num_components=num_components,
                blend=blend,
                least_shrinkage=least_shrinkage,
                volume_ratio=volume_ratio,
            ).to(self.device)

    @property
    def classifier(self) -> GaussianHead:
        return self._gaussians
