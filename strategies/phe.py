"""PHE: prototypical hash encoding for on-the-fly category discovery."""

from __future__ import annotations

import copy
import logging
from collections.abc import Mapping
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from cgcd.engine import Batch, HashStrategy, Recipe, WarmedCosine
from cgcd.engine.hashed import packed
from cgcd.engine.seeding import isolated_randomness
from cgcd.losses import (
    center_cross_entropy,
    center_quantization,
    center_separation,
    class_scores,
    cosine_cross_entropy,
    hamming_radius,
    prototype_similarity,
    separation_target,
)
from cgcd.memory import HashCodebook
from cgcd.memory.transfer import sent
from cgcd.models import ClassPrototypes, GCDModel, HashHead
from cgcd.stages import Stage
from cgcd.vocabulary import InputError

log = logging.getLogger(__name__)

BASE = Recipe(
    epochs=200,
    batch_size=128,
    optimizer=partial(torch.optim.AdamW, lr=1e-3, weight_decay=0.05),
    schedule=WarmedCosine(),
    drop_last=False,
    weights={"prototype": 1.0, "separation": 0.1, "quantization": 0.1, "center": 3.0},
)


class PHE(HashStrategy):
    """Codes whose class centers lie far apart, so that what lies far from all of them is new.

    Training is supervised, on the known classes: features are explained by several prototypes a
    class; a hash head makes codes of features, and of each class's mean prototype a center; centers
    are pushed apart, binarized and made the targets of their samples' codes. Then the centers are
    fixed, and each sample of the stream gets the nearest category within half the separation, or
    opens one.

    Args:
        model: shared model; `extras` gets the feature layer, the prototypes and the hash head.
        code_length: bits L, 1 to 1024.
        base: recipe of the labeled stage; the weights name the loss terms.
        separation: bits that any two centers should differ in: a number, or a rule by name:
            "known_classes" counts the labeled classes; "total_classes" counts the unknown ones too,
            as the authors' code does. That number is what on-line discovery does not know: an
            oracle, which must be given as `total_classes` and is reported as such.
        total_classes: known and unknown classes of the stream, for the oracle rule only.
        known_centers: "used", or "ignored" as the released code does by a slip; see `HashCodebook`.
        prototypes_per_class: k.
        mask_probability: share of similarities dropped in training, in [0, 1).
        backbone_lr: of the tail; everything else has the optimizer's own.
        feature_weight_decay: of tail and feature layer; hash head and prototypes have the
            optimizer's own.
        hash_hidden, hash_bottleneck: widths of the hash head.
        **engine: arguments of `HashStrategy`: warm_up, seed, device, observe_batch_size, ...

    Source: Zheng et al., PHE, NeurIPS 2024, arXiv 2410.19213. Where paper and authors' code differ
    the code's form is taken: a GELU after the feature layer, plain distances of normalized vectors,
    means over centers, a slack of 0.95 in the separation, weight decay by group. Unlike the code,
    centers are computed once after training, in eval mode and full precision, stream codes and
    centers share one alphabet, and the separation counts known classes only by default.
    """

    num_views = 1

    def __init__(
        self,
        *,
        model: GCDModel,
        code_length: int = 12,
        base: Recipe = BASE,
        separation: str | int = "known_classes",
        total_classes: int | None = None,
        known_centers: str = "used",
        prototypes_per_class: int = 10,
        mask_probability: float = 0.1,
        backbone_lr: float = 1e-4,
        feature_weight_decay: float = 1e-3,
        hash_hidden: int = 2048,
        hash_bottleneck: int = 256,
        seed: int = 0,
        **engine: Any,
    ) -> None:
        HashCodebook(code_length, 0, known_centers)  # says what is wrong with these two
        if base.batch_size < 2:
            raise InputError(
                f"base.batch_size is {base.batch_size}; PHE's batch norm needs at least 2 samples: "
                "set strategy.base.batch_size=32"
            )
        _check_separation(separation, total_classes, code_length)
        if not 0 <= mask_probability < 1:
            raise InputError(f"mask_probability is {mask_probability}; wanted 0 <= p < 1")
        if backbone_lr <= 0 or feature_weight_decay < 0:
            raise InputError(
                f"backbone_lr is {backbone_lr} and feature_weight_decay {feature_weight_decay}; "
                "wanted a number above 0 and one of at least 0"
            )
        self.separation, self.total_classes = separation, total_classes
        self.known_centers = known_centers
        self.prototypes_per_class = prototypes_per_class
        self.mask_probability = mask_probability
        self.backbone_lr, self.feature_weight_decay = backbone_lr, feature_weight_decay
        self.hash_hidden, self.hash_bottleneck = hash_hidden, hash_bottleneck
        with isolated_randomness(seed, "phe"):
            feature = nn.Linear(model.dim, model.dim)
            nn.init.trunc_normal_(feature.weight, std=0.02)
            nn.init.zeros_(feature.bias)
            self.feature = nn.Sequential(feature, nn.GELU())
            self.prototypes = ClassPrototypes(model.dim, prototypes_per_class)
            self.hash = HashHead(model.dim, code_length, hash_hidden, hash_bottleneck)
        model.extras.update(
            {"feature": self.feature, "prototypes": self.prototypes, "hash": self.hash}
        )
        super().__init__(model=model, code_length=code_length, base=base, seed=seed, **engine)
        self.centers = HashCenters(code_length).to(self.device)

    def begin_stage(self, stage: Stage) -> None:
        super().begin_stage(stage)
        num_known = self.num_labeled_classes(stage)
        if num_known < 2:
            raise InputError(
                "PHE got one known class, and the batch norm of its centers needs at least 2: set "
                "scenario.protocol.num_known=2 or more, or strategy=smile"
            )
        self.prototypes.grow(num_known, self.generator("prototypes"))
        self.target = self._target(num_known)
        if self.target < 1:
            log.warning(
                "%s gives a separation of 0 for %d classes and %d bits: the separation loss is "
                "inactive and the radius is %d; set strategy.separation=<bits>",
                *(self._rule(), num_known, self.code_length, hamming_radius(self.target)),
            )
        self.draws = self.generator("mask")

    def losses(self, batch: Batch) -> Mapping[str, Tensor]:
        features = self.feature(batch.out.features[:, 0])
        similarities = prototype_similarity(features, self.prototypes.rows)
        kept = torch.rand(similarities.shape, generator=self.draws) >= self.mask_probability
        kept = sent(kept, similarities.device).to(similarities)
        scores = class_scores(similarities * kept, self.prototypes.num_classes)
        codes = self.hash(features)
        centers = self.hash(self.prototypes.class_means())  # batch norm sees samples, then centers
        return {
            "prototype": cosine_cross_entropy(scores, batch.labels, temperature=1.0),
            "separation": center_separation(centers, self.target),
            "quantization": center_quantization(centers),
            "center": center_cross_entropy(codes, centers, batch.labels),
        }

    @torch.no_grad()
    def end_stage(self, stage: Stage) -> None:
        means = self.prototypes.class_means()
        self.centers.rows = self.hash.eval()(means).detach().clone()
        in_training = copy.deepcopy(self.hash).train()(means)
        moved = int(((in_training > 0) != (self.centers.rows > 0)).sum())
        book = self.new_book()
        self.report["codes"] = {
            "length": self.code_length,
            "radius": book.radius,
            "separation": self.target,
            "separation_loss": "active" if self.target > 0 else "inactive: the separation is 0",
            "rule": self._rule(),
            "known_centers": self.known_centers,
            "classes_without_a_code_of_their_own": book.duplicates(),
            "bits_that_differ_in_train_mode": moved,
        }
        log.info(
            "codes: %d bits, separation %d (%s), radius %d, known centers %s",
            *(self.code_length, self.target, self._rule(), book.radius, self.known_centers),
        )
        if book.duplicates():
            log.warning("%d known classes share the code of another", book.duplicates())

    def encode(self, trunk: Tensor) -> Tensor:
        return self.hash(self.feature(self.model.backbone.tail(trunk)))

    def predict(self, trunk: Tensor) -> Tensor:
        """Scores of the known classes by their prototypes, without a mask, (B, K)."""
        features = self.feature(self.model.backbone.tail(trunk))
        kept = 1 - self.mask_probability
        return class_scores(
            kept * prototype_similarity(features, self.prototypes.rows), self.prototypes.num_classes
        )

    def new_book(self) -> HashCodebook:
        radius = hamming_radius(self._target(len(self.centers.rows)))
        book = HashCodebook(self.code_length, radius, self.known_centers)
        book.add_known(packed(self.centers.rows))
        return book

    def parameter_groups(self, model: GCDModel) -> list[dict[str, Any]]:
        learning = [(n, p) for n, p in model.named_parameters() if p.requires_grad]

        def named(*fronts: str) -> list[tuple[str, nn.Parameter]]:
            return [(name, p) for name, p in learning if name.startswith(fronts)]

        decay = {"weight_decay": self.feature_weight_decay}
        return [
            {"params": named("backbone."), "lr": self.backbone_lr, **decay},
            {"params": named("extras.feature."), **decay},
            {"params": named("extras.hash.", "extras.prototypes.")},
        ]

    def state_modules(self) -> dict[str, nn.Module]:
        return {**super().state_modules(), "extras": self.model.extras, "centers": self.centers}

    def _target(self, num_known: int) -> int:
        if isinstance(self.separation, int):
            return self.separation
        if self.separation == "known_classes":
            return separation_target(self.code_length, max(num_known, 1))
        assert self.total_classes is not None  # checked with the rule
        return separation_target(self.code_length, self.total_classes)

    def _rule(self) -> str:
        if self.separation == "total_classes":
            return f"oracle: total number of classes given ({self.total_classes})"
        return "given" if isinstance(self.separation, int) else str(self.separation)


