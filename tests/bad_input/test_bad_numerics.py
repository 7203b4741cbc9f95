"""Numbers that run away and stages that are odd: refused with step and term, or lived through."""

from __future__ import annotations

import csv
import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from strategies import Happy

Arrays = tuple[np.ndarray, np.ndarray]


def spoil_losses(
    patch: pytest.MonkeyPatch, stage: int, step: int, value: float, *names: str
) -> None:
    """Terms of a step become a number that is none."""
    losses = Happy.losses

    def spoiled(self: Happy, batch: Any) -> dict[str, torch.Tensor]:
        terms = dict(losses(self, batch))
        if (self.stage_index, self.clock.train_exp_iterations) == (stage, step):
            terms |= {name: terms[name] * value for name in names}
        return terms

    patch.setattr(Happy, "losses", spoiled)


@pytest.mark.parametrize(
    ("stage", "step", "name", "value"),
    [
        (0, 1, "contrastive", math.nan),
        (1, 2, "feature_distillation", math.nan),
        (1, 0, "prototype_replay", -math.inf),
    ],
)
def test_a_term_that_is_no_number_is_named_and_the_last_checkpoint_kept(
    stage: int,
    step: int,
    name: str,
    value: float,
    tiny: Callable,
    tmp_path: Path,
    place: Path,
    refused: Callable,
    works: Callable,
) -> None:
    command = tiny(f"runs_root={tmp_path}")
    with pytest.MonkeyPatch.context() as patch:
        spoil_losses(patch, stage, step, value, name)
        recipe = "continual" if stage else "base"
        mend = f"lower strategy.{recipe}.optimizer.lr"
        said = refused(command, f"stage {stage}, step {step}: the loss term {name} is ", mend)
        assert (
            "distillation, contrastive" not in said and "what was stored before it is kept" in said
        )
    (folder,) = tmp_path.iterdir()
    kept = sorted(path.name for path in (folder / "checkpoints").glob("stage_*"))
    assert kept == [f"stage_{s:03d}" for s in range(stage)]
    out = works(command)
    assert ("going on after stage 0" in out) == (stage == 1) and "headline" in out


def test_two_terms_are_both_named(
    tiny: Callable, place: Path, refused: Callable, monkeypatch: pytest.MonkeyPatch
) -> None:
    spoil_losses(monkeypatch, 0, 0, math.nan, "contrastive", "mean_entropy")
    refused(tiny("runs_root=out"), "mean_entropy is nan, contrastive is nan", "finite number")


RATES = [
    ("strategy.base.optimizer.lr=1e30", "stage 0, step 1: the loss term"),
    ("strategy.continual.optimizer.lr=1e25", "stage 1, step 1: the loss term"),
    ("strategy.base.weights.contrastive=1e39", "the weighted sum of self_distillation"),
]


@pytest.mark.parametrize(("override", "words"), RATES)
def test_a_rate_that_is_too_high(
    override: str, words: str, tiny: Callable, place: Path, refused: Callable, works: Callable
) -> None:
    refused(tiny(override, "runs_root=out"), words, "wanted a finite number", "optimizer.lr")
    works(tiny())


def test_weights_that_only_the_last_step_ruins(
    tiny: Callable, place: Path, refused: Callable
) -> None:
    one_step = ["strategy.base.batch_size=70", "strategy.base.optimizer.lr=1e30"]
    refused(tiny(*one_step), "stage 0: after step 1 the weights backbone", "wanted numbers below")


def test_a_warm_up_that_runs_away(
    tiny: Callable, place: Path, refused: Callable, works: Callable
) -> None:
    def command(lr: str) -> list[str]:
        recipe = f"_target_:cgcd.engine.WarmUp,steps:3,lr:{lr},even_if_pretrained:true"
        return tiny(f"strategy.warm_up={{{recipe}}}", "runs_root=out")

    for _ in range(2):  # nothing of it was cached
        refused(command("1e30"), "warm-up, ", "lower strategy.warm_up.lr=1e+30")
    works(command("1e-3"))


def test_a_stream_that_runs_away(place: Path, tiny: Callable, refused: Callable) -> None:
    online = [
        word
        for word in tiny("strategy=phe", "strategy.base.optimizer.lr=1e30", "runs_root=out")
        if "continual" not in word and "num_stages" not in word
    ]
    online[online.index("scenario=features")] = "scenario=features_online"
    protocol = ["scenario.protocol.num_known=3", "scenario.protocol.num_novel=3"]
    sizes = ["strategy.hash_hidden=16", "strategy.hash_bottleneck=8", "strategy.backbone_lr=1e30"]
    refused(
        [*online, *protocol, *sizes, "strategy.base.schedule=constant"],
        "stage 0, step 1: the loss term",
        "wanted a finite number",
        "lower strategy.base.optimizer.lr",
    )


def measured(root: Path) -> list[dict[str, Any]]:
    (folder,) = root.iterdir()
    rows = json.loads((folder / "results.json").read_text())["stages"]
    assert all(math.isfinite(value) for row in rows for value in row.values())
    with next(folder.glob("predictions/stage_1.csv")).open(newline="") as file:
        assert all(0 <= float(line["confidence"]) <= 1 for line in csv.DictReader(file))
    return rows


ODD = {
    "only novel samples": (["scenario.protocol.samples_per_known=0"], None),
    "more classes than can be found": (["num_novel=30"], 33),
    "more classes than there are": (["num_novel=estimate", "strategy.max_novel=5000"], None),
}


@pytest.mark.parametrize("name", ODD)
def test_odd_stages_are_lived_through(
    name: str, tiny: Callable, place: Path, tmp_path: Path, works: Callable
) -> None:
    overrides, classes = ODD[name]
    works(tiny(*overrides, f"runs_root={tmp_path}"))
    row = measured(tmp_path)[1]
    if classes is not None:  # most of them are never predicted
        assert row["stage/num_classes"] == classes > row["stage/found"]


STAGES = {
    "no novel sample": (lambda f, y: f[y < 3][::2], ["num_novel=1"], None),
    "no novel sample, nobody told": (lambda f, y: f[y < 3][::2], ["num_novel=estimate"], None),
    "all samples alike": (lambda f, y: np.repeat(f[:1], 40, 0), ["num_novel=2"], None),
    "one sample": (lambda f, y: f[:1], ["num_novel=1"], ("holds 1 samples", "lower strategy")),
    "no sample": (lambda f, y: f[:0], ["num_novel=1"], ("stage.npy", "at least one")),
    "more clusters than samples": (
        lambda f, y: f[y == 4],
        ["num_novel=38"],
        ("38 novel classes", "3 known", "40 samples", "num_novel=<number>"),
    ),
}


@pytest.mark.parametrize("name", STAGES)
def test_stages_somebody_has(
    name: str,
    tiny: Callable,
    place: Path,
    tmp_path: Path,
    embeddings: Arrays,
    refused: Callable,
    works: Callable,
) -> None:
    vectors, labels = embeddings
    make, overrides, words = STAGES[name]
    np.savez("known.npz", f=vectors[labels < 3], y=labels[labels < 3])
    np.save("stage.npy", make(vectors, labels))
    command = [
        word for word in tiny(*overrides) if "data_root" not in word and "num_st" not in word
    ]
    command[command.index("scenario=features")] = "scenario=features_stages"
    stages = ["scenario.labeled=known.npz", "scenario.stages=[stage.npy]"]
    command += [*stages, f"runs_root={tmp_path}"]
    if words is None:
        works(command)
        measured(tmp_path)
    else:
        refused(command, *words)
        np.save("stage.npy", vectors[labels == 4])
        works([*command, "num_novel=1"])
