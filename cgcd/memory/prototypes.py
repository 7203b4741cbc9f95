"""One mean feature a class and one shared radius: all that is kept of earlier stages.

Source: Ma et al., Happy, NeurIPS 2024, arXiv 2410.06535, hardness-aware prototype sampling.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from cgcd.memory.rows import check_rows
from cgcd.memory.transfer import sent
from cgcd.vocabulary import UNLABELED


class PrototypeSample(NamedTuple):
    """Features drawn around the prototypes.

    Attributes:
        features: not normalized, (n, D).
        classes: the class each was drawn for, (n,).
    """

    features: Tensor
    classes: Tensor


class PrototypeMemory(nn.Module):
    """Remembers the mean direction of every known class and draws features around it.

    Starts empty, grows with every stage and never changes a row once it is written. The buffers
    hold `means` (K, D), each of length 1, the shared `radius` (), a standard deviation per
    dimension, and `similarities` (K,), the mean cosine of each prototype to the others. A state
    dict of any number of classes loads.

    Args:
        dim: D, the width of the features.

    Source: arXiv 2410.06535. The radius is used as a standard deviation, as in the authors' code;
    the paper writes it as a variance.
    """

    means: Tensor
    radius: Tensor
    similarities: Tensor

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.register_buffer("means", torch.zeros(0, dim))
        self.register_buffer("radius", torch.zeros(()))
        self.register_buffer("similarities", torch.zeros(0))
        self._kept_weights: tuple[Tensor, tuple[object, ...], Tensor] | None = None

    def __len__(self) -> int:
        """Number of classes remembered."""
        return len(self.means)

    @torch.no_grad()
    def remember_labeled(self, features: Tensor, labels: Tensor) -> None:
        """Starts anew from labeled features: class means, and the radius for all later stages.

        Args:
            features: (N, D); normalized inside.
            labels: classes, (N,), each of 0 .. max at least once; `UNLABELED` rows are left out.

        Raises:
            ValueError: if a class has no feature, or a shape does not fit.
        """
        features = self._unit_rows(features, labels)
        num_classes = int(labels.max()) + 1 if len(labels) else 0
        if num_classes == 0:
            raise ValueError(
                f"none of the {len(labels)} features is labeled (label {UNLABELED} means hidden); "
                "the memory starts from a labeled stage"
            )
        groups = [features[labels == c] for c in range(num_classes)]
        missing = [c for c, group in enumerate(groups) if len(group) == 0]
        if missing:
            raise ValueError(
                f"no feature is labeled with class {', '.join(map(str, missing))} of 0.."
                f"{num_classes - 1}; give each class a sample or number the classes without gaps"
            )
        means = torch.stack([group.mean(0) for group in groups])
        # Mean squared deviation from the mean, which is not yet of length 1, over all dimensions.
        variances = [
            (group - mean).square().mean() for group, mean in zip(groups, means, strict=True)
        ]
        self.radius = torch.stack(variances).mean().sqrt()
        self._keep(F.normalize(means, dim=-1))

    @torch.no_grad()
    def remember_predicted(
        self, features: Tensor, predictions: Tensor, num_classes: int, fallback: Tensor
    ) -> None:
        """Appends prototypes of the classes found in a stage; earlier rows and radius stay.

        Args:
            features: of the stage, (N, D); normalized inside.
            predictions: predicted classes in [0, num_classes), (N,).
            num_classes: classes afterwards, >= len(self).
            fallback: (num_classes, D), such as the head's directions; row c, normalized, is the
                prototype of a class c that nothing is predicted as.

        Raises:
            ValueError: if `num_classes` is below what is remembered, or a shape does not fit.
        """
        features = self._unit_rows(features, predictions)
        if num_classes < len(self):
            raise ValueError(
                f"num_classes is {num_classes}, but {len(self)} classes are remembered already and "
                "none can be forgotten; give the number of all classes, not of the novel ones"
            )
        if fallback.shape != (num_classes, self.means.shape[1]):
            raise ValueError(
                f"fallback has shape {tuple(fallback.shape)}, wanted "
                f"({num_classes}, {self.means.shape[1]}): one row for each class"
            )
        novel = fallback[len(self) :].to(self.means).clone()
        for c in range(len(self), num_classes):
            group = features[predictions == c]
            if len(group):
                novel[c - len(self)] = group.mean(0)
        self._keep(torch.cat([self.means, F.normalize(novel, dim=-1)]))

    @torch.no_grad()
    def hardness(self, temperature: float = 0.1) -> Tensor:
        """How often to draw each class, (K,), summing to 1: more often the closer it is to others.

        Args:
            temperature: softmax temperature of the similarities, > 0; large values draw evenly.

        Raises:
            ValueError: if `temperature` is not positive.

        Source: arXiv 2410.06535. 0.1 is the main text's and the code's value, the appendix says 1.
        """
        if temperature <= 0:
            raise ValueError(f"the hardness temperature is {temperature}; wanted a number above 0")
        return (self.similarities / temperature).softmax(0)

    @torch.no_grad()
    def sample(
        self,
        n: int,
        generator: torch.Generator,
        hardness_temperature: float = 0.1,
        radius_scale: float = 1.0,
    ) -> PrototypeSample:
        """Draws features around prototypes, with replacement, the hard classes more often.

        Args:
            n: number of features.
            generator: source of randomness, on any device; the draws are made there.
            hardness_temperature: temperature of `hardness`.
            radius_scale: factor of the radius, >= 0.

        Returns:
            Features (n, D), not normalized again, and their classes (n,), on the memory's device.

        Raises:
            ValueError: if the memory is empty.
        """
        if len(self) == 0:
            raise ValueError(
                "the prototype memory is empty; call remember_labeled after the base stage first"
            )
        weights = self._weights(hardness_temperature, generator.device)
        classes = weights.multinomial(n, replacement=True, generator=generator)
        noise = torch.randn(
            (n, self.means.shape[1]),
            generator=generator,
            device=generator.device,
            dtype=self.means.dtype,
        )
        classes, noise = (sent(drawn, self.means.device) for drawn in (classes, noise))
        return PrototypeSample(self.means[classes] + self.radius * radius_scale * noise, classes)

    def _weights(self, temperature: float, device: torch.device) -> Tensor:
        """`hardness` where draws are made, fetched once: every step would wait for it anew."""
        source, kept = self.similarities, self._kept_weights
        made_of = (source._version, temperature, device)
        if kept is None or kept[0] is not source or kept[1] != made_of:
            kept = self._kept_weights = (source, made_of, self.hardness(temperature).to(device))
        return kept[2]

    def _unit_rows(self, features: Tensor, classes: Tensor) -> Tensor:
        check_rows(features, classes, self.means.shape[1])
        return F.normalize(features.to(self.means), dim=-1)

    def _keep(self, means: Tensor) -> None:
        cosines = (means @ means.T).fill_diagonal_(0)
        self.means = means
        self.similarities = cosines.sum(1) / max(len(means) - 1, 1)

    def _load_from_state_dict(
        self, state_dict: dict[str, Any], prefix: str, *args: Any, **kwargs: Any
    ) -> None:
        stored = state_dict.get(f"{prefix}means")
        # Another width is left alone: torch then reports the mismatch.
        if stored is not None and stored.shape[1:] == self.means.shape[1:]:
            self.means = self.means.new_zeros(stored.shape)
            self.similarities = self.similarities.new_zeros(len(stored))
        super()._load_from_state_dict(state_dict, prefix, *args, **kwargs)
