"""Cuts a labeled data set into a labeled base stage and one unlabeled stream, answered in order.

Row k is the k-th class: the known classes first, then the novel ones. Nothing of the truth of the
stream is in what a strategy gets: no label, no number of novel classes.

Source: the on-the-fly discovery protocol of Du et al., CVPR 2023, as the authors' code of SMILE
(the same paper) and of PHE (Zheng et al., NeurIPS 2024) has it: half of the known classes' training
images are labeled, all other training images are the stream, test images are not used.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import torch
from PIL import Image

from cgcd.models import InputSpec
from cgcd.stages import OnlineScenario, Sample, Stage, stage_dataset
from cgcd.vocabulary import UNLABELED
from scenarios.draws import draw_without_replacement
from scenarios.identity import data_hash
from scenarios.known_novel import KnownNovelProtocol, cut
from scenarios.stream import at_hand, image_views
from scenarios.views import STANDARD, Augmentation

_ORDER_DRAW = 1  # a stream of the generator that the draw of labels does not use


@dataclass(frozen=True, kw_only=True)
class OnlineProtocol(KnownNovelProtocol):
    """Which classes and images are labeled, and in which order the others arrive.

    Attributes: those of `KnownNovelProtocol`, with `num_novel` >= 0, which no strategy is told, and
        order: "fixed" (the order of the data set) or "shuffled" by `order_seed`.
        order_seed: in [0, 2**32); None: the run's seed.

    Raises:
        InputError: if a value is none of the above; what depends on the data is checked by
            `compose_online`.
    """

    order: str = "fixed"
    order_seed: int | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        self.check_word("order", ("fixed", "shuffled"))
        if self.order_seed is not None:
            self.check_seed("order_seed")


@dataclass(frozen=True, eq=False)
class OnlineComposition:
    """Who is labeled and who arrives when, as plain indices; n labeled images, N in the stream.

    Attributes:
        labeled: labeled images, ascending, no two alike, (n,) int64.
        labels: row of each labeled image's class, (n,) int64.
        stream: images in the order in which they arrive, none of them labeled, (N,) int64.
        truth: row of each stream image's class, (N,) int64; for the scenario and its report, not
            for a strategy.
        class_order: original class id of row k, (K,) int64.
        num_known: rows with labels.
    """

    labeled: np.ndarray
    labels: np.ndarray
    stream: np.ndarray
    truth: np.ndarray
    class_order: np.ndarray
    num_known: int

    @cached_property
    def hash(self) -> str:
        """SHA-256 of every index, row and class, the same on every platform; 64 hex digits."""
        digest = hashlib.sha256()
        known = np.array([self.num_known])
        arrays = (self.labeled, self.labels, self.stream, self.truth, self.class_order, known)
        for array in arrays:
            digest.update(len(array).to_bytes(8, "little"))
            digest.update(np.ascontiguousarray(array, dtype="<i8").data)
        return digest.hexdigest()

    def describe(self) -> dict[str, Any]:
        """Counts as plain numbers, lists and dictionaries, for logs and reports.

        Returns:
            `labeled` and `stream` (images), `known_classes` and `novel_classes` (how many),
            `known_in_stream` and `novel_in_stream` (images), and `stages`: for the base stage and
            the stream `stage`, `num_known`, `novel_classes` (original ids), `labeled`, `unlabeled`
            and `images_per_class` (original id to images).
        """
        classes, num_known = self.class_order.tolist(), self.num_known
        base = np.bincount(self.labels, minlength=num_known).tolist()
        stream = np.bincount(self.truth, minlength=len(classes)).tolist()
        return {
            "labeled": len(self.labeled),
            "stream": len(self.stream),
            "known_classes": num_known,
            "novel_classes": len(classes) - num_known,
            "known_in_stream": sum(stream[:num_known]),
            "novel_in_stream": sum(stream[num_known:]),
            "stages": [
                {
                    "stage": 0,
                    "num_known": 0,
                    "novel_classes": classes[:num_known],
                    "labeled": len(self.labeled),
                    "unlabeled": 0,
                    "images_per_class": dict(zip(classes[:num_known], base, strict=True)),
                },
                {
                    "stage": 1,
                    "num_known": num_known,
                    "novel_classes": classes[num_known:],
                    "labeled": 0,
                    "unlabeled": len(self.stream),
                    "images_per_class": dict(zip(classes, stream, strict=True)),
                },
            ],
        }


def compose_online(targets: np.ndarray, protocol: OnlineProtocol, seed: int) -> OnlineComposition:
    """The labeled images and the stream over the training images of one data set.

    A function of the arguments alone; the draw of labeled images and the order of arrival do not
    depend on each other.

    Args:
        targets: original class ids >= 0 of the training images, (N,) integers.
        protocol: classes, labels and order.
        seed: of the run, in [0, 2**64); for the draws that have no seed of their own.

    Raises:
        InputError: if targets are no class ids, the protocol wants more classes than there are, a
            class it uses has no image, a known class no labeled one, or the stream is empty.

    Source: the labeled images as `cut` says; the shuffled order is ours.
    """
    found = cut(targets, protocol, seed)
    stream, truth = found.unlabeled, found.truth
    if protocol.order == "shuffled":
        order_seed = seed if protocol.order_seed is None else protocol.order_seed
        everything = np.array([len(stream)])
        order = draw_without_replacement(everything, everything, order_seed, _ORDER_DRAW)
        stream, truth = stream[order], truth[order]
    return OnlineComposition(
        found.labeled, found.labels, stream, truth, found.class_order, protocol.num_known
    )


def online_scenario(
    images: np.ndarray | Sequence[Image.Image],
    class_names: Sequence[str],
    composition: OnlineComposition,
    *,
    name: str,
    inputs: InputSpec,
    augmentations: Sequence[Augmentation] = STANDARD,
    window: int = 100,
) -> OnlineScenario:
    """A scenario of a labeled base stage and one unlabeled stream of images.

    Args:
        images: training images, uint8 (N, H, W, 3) or PIL images read on access.
        class_names: name of class id k at place k.
        composition: who is labeled and who arrives when.
        name: short name for folders and tables.
        inputs: size and normalization the backbone wants.
        augmentations: of the training views.
        window: samples between two rows of metrics, >= 1.

    Raises:
        InputError: if the window is smaller than 1, or as `image_views` says.
    """
    (images,) = at_hand(inputs, images)
    views = image_views(images, inputs, augmentations)
    return online_stages(images, class_names, composition, *views, name=name, window=window)


def online_stages(
    samples: Any,
    class_names: Sequence[str],
    composition: OnlineComposition,
    train_view: Callable[[Sample], torch.Tensor],
    eval_view: Callable[[Sample], torch.Tensor],
    *,
    name: str,
    window: int,
) -> OnlineScenario:
    """`online_scenario` for samples of any kind that can be indexed, with views that suit them.

    Beside the composition's arrays the scenario costs a few bytes a sample.
    """

    def stage(index: int, which: np.ndarray, labels: np.ndarray) -> Stage:
        dataset = stage_dataset(
            samples, which, labels, train_transform=train_view, eval_transform=eval_view
        )
        return Stage(dataset, index, num_novel=None)

    hidden = np.broadcast_to(np.int64(UNLABELED), composition.stream.shape)  # of no memory
    return OnlineScenario(
        stage(0, composition.labeled, composition.labels),
        stage(1, composition.stream, hidden),
        stage(1, composition.stream, composition.truth),
        window=window,
        name=name,
        class_names=[class_names[c] for c in composition.class_order],
        num_base=composition.num_known,
        stream_hash=composition.hash,
        data_hash=data_hash(samples, train_view, eval_view),
        description=composition.describe(),
    )
