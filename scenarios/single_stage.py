"""Cuts a labeled data set into ONE stage of labeled and unlabeled images, and a test part.

Row k is the k-th class: the known classes first, then the novel ones. Which classes are known and
which images are labeled is cut as for a stream; here the unlabeled images are a set.

Source: the protocol of generalized category discovery, Vaze et al., CVPR 2022, which SimGCD (Wen et
al., ICCV 2023) and ProtoGCD (Ma et al., TPAMI 2025) keep: half of the known classes' training
images are labeled, all other training images are trained on without labels and measured on; the
disjoint test images are measured on beside them.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import torch

from cgcd.models import InputSpec
from cgcd.stages import Sample, SingleStageScenario, Stage, stage_dataset
from cgcd.vocabulary import UNLABELED
from scenarios.arrays import ImageArrays
from scenarios.composition import Composition
from scenarios.identity import data_hash
from scenarios.known_novel import KnownNovelProtocol, cut
from scenarios.stream import at_hand, image_views
from scenarios.targets import checked_targets
from scenarios.views import STANDARD, Augmentation

View = Callable[[Sample], torch.Tensor]


@dataclass(frozen=True, kw_only=True)
class SingleStageProtocol(KnownNovelProtocol):
    """Which classes and images of the one stage are labeled.

    Attributes: those of `KnownNovelProtocol`, with `num_novel` >= 1, and
        labeled_draw: "pooled" labels int(share * n) of the n images of all known classes together,
            drawn as the released code does; "per_class" int(share * n) of each class's n images.

    Raises:
        InputError: if a value is none of the above; what depends on the data is checked by
            `compose_single_stage`.
    """

    draws = ("pooled", "per_class")
    fewest_novel = 1

    labeled_draw: str = "pooled"


@dataclass(frozen=True, eq=False)
class SingleStageComposition:
    """Who is labeled, as plain indices; n labeled training images, N unlabeled ones, M for testing.

    Attributes:
        labeled: labeled training images, ascending, no two alike, (n,) int64.
        labels: row of each labeled image's class, (n,) int64.
        unlabeled: unlabeled training images, ascending, none of them labeled, (N,) int64.
        truth: row of each unlabeled image's class, (N,) int64; for the scenario and its report, not
            for a strategy.
        test: test images of the same classes, ascending, an index space of their own, (M,) int64.
        test_rows: row of each test image's class, (M,) int64.
        class_order: original class id of row k, (K,) int64.
        num_known: rows with labels.
    """

    labeled: np.ndarray
    labels: np.ndarray
    unlabeled: np.ndarray
    truth: np.ndarray
    test: np.ndarray
    test_rows: np.ndarray
    class_order: np.ndarray
    num_known: int

    @cached_property
    def hash(self) -> str:
        """SHA-256 of every index, row and class, the same on every platform; 64 hex digits."""
        digest = hashlib.sha256()
        for array in (
            self.labeled,
            self.labels,
            self.unlabeled,
            self.truth,
            self.test,
            self.test_rows,
            self.class_order,
            np.array([self.num_known]),
        ):
            digest.update(len(array).to_bytes(8, "little"))
            digest.update(np.ascontiguousarray(array, dtype="<i8").data)
        return digest.hexdigest()

    def describe(self) -> dict[str, Any]:
        """Counts as plain numbers, lists and dictionaries, for logs and reports.

        Returns:
            `labeled`, `unlabeled` and `test` (images), `known_classes` and `novel_classes` (how
            many), `known_in_unlabeled` and `novel_in_unlabeled` (images), and `stages`: for the one
            stage `stage`, `num_known`, `novel_classes` (original ids), `labeled`, `unlabeled`,
            `test` and `images_per_class` (original id to training images).
        """
        classes, num_known = self.class_order.tolist(), self.num_known
        unlabeled = np.bincount(self.truth, minlength=len(classes))
        per_class = unlabeled + np.bincount(self.labels, minlength=len(classes))
        sizes = {
            "labeled": len(self.labeled),
            "unlabeled": len(self.unlabeled),
            "test": len(self.test),
        }
        return {
            **sizes,
            "known_classes": num_known,
            "novel_classes": len(classes) - num_known,
            "known_in_unlabeled": int(unlabeled[:num_known].sum()),
            "novel_in_unlabeled": int(unlabeled[num_known:].sum()),
            "stages": [
                {
                    "stage": 0,
                    "num_known": num_known,
                    "novel_classes": classes[num_known:],
                    **sizes,
                    "images_per_class": dict(zip(classes, per_class.tolist(), strict=True)),
                }
            ],
        }


def compose_single_stage(
    train_targets: np.ndarray,
    test_targets: np.ndarray | None,
    protocol: SingleStageProtocol,
    seed: int,
) -> SingleStageComposition:
    """The labeled, the unlabeled and the test images of one data set.

    A function of the arguments alone.

    Args:
        train_targets: original class ids >= 0 of the training images, (N,) integers.
        test_targets: the same for the test images, an index space of its own; None or empty for
            data without a test part.
        protocol: classes and labels.
        seed: of the run, in [0, 2**64); for a draw that has no seed of its own.

    Raises:
        InputError: as `cut` says, or if `test_targets` are no class ids.
    """
    found = cut(train_targets, protocol, seed)
    test = rows = np.empty(0, dtype=np.int64)
    if test_targets is not None and len(test_targets):
        classes = Composition((), found.class_order, protocol.num_known)
        rows = classes.rows(checked_targets(test_targets, "test_targets"))
        test = np.flatnonzero(rows != UNLABELED)
        rows = rows[test]
    return SingleStageComposition(
        found.labeled,
        found.labels,
        found.unlabeled,
        found.truth,
        test,
        rows,
        found.class_order,
        protocol.num_known,
    )


def single_stage_scenario(
    data: ImageArrays,
    composition: SingleStageComposition,
    *,
    name: str,
    inputs: InputSpec,
    augmentations: Sequence[Augmentation] = STANDARD,
    num_novel: str | int = "given",
) -> SingleStageScenario:
    """A scenario of one stage of labeled and unlabeled images.

    Args:
        data: images and original class ids.
        composition: who is where.
        name: short name for folders and tables.
        inputs: size and normalization the backbone wants.
        augmentations: of the training views.
        num_novel: "given" tells the stage how many classes are new; any other word or a number
            (which the strategy uses) leaves it silent.

    Raises:
        InputError: see `image_views`.
    """
    train_images, test_images = at_hand(inputs, data.train_images, data.test_images)
    views = image_views(train_images, inputs, augmentations)
    return single_stages(
        train_images,
        test_images,
        data.class_names,
        composition,
        *views,
        name=name,
        num_novel=num_novel,
    )


def single_stages(
    train_samples: Any,
    test_samples: Any,
    class_names: Sequence[str],
    composition: SingleStageComposition,
    train_view: View,
    eval_view: View,
    *,
    name: str,
    num_novel: str | int,
) -> SingleStageScenario:
    """`single_stage_scenario` for samples of any kind that can be indexed, with views for them.

    The stage holds its samples in the order of the data set, so that no place tells who is labeled.
    """
    given, classes = composition, composition.class_order
    hidden = np.full(len(given.unlabeled), UNLABELED)
    rows = np.concatenate((given.labeled, given.unlabeled))
    labels = np.concatenate((given.labels, hidden))
    order = np.argsort(rows)

    def stage(
        samples: Any, which: np.ndarray, shown: np.ndarray, novel: int | None = None
    ) -> Stage:
        dataset = stage_dataset(
            samples, which, shown, train_transform=train_view, eval_transform=eval_view
        )
        return Stage(dataset, 0, novel)

    told = len(classes) - given.num_known if num_novel == "given" else None
    tests = data_hash(() if test_samples is None else test_samples)
    return SingleStageScenario(
        stage(train_samples, rows[order], labels[order], told),
        stage(train_samples, given.unlabeled, given.truth),
        stage(test_samples, given.test, given.test_rows) if len(given.test) else None,
        name=name,
        class_names=[class_names[c] for c in classes],
        num_base=given.num_known,
        num_novel="given" if num_novel == "given" or isinstance(num_novel, int) else num_novel,
        stream_hash=given.hash,
        data_hash=data_hash(train_samples, train_view, eval_view, tests),
        description=given.describe(),
    )
