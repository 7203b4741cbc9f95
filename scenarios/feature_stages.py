"""Continual streams of embeddings: composed of a labeled file, or given stage by stage."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path

import numpy as np

from cgcd.models import InputSpec
from cgcd.stages import DiscoveryScenario
from cgcd.vocabulary import UNLABELED, InputError
from scenarios.composition import Composition
from scenarios.feature_files import FeatureFile, read_feature_file
from scenarios.features import labeled_feature_file, vector_views
from scenarios.given_stages import (
    GivenStages,
    given_stages_scenario,
    held_out_places,
    rows_of_names,
)
from scenarios.protocol import Protocol, compose
from scenarios.staged import StagedProtocol
from scenarios.stream import discovery_stages
from scenarios.truth_file import read_truth


@dataclass(frozen=True, kw_only=True)
class HalfKnown:
    """A protocol for data whose number of classes a config does not know: half of them are labeled.

    Attributes:
        num_stages: continual stages; fewer where there are fewer classes to bring.
        labeled_fraction, samples_per_novel, samples_per_known: see `Protocol`.
    """

    num_stages: int = 5
    labeled_fraction: float = 0.8
    samples_per_novel: int | None = None
    samples_per_known: int = 25

    def of(self, num_classes: int) -> Protocol:
        """The protocol for so many classes: the first half, rounded up, is the base.

        Raises:
            InputError: if there are fewer than two.
        """
        if num_classes < 2:
            raise InputError(
                f"the data has {num_classes} classes; wanted at least 2, one to know and one to"
                " find"
            )
        num_base = (num_classes + 1) // 2
        return Protocol(
            num_base=num_base,
            num_stages=min(self.num_stages, num_classes - num_base),
            labeled_fraction=self.labeled_fraction,
            samples_per_novel=self.samples_per_novel,
            samples_per_known=self.samples_per_known,
        )


def features_scenario(
    *,
    inputs: InputSpec,
    data_root: str | Path | None,
    protocol: StagedProtocol | HalfKnown = HalfKnown(),
    held_out: float = 0.2,
    name: str = "features",
    seed: int = 0,
    num_novel: str | int = "given",
    normalize: bool = True,
    center: bool = False,
    noise: float = 0.0,
) -> DiscoveryScenario:
    """Embeddings computed before, with labels, in stages as images are.

    A sample's number is its row in the file.

    Args:
        inputs: what the model takes, `model.inputs`.
        data_root: a file with labels, see `read_feature_file`; `split` tells who is tested on.
        protocol: which classes come when.
        held_out: share of each class that is tested on where the file has no test part.
        name: of the stream, for folders and tables.
        seed: of the draws of samples.
        num_novel: see `discovery_scenario`.
        normalize, center, noise: see `vector_views`.

    Raises:
        InputError: see `labeled_feature_file`, `compose` and `vector_views`; if the file has no
            test part and nothing is held out.
    """
    file = labeled_feature_file(data_root)
    assert file.targets is not None
    trained, tested = _train_and_test(file, held_out, seed)
    if isinstance(protocol, HalfKnown):
        protocol = protocol.of(1 + int(file.targets.max()))
    composed = compose(file.targets[trained], file.targets[tested], protocol, seed)
    composition = _at(composed, trained, tested)
    base = composition.stages[0].indices
    views = vector_views(
        file.vectors, base, inputs, normalize=normalize, center=center, noise=noise
    )
    return discovery_stages(
        file.vectors,
        file.vectors,
        file.targets,
        file.class_names,
        composition,
        *views,
        name=name,
        num_novel=num_novel,
        sample_names=file.ids,
        sample_kind="sample" if file.ids is None else "id",
    )


def features_stages_scenario(
    *,
    inputs: InputSpec,
    labeled: str | Path,
    stages: str | Path | Sequence[str | Path],
    truth: str | Path | None = None,
    held_out: float = 0.1,
    name: str = "features",
    seed: int = 0,
    num_novel: str | int = "estimate",
    normalize: bool = True,
    center: bool = False,
    noise: float = 0.0,
) -> DiscoveryScenario:
    """Embeddings computed before: one labeled file, then one without labels for each stage.

    Embeddings are told apart by their ids, or by file name and row where a file has none. Labels in
    the files of the stages are a truth like that of `truth`: for measuring, never shown to a
    strategy. The vectors of all files are joined in memory.

    Args:
        inputs: what the model takes, `model.inputs`.
        labeled: file of the known classes, see `read_feature_file`; where it has a `split`, 1 is
            held out and what is neither 0 nor 1 is not used.
        stages: file of each later stage, in order.
        truth: CSV `id,class` that says of some or all embeddings of the stages what they are.
        held_out: share of each class of a file without `split` that is not trained on and measures
            the known classes.
        name: of the stream, for folders and tables.
        seed: of the draw of held-out samples.
        num_novel: see `given_stages_scenario`; "given" needs a truth of every sample.
        normalize, center, noise: see `vector_views`.

    Raises:
        InputError: if a file cannot be read, widths differ, an id occurs in two files, or the truth
            does not fit.
    """
    paths = [stages] if isinstance(stages, str | Path) else list(stages)
    files = [labeled_feature_file(labeled), *map(read_feature_file, paths)]
    names = _joined_names(files)
    given = _given(files, names, truth, held_out, seed)
    views = vector_views(
        given.samples,  # type: ignore[arg-type]
        given.labeled,
        inputs,
        normalize=normalize,
        center=center,
        noise=noise,
    )
    return given_stages_scenario(given, *views, name=name, num_novel=num_novel)


def _train_and_test(file: FeatureFile, held_out: float, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Rows of a labeled file to train and to test on, ascending."""
    assert file.targets is not None
    if file.split is not None and (file.split == 1).any():
        return np.flatnonzero(file.split == 0), np.flatnonzero(file.split == 1)
    rows = np.arange(len(file)) if file.split is None else np.flatnonzero(file.split == 0)
    held = held_out_places(file.targets[rows], held_out, seed)
    if not len(held):
        raise InputError(
            f"{file.path} has no test part and held_out is {held_out}, so nothing is left to test"
            " on; wanted a share above 0: set scenario.held_out=0.2"
        )
    return np.delete(rows, held), rows[held]


