"""What one evaluation pass shows of every sample, and of some of them features and small images.

Nothing is computed twice: answers are those of the pass, features are what the tail gives while the
strategy predicts, images are its inputs, made small. Features are kept of at most `MOST_POINTS`
samples, drawn by a hash of their ids, so that it is the same samples from stage to stage.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from cgcd.metrics.categories import hashes

MOST_POINTS = 5_000
TILE = 64
"""Largest side of a small image in pixels."""


@dataclass(frozen=True, eq=False)
class ObservedPass:
    """Everything that an analysis is made of.

    Attributes:
        predictions, targets, sample_ids: (N,) int64; targets `UNLABELED` where hidden.
        experiences: index of the test stage each sample is of, (N,).
        confidences: largest probability, (N,) float32.
        margins: gap of the two largest probabilities, (N,) float32.
        novelty: entropy of the prediction over log K, (N,) float32.
        points: places of the drawn samples in these arrays, ascending, (M,).
        features: of the drawn samples, unit length, (M, D) float32.
        tiles: the drawn samples as small images, (M, S, S, 3) uint8; None for vectors.
        category_sums: sum of the unit features that each row was predicted for, (K, D) float64.
        class_sums: the same of each shown class, (C, D) float64.
    """

    predictions: np.ndarray
    targets: np.ndarray
    sample_ids: np.ndarray
    experiences: np.ndarray
    confidences: np.ndarray
    margins: np.ndarray
    novelty: np.ndarray
    points: np.ndarray
    features: np.ndarray
    tiles: np.ndarray | None
    category_sums: np.ndarray
    class_sums: np.ndarray


class PassObserver:
    """Collects a pass batch by batch.

    Args:
        num_rows: rows K of the head.
        most_points: samples of which features are kept.
    """

    def __init__(self, num_rows: int, most_points: int = MOST_POINTS) -> None:
        self.most_points = most_points
        self._columns: list[tuple[np.ndarray, ...]] = []
        self._seen = 0
        self._sums = [torch.zeros(num_rows, 0), torch.zeros(0, 0)]
        self._drawn: list[tuple[np.ndarray, np.ndarray, Tensor, Tensor | None]] = []
        self._pending = 0
        self._limit = np.uint64(2**64 - 1)  # of the hash; falls when there are enough

    def add(
        self,
        scores: Tensor,
        features: Tensor,
        targets: Tensor,
        sample_ids: np.ndarray,
        experience: int,
        images: Tensor | None,
    ) -> None:
        """Take in one batch.

        Args:
            scores: their softmax gives probabilities, (B, K).
            features: (B, D), any length.
            targets: (B,).
            sample_ids: (B,) integers.
            experience: index of the test stage.
            images: (B, 3 or 1, H, W) in [0, 1]; None for vectors.
        """
        logs = scores.float().log_softmax(-1)
        best, rows = logs.topk(min(2, scores.shape[1]), dim=-1)
        chances = best.exp()
        margins = chances[:, 0] - chances[:, 1] if chances.shape[1] > 1 else chances[:, 0]
        entropy = -(logs.exp() * logs.clamp_min(-1e30)).sum(-1)
        entropy = entropy / math.log(max(2, scores.shape[1]))
        columns = (rows[:, 0], targets, chances[:, 0], margins, entropy.clamp(0, 1))
        arrays = [column.cpu().numpy() for column in columns]
        count = len(targets)
        self._columns.append((*arrays, sample_ids, np.full(count, experience)))
        units = F.normalize(features.float(), dim=-1).cpu()
        for place, groups in enumerate((rows[:, 0].cpu(), targets.cpu())):
            self._sums[place] = _with_added(self._sums[place], units, groups)
        self._draw(units, hashes(sample_ids), images)
        self._seen += count

    def finish(self) -> ObservedPass | None:
        """All that came; None if nothing did."""
        if not self._columns:
            return None
        self._keep_smallest()
        columns = [np.concatenate(column) for column in zip(*self._columns, strict=True)]
        rows, targets, confidences, margins, novelty, ids, experiences = columns
        _, places, features, tiles = self._drawn[0]
        return ObservedPass(
            predictions=rows,
            targets=targets,
            sample_ids=ids.astype(np.int64),
            experiences=experiences,
            confidences=confidences,
            margins=margins,
            novelty=novelty,
            points=places,
            features=features.numpy(),
            tiles=None if tiles is None else tiles.numpy(),
            category_sums=self._sums[0].numpy(),
            class_sums=self._sums[1].numpy(),
        )

    def _draw(self, units: Tensor, mixed: np.ndarray, images: Tensor | None) -> None:
        chosen = np.flatnonzero(mixed <= self._limit)
        if not len(chosen):
            return
        which = torch.from_numpy(chosen)
        tiles = None if images is None else small_images(images[which.to(images.device)])
        self._drawn.append((mixed[chosen], self._seen + chosen, units[which], tiles))
        self._pending += len(chosen)
        if self._pending > 1.5 * self.most_points:
            self._keep_smallest()

    def _keep_smallest(self) -> None:
        """Only the samples of the smallest hashes, in the order of the pass."""
        mixed, places = (np.concatenate([part[i] for part in self._drawn]) for i in (0, 1))
        features = torch.cat([part[2] for part in self._drawn])
        with_tiles = self._drawn[0][3] is not None
        tiles = torch.cat([part[3] for part in self._drawn]) if with_tiles else None  # type: ignore[misc]
        kept = np.sort(np.lexsort((places, mixed))[: self.most_points])
        which = torch.from_numpy(kept)
        if len(kept) == self.most_points:
            self._limit = mixed[kept].max()
        small = None if tiles is None else tiles[which]
        self._drawn = [(mixed[kept], places[kept], features[which], small)]
        self._pending = len(kept)


def small_images(images: Tensor) -> Tensor:
    """Images as small ones of at most `TILE` pixels a side, (B, S, S, 3) uint8 on the CPU.

    Args:
        images: (B, 3 or 1, H, W) in [0, 1].
    """
    side = min(TILE, *images.shape[-2:])
    small = F.interpolate(images.float(), size=(side, side), mode="area")
    pixels = (small.clamp(0, 1) * 255).round().to(torch.uint8)
    return pixels.expand(-1, 3, -1, -1).permute(0, 2, 3, 1).contiguous().cpu()


def plain_images(inputs: Tensor, spec: Any) -> Tensor | None:
    """Model inputs (B, C, H, W) as images in [0, 1] again; None for what is no image."""
    if inputs.dim() != 4 or inputs.shape[1] not in (1, 3) or spec.vector is not None:
        return None
    mean, std = (
        torch.tensor(values[: inputs.shape[1]], device=inputs.device).view(1, -1, 1, 1)
        for values in (spec.mean, spec.std)
    )
    return inputs.float() * std + mean


def _with_added(sums: Tensor, units: Tensor, groups: Tensor) -> Tensor:
    """Sums (K, D) grown where needed, with unit features (B, D) added by group; negative: none."""
    shown = groups >= 0
    rows = max(len(sums), int(groups.max()) + 1)
    grown = torch.zeros(rows, units.shape[1], dtype=torch.float64)
    grown[: len(sums), : sums.shape[1]] = sums
    return grown.index_add_(0, groups[shown], units[shown].double())
