"""Embeddings computed before, in the place of images: a stream of vectors.

A vector needs no backbone but a small adapter; its random views are copies with noise.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from cgcd.engine.seeding import Draw, batch_uniforms, current_draw
from cgcd.models import InputSpec
from cgcd.stages import Sample
from cgcd.vocabulary import UNLABELED, InputError
from scenarios.cifar import kind
from scenarios.feature_files import FeatureFile, read_feature_file

_MEND = "set data_root=<file> to an .npz with f (N, D) and y (N,), or a .safetensors or .csv"
_ROWS_AT_ONCE = 4096


@dataclass(frozen=True, eq=False)
class Features:
    """Labeled embeddings.

    Attributes:
        vectors: float16 or float32, finite, (N, D).
        targets: original class ids, int64 in [0, len(class_names)), (N,).
        class_names: name of class id k at place k.
        test_vectors: as `vectors`, of samples that nobody trains on, (M, D); None: there are none.
        test_targets: as `targets`, for the test samples.
    """

    vectors: np.ndarray
    targets: np.ndarray
    class_names: tuple[str, ...]
    test_vectors: np.ndarray | None = None
    test_targets: np.ndarray | None = None


def read_features(path: str | os.PathLike[str] | None) -> Features:
    """Embeddings of training samples, and of test samples where the file has some, checked.

    Args:
        path: a file as `read_feature_file` reads it, in which every embedding has a label and
            `split`, where it is there, is 0 for training, 1 for testing, anything else for neither.

    Raises:
        InputError: if the path is missing, the file is not as above or has no labels.
    """
    file = labeled_feature_file(path)
    vectors, targets, names = file.vectors, file.targets, file.class_names
    if file.split is None:
        return Features(vectors, targets, names)
    trained, tested = file.split == 0, file.split == 1
    if not tested.any():
        return Features(vectors[trained], targets[trained], names)
    return Features(vectors[trained], targets[trained], names, vectors[tested], targets[tested])


def labeled_feature_file(path: str | os.PathLike[str] | None) -> FeatureFile:
    """A file of embeddings that all have a label, some of them for training.

    Raises:
        InputError: as `read_features`.
    """
    if not path:
        raise InputError(f"data_root is not set; embeddings are read from disk: {_MEND}")
    file = read_feature_file(path, _MEND)
    if file.targets is None or (file.targets == UNLABELED).any():
        what = "lacks 'y'" if file.targets is None else "has embeddings without a label"
        raise InputError(
            f"{file.path} {what}; wanted a label for each embedding (y in .npz and .safetensors,"
            f" the column label in .csv): {_MEND}, or take scenario=features_stages for stages"
            " without labels"
        )
    if len(file) > 1 and _all_equal(file.vectors):
        raise InputError(
            f"{file.path}: all {len(file)} embeddings are the same vector; wanted some that differ:"
            f" compute them again, or {_MEND}"
        )
    if file.split is not None and not (file.split == 0).any():
        raise InputError(
            f"{file.path}: 'split' is {kind(file.split)} without a 0; wanted one integer for each"
            f" embedding, 0 for at least one: {_MEND}"
        )
    return file


def _all_equal(vectors: np.ndarray) -> bool:
    blocks = range(0, len(vectors), _ROWS_AT_ONCE)
    return all((vectors[start : start + _ROWS_AT_ONCE] == vectors[0]).all() for start in blocks)


@dataclass(frozen=True, eq=False)
class VectorView:
    """The evaluation view of an embedding, (D,) float32: centered, then scaled to length 1.

    Attributes:
        mean: what is subtracted, (D,); None: nothing.
        normalize: scale to length 1; a vector of zeros stays one.
    """

    mean: np.ndarray | None = None
    normalize: bool = True

    def __call__(self, sample: Sample) -> Tensor:
        return torch.from_numpy(self.prepared(np.asarray(sample.image)[None])[0])

    def prepared(self, vectors: np.ndarray) -> np.ndarray:
        """The view of many embeddings (B, D) at once, bit for bit that of each; float32, (B, D)."""
        rows = np.array(vectors, dtype=np.float32)
        if self.mean is not None:
            rows -= self.mean
        if self.normalize:  # no matrix product, whose rounding depends on the company of a row
            lengths = np.sqrt(np.square(rows).sum(-1, keepdims=True))
            rows /= np.maximum(lengths, np.float32(1e-12))
        return rows


@dataclass(frozen=True, eq=False)
class NoisyViews:
    """V copies of the evaluation view, each with Gaussian noise of its own, (V, D).

    Attributes:
        view: the evaluation view.
        noise: standard deviation of each value, >= 0, in units of the evaluation view. A vector of
            length 1 keeps about its direction while `noise` is small beside D ** -0.5.
    """

    view: VectorView
    noise: float = 0.0

    def __call__(self, sample: Sample) -> Tensor:
        draw = current_draw()
        copies = np.repeat(self.prepared(np.asarray(sample.image)[None])[None], draw.num_views, 1)
        return torch.from_numpy(self.drawn(copies, [sample.id], draw)[0])

    def prepared(self, vectors: np.ndarray) -> np.ndarray:
        """What no draw changes of many embeddings (B, D): their evaluation view."""
        return self.view.prepared(vectors)

    def drawn(
        self,
        copies: np.ndarray,
        sample_ids: Sequence[int] | np.ndarray,
        draw: Draw,
        repeats: Sequence[int] | np.ndarray | None = None,
    ) -> np.ndarray:
        """Add the noise of many samples in place, bit for bit that of each.

        Args:
            copies: the evaluation view V times, float32, (B, V, D).
            sample_ids, draw, repeats: see `batch_uniforms`.
        """
        if self.noise:
            copies += self.noise * _gaussian(draw, sample_ids, repeats, copies.shape[-1])
        return copies


def vector_views(
    vectors: np.ndarray,
    labeled: np.ndarray,
    inputs: InputSpec,
    *,
    normalize: bool,
    center: bool,
    noise: float,
) -> tuple[NoisyViews, VectorView]:
    """The random training views and the evaluation view of embeddings.

    Args:
        vectors: the embeddings, (N, D).
        labeled: those over which the mean is taken, (n,) indices.
        inputs: what the model takes.
        normalize: scale each vector to length 1, after centering.
        center: subtract the mean of the labeled embeddings.
        noise: see `NoisyViews`.

    Raises:
        InputError: if the model takes images or vectors of another width, or the noise is negative.
    """
    width = vectors.shape[1]
    if inputs.vector is None:
        raise InputError(
            f"the scenario gives embeddings of {width} values and the model takes images: set"
            " model=adapter, or model=identity, which learns no map of them"
        )
    if inputs.vector != width:
        raise InputError(
            f"the embeddings have {width} values and the model takes {inputs.vector}: set"
            f" model.backbone.dim={width}"
        )
    if not 0 <= noise < float("inf"):
        raise InputError(f"noise is {noise}; wanted 0 or more: set scenario.noise=0.0")
    mean = None
    if center:
        total = np.zeros(width)
        for start in range(0, len(labeled), _ROWS_AT_ONCE):  # in float64, without a copy of all
            rows = labeled[start : start + _ROWS_AT_ONCE]
            total += vectors[rows].sum(0, dtype=np.float64)
        mean = (total / len(labeled)).astype(np.float32)
    view = VectorView(mean, normalize)
    return NoisyViews(view, float(noise)), view


def _gaussian(
    draw: Draw,
    sample_ids: Sequence[int] | np.ndarray,
    repeats: Sequence[int] | np.ndarray | None,
    count: int,
) -> np.ndarray:
    """Standard normal numbers (B, V, count), each a function of draw, sample and view alone.

    Box-Muller.
    """
    half = (count + 1) // 2
    uniform = batch_uniforms(draw, sample_ids, 2 * half, repeats)
    radius = np.sqrt(-2 * np.log1p(-uniform[..., :half]))  # 1 - uniform is in (0, 1]
    angle = 2 * np.pi * uniform[..., half:]
    return np.concatenate((radius * np.cos(angle), radius * np.sin(angle)), -1)[..., :count]
