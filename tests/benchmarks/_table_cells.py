"""The cells of `one_table.py`: which strategy runs on which data, as arguments of `cgcd run`."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from online_quality import chosen_classes

SEEDS = (0, 1, 2)
ALWAYS = ("tracking=none", "analysis=false", "device=cpu", "torch_threads=1")
STAGED: Mapping[str, tuple[str, ...]] = {
    "happy": ("strategy=happy",),
    "happy_memory": ("strategy=happy", "strategy.memory_branch=analytic"),
    "proto_gcd": ("strategy=proto_gcd",),
    "simgcd": ("strategy=simgcd",),
    "gcd": ("strategy=gcd",),
    "nmc": ("strategy=nmc",),
    "gaussian": ("strategy=gaussian",),
    "analytic": ("strategy=analytic",),
    "vb_cgcd": ("strategy=vb_cgcd",),
    "vb_cgcd_closed": ("strategy=vb_cgcd", "strategy.fit=closed"),
}
FROZEN = ("nmc", "gaussian", "analytic", "vb_cgcd", "vb_cgcd_closed")
AS_THEY_COME = ("model=identity", "strategy.tune_base=false")
LEARNED_MAP = ("model=adapter", "strategy.base.epochs=10", "strategy.continual.epochs=10")
"""What the strategies see of embeddings: those of `FROZEN`, and the others."""
FEW_SAMPLES = ("strategy.num_components=128",)
"""Of published VB-CGCD on Omniglot, whose classes hold at most 20 samples: with its 384 components
a covariance stops being positive definite. Chosen on hidden known classes (`cgcd tune`, two folds,
two stages): 32, 64 and 128 components gave a mean All of 77.5, 88.6 and 92.9."""
STREAMS = ("phe", "smile", "prototype_memory")
PHOTOS = ("happy", "gaussian")
STREAM_SETTINGS: Mapping[tuple[str, str], tuple[str, ...]] = {
    ("phe", "omniglot"): ("strategy.code_length=32", "strategy.separation=12"),
    ("phe", "cifar100"): ("strategy.code_length=16", "strategy.separation=6"),
    ("smile", "omniglot"): ("strategy.code_length=32",),
    ("smile", "cifar100"): ("strategy.code_length=16",),
}
STREAM_LEARNED = {
    "phe": ("strategy.prototypes_per_class=1", "scenario.noise=0.04", "strategy.hash_hidden=512"),
    "smile": ("strategy.hash_hidden=512",),
}
"""Of the streams of embeddings; code lengths by the number of classes, the others chosen by hiding
half of the known classes (`online_quality.py choose`, of twelve settings, seeds 0 and 1): nearest
to a Novel of 5 points above the closed-set bound, known classes named within 3 of it, and 0.5 to 3
times as many categories as classes."""
STREAM_EPOCHS = {"cifar100": 33, "omniglot": 150}
"""About 1,200 steps on what is labeled."""
HALVES = {"cifar100": 50, "omniglot": 100}
"""Known classes of each data set of embeddings; as many are novel."""
SECONDS = {
    **{"happy": 150, "happy_memory": 170, "proto_gcd": 150, "simgcd": 150, "gcd": 150},
    **{"nmc": 20, "gaussian": 35, "analytic": 60, "vb_cgcd": 400, "vb_cgcd_closed": 35},
    **{"phe": 60, "smile": 60, "prototype_memory": 30},
}
"""Seconds of a processor that a run on embeddings may take: a guess until one was measured."""
DIGITS_SHARE, PHOTOS_SHARE = 0.6, 12.0
"""Digits and photos beside that."""


@dataclass(frozen=True)
class Cell:
    """One run of the table.

    Attributes:
        dataset, strategy: row of the table; a strategy that counts the classes itself ends in
            `-estimated`.
        seed: of the run.
        arguments: of `cgcd run`.
    """

    dataset: str
    strategy: str
    seed: int
    arguments: tuple[str, ...]

    @property
    def name(self) -> str:
        return f"{self.dataset}/{self.strategy}/{self.seed}"

    @property
    def guessed_seconds(self) -> float:
        share = {"digits": DIGITS_SHARE, "digits_stream": DIGITS_SHARE, "photos": PHOTOS_SHARE}
        return SECONDS[self.strategy.removesuffix("-estimated")] * share.get(self.dataset, 1.0)


def all_cells(files: Mapping[str, Path], quick: bool) -> list[Cell]:
    """Cells of the data that is there.

    Args:
        files: by name: embeddings "cifar100" and "omniglot", the latter as `written_omniglot`
            leaves it, the images "photos", and the "weights" of their network; digits need none.
        quick: one seed, one stage, a step or two: to see whether everything runs.
    """
    seeds = SEEDS[:1] if quick else SEEDS
    cells = [
        Cell(dataset, strategy, seed, (*arguments, f"seed={seed}", *ALWAYS))
        for dataset, strategy, arguments in _rows(files)
        for seed in (seeds if dataset != "photos" else SEEDS[:1])
    ]
    return [_shortened(cell) for cell in cells] if quick else cells


def written_omniglot(source: Path, root: Path) -> Path:
    """A file under `root` of 200 drawn evaluation characters alone; one that is there stays."""
    target = root / "omniglot.npz"
    if not target.exists():
        with tempfile.TemporaryDirectory(dir=root) as scratch:
            chosen_classes(source, HALVES["omniglot"], Path(scratch)).rename(target)
    return target


def _rows(files: Mapping[str, Path]) -> Iterator[tuple[str, str, tuple[str, ...]]]:
    for strategy, arguments in STAGED.items():
        for dataset in ("digits", *HALVES):
            if dataset != "digits" and dataset not in files:
                continue
            given = (*arguments, *_staged(dataset, strategy, files))
            yield dataset, strategy, given
            yield dataset, f"{strategy}-estimated", (*given, "num_novel=estimate")
    for strategy in STREAMS:
        yield "digits_stream", strategy, ("scenario=digits_online", f"strategy={strategy}")
        for dataset, number in HALVES.items():
            if dataset in files:
                stream = _stream(dataset, strategy, files[dataset], number)
                yield f"{dataset}_stream", strategy, (f"strategy={strategy}", *stream)
    for strategy in PHOTOS if {"photos", "weights"} <= files.keys() else ():
        yield "photos", strategy, (*STAGED[strategy], *_photos(strategy, files))


def _staged(dataset: str, strategy: str, files: Mapping[str, Path]) -> tuple[str, ...]:
    if dataset == "digits":
        return ("scenario=digits",)
    learned = list(LEARNED_MAP)
    if dataset == "omniglot" and strategy.startswith("happy"):  # see configs/recipe/features-happy
        learned.append("strategy.continual.optimizer.lr=0.3")
    return (
        "scenario=features",  # the first half of the classes, then five equal shares of the others
        f"data_root={files[dataset]}",
        *(("scenario.protocol.samples_per_known=3",) if dataset == "omniglot" else ()),
        *(AS_THEY_COME if strategy in FROZEN else learned),
        *(FEW_SAMPLES if dataset == "omniglot" and strategy == "vb_cgcd" else ()),
    )


def _stream(dataset: str, strategy: str, file: Path, number: int) -> tuple[str, ...]:
    if strategy in STREAM_LEARNED:
        learned = ("model=adapter", f"strategy.base.epochs={STREAM_EPOCHS[dataset]}")
        chosen = (*learned, *STREAM_LEARNED[strategy], *STREAM_SETTINGS[strategy, dataset])
    else:
        chosen = AS_THEY_COME
    return (
        "scenario=features_online",
        f"data_root={file}",
        f"scenario.protocol.num_known={number}",
        f"scenario.protocol.num_novel={number}",
        "scenario.protocol.order=shuffled",
        "strategy.observe_batch_size=512",
        *chosen,
    )


def _photos(strategy: str, files: Mapping[str, Path]) -> tuple[str, ...]:
    """CIFAR-100 at 96 pixels, a frozen front part, few epochs: experiment=happy_cifar100_reduced
    on all stages."""
    steps = ("epochs=3", "batch_size=64", "optimizer.lr=0.01") if strategy == "happy" else ()
    return (
        "scenario=cifar100",
        f"data_root={files['photos']}",
        "protocol@scenario.protocol=happy_cifar100",
        "scenario.protocol.samples_per_novel=144",
        "scenario.protocol.samples_per_known=9",
        "model=mobilenetv2",
        f"model.weights={files['weights']}",
        "strategy.base.epochs=4",
        "strategy.base.batch_size=64",
        "strategy.base.optimizer.lr=0.05",
        "strategy.teacher_temperature_epochs=3",
        *(f"strategy.continual.{step}" for step in steps),
    )


def _shortened(cell: Cell) -> Cell:
    """The same with as few steps as can be."""
    kind = cell.strategy.removesuffix("-estimated")
    less = ["strategy.base.epochs=1"]
    if kind in STAGED:
        less += ["scenario.protocol.num_stages=1", "strategy.kmeans_starts=1"]
        if kind not in FROZEN:
            less.append("strategy.continual.epochs=1")
    less += {
        "analytic": ["strategy.num_features=50"],
        "happy_memory": ["strategy.memory_features=50"],
        "vb_cgcd": ["strategy.steps=5"],
    }.get(kind, [])
    if cell.dataset.startswith("digits"):
        less.append("strategy.warm_up.steps=2")
    kept = [one for one in cell.arguments if not _is_said_again(one, less)]
    return Cell(cell.dataset, cell.strategy, cell.seed, (*kept, *less))


def _is_said_again(argument: str, later: list[str]) -> bool:
    return any(one.split("=")[0] == argument.split("=")[0] for one in later)
