"""What lies on disk of a published data set, against what was published."""

from __future__ import annotations

import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from cgcd.vocabulary import InputError
from scenarios.folder import ImageFiles
from scenarios.published import PublishedDataset, Root

_THREADS = 8  # decoding leaves Python's lock; more would wait for the disk
_OPENED = 256  # images of each part, evenly spaced


@dataclass(frozen=True)
class Inspection:
    """What was found.

    Attributes:
        counts: by "training images", "test images" and "classes": found, published.
        num_opened: image files that were decoded.
        unreadable: a sentence for each of them that is no image.
    """

    counts: dict[str, tuple[int, int]]
    num_opened: int
    unreadable: tuple[str, ...]

    @property
    def differences(self) -> tuple[str, ...]:
        """One phrase for each count that is not the published one."""
        return tuple(
            f"{found} {what} where {wanted} were published"
            for what, (found, wanted) in self.counts.items()
            if found != wanted
        )


def inspect(dataset: PublishedDataset, root: Root, every_image: bool = False) -> Inspection:
    """Read a data set, count it and decode some of its files.

    Args:
        dataset: which.
        root: its `data_root`.
        every_image: decode all files, not 256 of each part.

    Raises:
        InputError: as the data set's reader does.
    """
    data = dataset.read(root)
    counts = {
        "training images": (len(data.train_targets), dataset.num_train),
        "test images": (len(data.test_targets), dataset.num_test),
        "classes": (len(np.unique(data.train_targets)), dataset.num_classes),
    }
    problems: list[str] = []
    num_opened = 0
    for images in (data.train_images, data.test_images):
        if isinstance(images, ImageFiles) and len(images):
            most = len(images) if every_image else min(_OPENED, len(images))
            problems += _problems(images, np.linspace(0, len(images) - 1, most).astype(int))
            num_opened += most
    return Inspection(counts, num_opened, tuple(problems))


def survey(dataset: PublishedDataset, root: Root) -> tuple[Path | None, dict[str, bool]]:
    """The folder nearest to a data set, and which of its marks are there, without reading any."""
    if dataset.layout is None or not root or not Path(root).is_dir():
        return None, {}
    folder, missing = dataset.layout.nearest(Path(root))
    return folder, {mark: mark not in missing for mark in dataset.layout.marks}


def _problems(images: Sequence[Any], places: np.ndarray) -> list[str]:
    def problem(place: int) -> str:
        try:
            images[place]
        except InputError as error:
            return str(error)
        return ""

    with ThreadPoolExecutor(min(_THREADS, os.cpu_count() or 1)) as pool:
        return [text for text in pool.map(problem, places.tolist()) if text]
