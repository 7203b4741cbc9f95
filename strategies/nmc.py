"""NMC: the nearest class mean of features that stay, the baseline no table may be without."""

from __future__ import annotations

from typing import Any

from cgcd.engine import ClosedFormStrategy
from cgcd.engine.parametric import BASE
from cgcd.models import GCDModel, NearestMean
from cgcd.models.nearest_mean import DEFINITIONS
from cgcd.vocabulary import InputError

__all__ = ["BASE", "NMC"]


class NMC(ClosedFormStrategy):
    """One mean a class; a new class is a cluster beside the known means, looked at once more.

    Args:
        model: shared model.
        definition: of nearness, one of `cgcd.models.nearest_mean.DEFINITIONS`; they do not agree.
        **closed_form: arguments of `ClosedFormStrategy`: base, tune_base, proposal, ...

    Source: Janson et al., A Simple Baseline that Questions the Use of Pretrained-Models in
    Continual Learning, arXiv 2210.04428, which has labels at every stage; discovery is ours.
    """

    def __init__(
        self, *, model: GCDModel, definition: str = "cos_unitmean", **closed_form: Any
    ) -> None:
        if definition not in DEFINITIONS:
            raise InputError(
                f"definition is {definition!r}; wanted one of {', '.join(DEFINITIONS)}"
            )
        super().__init__(model=model, **closed_form)
        self.definition = definition
        self._means = NearestMean(model.dim, definition).to(self.device)

    @property
    def classifier(self) -> NearestMean:
        return self._means