def _at(composition: Composition, trained: np.ndarray, tested: np.ndarray) -> Composition:
    """The same stages with rows of the file in place of places in its two parts."""
    plans = [
        replace(plan, indices=trained[plan.indices], test_indices=tested[plan.test_indices])
        for plan in composition.stages
    ]
    return replace(composition, stages=tuple(plans))


def _joined_names(files: Sequence[FeatureFile]) -> tuple[str, ...]:
    first: dict[str, Path] = {}
    widths = [file.vectors.shape[1] for file in files]
    for file, width in zip(files, widths, strict=True):
        if width != widths[0]:
            raise InputError(
                f"{file.path} has embeddings of {width} values and {files[0].path} of {widths[0]};"
                " wanted those of one model: compute them again"
            )
        for name in file.names:
            if name in first:
                raise InputError(
                    f"{file.path} and {first[name]} both hold the id {name!r}; wanted every"
                    " embedding in one place: leave it out of one, or give the files other names"
                    " where they have no ids"
                )
        first.update(dict.fromkeys(file.names, file.path))
    return tuple(name for file in files for name in file.names)


def _given(
    files: Sequence[FeatureFile],
    names: tuple[str, ...],
    truth: str | Path | None,
    held_out: float,
    seed: int,
) -> GivenStages:
    """Who is where, in the order of the files."""
    known = files[0]
    assert known.targets is not None
    used, labels = np.unique(known.targets, return_inverse=True)
    class_names = tuple(known.class_names[c] for c in used)
    if known.split is None:
        held = held_out_places(labels, held_out, seed)
        trained = np.setdiff1d(np.arange(len(known)), held)
    else:
        trained, held = np.flatnonzero(known.split == 0), np.flatnonzero(known.split == 1)
    ends = np.cumsum([len(file) for file in files])
    stages = tuple(np.arange(*pair) for pair in pairwise(ends))
    told: list[str | None] = [class_names[row] for row in labels]
    for file in files[1:]:
        targets = np.full(len(file), UNLABELED) if file.targets is None else file.targets
        told += [None if t == UNLABELED else file.class_names[t] for t in targets]
    if truth is not None:
        _add_truth(told, names, len(known), truth)
    rows, all_names = None, class_names
    if any(name is not None for name in told[len(known) :]):
        rows, all_names = rows_of_names(told, class_names, stages)
    return GivenStages(
        samples=np.concatenate([file.vectors for file in files]),
        sample_names=names,
        labeled=trained,
        labels=labels[trained],
        held_out=held,
        held_out_labels=labels[held],
        stages=stages,
        truth=rows,
        class_names=all_names,
    )


def _add_truth(
    told: list[str | None], names: Sequence[str], num_labeled: int, path: str | Path
) -> None:
    """Put what a truth file says into the classes of the samples, in place."""
    place = {name: index for index, name in enumerate(names)}
    for name, label in read_truth(path, names, column="id").items():
        index = place[name]
        if told[index] not in (None, label):
            where = "labeled" if index < num_labeled else "in its own file"
            raise InputError(
                f"{path} gives {name!r} the class {label!r} and it is {where} as {told[index]!r};"
                " wanted one class: mend the line or leave it out"
            )
        told[index] = label