class HashCenters(nn.Module):
    """Real codes of the known classes as the end of training left them, (K, L)."""

    def __init__(self, num_bits: int) -> None:
        super().__init__()
        self.register_buffer("rows", torch.empty(0, num_bits))

    def _load_from_state_dict(self, state_dict, prefix, *args) -> None:  # type: ignore[no-untyped-def]
        stored = state_dict.get(prefix + "rows")
        if stored is not None and stored.shape[1:] == self.rows.shape[1:]:
            self.rows = self.rows.new_empty(stored.shape)
        super()._load_from_state_dict(state_dict, prefix, *args)


def _check_separation(separation: Any, total: int | None, code_length: int) -> None:
    if isinstance(separation, str):
        if separation not in ("known_classes", "total_classes"):
            raise InputError(
                f"separation is {separation!r}; wanted known_classes, total_classes or a number of "
                "bits: set strategy.separation=known_classes"
            )
    elif not _is_whole(separation) or not 0 <= separation <= code_length:
        raise InputError(
            f"separation is {separation!r}; wanted a whole number of 0 to {code_length} bits, the "
            "code length, or a rule by name: set strategy.separation=known_classes"
        )
    if (separation == "total_classes") != (total is not None):
        raise InputError(
            f"separation is {separation!r} and total_classes {total}; the rule total_classes, and "
            "no other, needs that number: set strategy.total_classes=<number>, or "
            "strategy.separation=known_classes, which needs none"
        )
    if total is not None and (not _is_whole(total) or total < 1):
        raise InputError(
            f"total_classes is {total!r}; wanted a whole number of at least 1: set "
            "strategy.total_classes=<number>"
        )


def _is_whole(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)
