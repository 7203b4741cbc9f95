"""The composition of a stream against counts made by hand, as a table and as a picture."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import matplotlib.image
import numpy as np
import pytest

from cgcd.models import InputSpec
from cgcd.tracking.composition import class_matrix, composition_text, stage_counts
from cgcd.tracking.composition_picture import draw_composition
from cgcd.vocabulary import UNLABELED
from scenarios import (
    ImageArrays,
    OnlineProtocol,
    Protocol,
    SingleStageProtocol,
    compose,
    compose_online,
    compose_single_stage,
    discovery_scenario,
    online_scenario,
    single_stage_scenario,
)
from scenarios.views import RandomCrop

PROTOCOL = Protocol(
    num_base=2,
    num_stages=2,
    novel_per_stage=1,
    samples_per_novel=6,
    samples_per_known=4,
    shown_fraction=0.5,
)
SETTINGS = {"inputs": InputSpec(size=8), "augmentations": (RandomCrop(),)}


def data(num_classes: int = 4, per_class: int = 20) -> ImageArrays:
    train, test = (np.repeat(np.arange(num_classes), n) for n in (per_class, 3))
    blank = np.zeros((max(len(train), len(test)), 8, 8, 3), dtype=np.uint8)
    names = tuple(f"class {c}" for c in range(num_classes))
    return ImageArrays(blank[: len(train)], train, blank[: len(test)], test, names)


def staged(protocol: Protocol = PROTOCOL, arrays: ImageArrays | None = None):
    arrays = arrays or data()
    composition = compose(arrays.train_targets, arrays.test_targets, protocol, seed=0)
    return composition, discovery_scenario(arrays, composition, name="small", **SETTINGS)


def test_the_counts_are_those_of_the_plans() -> None:
    composition, scenario = staged()
    counts, seen = stage_counts(scenario), set()
    for row, plan in zip(counts, composition.stages, strict=True):
        shown = plan.labels[plan.labels >= 0]
        assert (row.num_known, row.num_novel) == (plan.num_known, len(plan.novel_rows))
        assert (row.labeled, row.unlabeled) == (len(shown), len(plan.labels) - len(shown))
        assert row.repeated == len(seen & set(plan.indices.tolist())) and row.leaked == 0
        assert row.per_class[:, 1].tolist() == plan.class_counts.tolist()
        assert (
            row.per_class[:, 0].tolist()
            == np.bincount(shown, minlength=len(row.per_class)).tolist()
        )
        seen |= set(plan.indices.tolist())
    assert [row.test for row in counts] == [6, 9, 12]
    matrix = class_matrix(counts)
    assert matrix.shape == (4, 3, 2) and matrix[3, :2].sum() == 0
    assert matrix[..., 1].sum() == sum(len(plan.indices) for plan in composition.stages)


def test_the_table_says_who_is_where() -> None:
    _, scenario = staged()
    text = composition_text(scenario, stage_counts(scenario))
    assert "    0      0      2       32          0       6            0" in text
    lines = [line.split() for line in text.splitlines() if line.startswith("class ")]
    assert lines[0] == ["class", "0", "1", "2"] and lines[1][:3] == ["class", "0", "16L"]
    assert lines[4] == ["class", "3", ".", ".", "6"]
    assert "labeled samples that come back without their label: 0" in text
    assert scenario.stream_hash in text and scenario.data_hash in text


def test_a_labeled_sample_that_comes_back_hidden_is_counted() -> None:
    composition, _ = staged()
    base, first, *rest = composition.stages
    indices = np.sort(np.concatenate((base.indices[:3], first.indices[3:])))
    hidden = replace(first, indices=indices, labels=np.full(len(indices), UNLABELED))
    broken = replace(composition, stages=(base, hidden, *rest))
    scenario = discovery_scenario(data(), broken, name="broken", **SETTINGS)
    row = stage_counts(scenario)[1]
    assert (row.leaked, row.repeated) == (3, 3)


def test_many_classes_are_summed_up() -> None:
    _, scenario = staged(replace(PROTOCOL, num_base=28), data(30))
    text = composition_text(scenario, stage_counts(scenario))
    assert "    0  -                                   28: 16 / 16 / 16 (448 L)" in text
    assert "    2  29: 4 / 4 / 4 (" in text and text.count("\n") < 16


def test_without_truth_the_totals_are_left(blobs) -> None:
    scenario = blobs(num_base=3, novel=(1,))  # describes nothing
    counts = stage_counts(scenario)
    assert counts[0].per_class.tolist() == [[24, 24]] * 3 and counts[1].per_class is None
    text = composition_text(scenario, counts)
    assert "1?" in text and counts[1].unlabeled == 42
    scenario.train_stream = scenario.train_stream[1:]
    assert "there is no truth" in composition_text(scenario, stage_counts(scenario))


def others():
    arrays = data()
    online = compose_online(arrays.train_targets, OnlineProtocol(num_known=2), seed=0)
    yield online_scenario(arrays.train_images, arrays.class_names, online, name="s", **SETTINGS)
    single = compose_single_stage(
        arrays.train_targets, arrays.test_targets, SingleStageProtocol(num_known=2), seed=0
    )
    yield single_stage_scenario(arrays, single, name="s", **SETTINGS)


def test_streams_and_single_stages_count_too() -> None:
    online, single = map(stage_counts, others())
    assert [(row.labeled, row.unlabeled, row.test) for row in online] == [
        (20, 0, None),
        (0, 60, None),
    ]
    assert online[1].per_class[:, 1].tolist() == [10, 10, 20, 20]
    assert (single[0].num_known, single[0].num_novel, single[0].test) == (2, 2, 12)
    assert single[0].per_class[:, 0].sum() == 20 and (single[0].per_class[:, 1] == 20).all()


def colors(path: Path) -> tuple[float, float]:
    """Share of the picture that is clearly orange, and clearly blue."""
    pixels = matplotlib.image.imread(path)[..., :3]
    gap = pixels[..., 0] - pixels[..., 2]
    return float((gap > 0.2).mean()), float((gap < -0.2).mean())


@pytest.mark.parametrize("num_classes", [4, 30, 400])
def test_the_picture_is_orange_where_labels_are(num_classes: int, tmp_path: Path) -> None:
    bare = replace(PROTOCOL, num_base=num_classes - 2, shown_fraction=0.0)
    found = []
    for name, protocol in (
        ("bare", bare),
        ("mixed", replace(bare, shown_fraction=1.0)),
    ):
        _, scenario = staged(protocol, data(num_classes))
        path = tmp_path / f"{name}.png"
        draw_composition(stage_counts(scenario), scenario.class_names, "a $title", path)
        found.append(colors(path))
    (orange, blue), (more_orange, less_blue) = found
    assert orange > 0.05 and blue > 0.05
    assert more_orange > 1.5 * orange and less_blue < blue


def test_every_setting_is_drawn(tmp_path: Path, blobs) -> None:
    for place, scenario in enumerate([*others(), blobs()]):
        path = tmp_path / f"{place}.svg"
        draw_composition(stage_counts(scenario), scenario.class_names, "x", path)
        assert path.stat().st_size > 1000
