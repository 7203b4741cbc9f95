"""The composer of one stage against its rules and the stream's cut; then the scenarios."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from hydra.utils import instantiate
from omegaconf import OmegaConf
from PIL import Image

from cgcd.models import InputSpec
from cgcd.vocabulary import UNLABELED, InputError
from scenarios import (
    OnlineProtocol,
    SingleStageProtocol,
    compose_online,
    compose_single_stage,
    dataset_gcd_scenario,
    digits_gcd_scenario,
    features_gcd_scenario,
    image_folder_gcd_scenario,
)
from scenarios.digits import read_digits, single_stage_composition_from_file

SMALL = SingleStageProtocol(num_known=4)
INPUTS = InputSpec(size=8, crop_pct=0.8)
PROTOCOLS = Path(__file__).resolve().parents[2] / "configs" / "protocol"
COUNTS = 20 + np.arange(11) % 3
TARGETS = np.random.default_rng(0).permutation(np.repeat(np.arange(11), COUNTS))
TESTS = np.random.default_rng(1).permutation(np.repeat(np.arange(11), 5))


@pytest.mark.parametrize("draw", ["pooled", "per_class"])
@pytest.mark.parametrize(
    "changes",
    [{}, {"num_novel": 3}, {"known_classes": (9, 2, 5, 0), "novel_classes": (10, 1, 3)}],
)
def test_the_cut_is_that_of_a_stream(changes: dict, draw: str) -> None:
    """Same images labeled, the stream's images unlabeled, with the same rows."""
    word = {"pooled": "uniform", "per_class": "per_class"}[draw]
    streamed = compose_online(
        TARGETS, OnlineProtocol(num_known=4, labeled_draw=word, **changes), seed=5
    )
    composition = compose_single_stage(
        TARGETS, TESTS, replace(SMALL, labeled_draw=draw, **changes), 5
    )
    for mine, theirs in (("labeled", "labeled"), ("labels", "labels"), ("unlabeled", "stream")):
        np.testing.assert_array_equal(getattr(composition, mine), getattr(streamed, theirs))
    np.testing.assert_array_equal(composition.truth, streamed.truth)
    classes = composition.class_order.tolist()
    assert classes == streamed.class_order.tolist()
    assert composition.test.tolist() == np.flatnonzero(np.isin(TESTS, classes)).tolist()
    assert [classes[row] for row in composition.test_rows] == TESTS[composition.test].tolist()


def test_the_published_draw_is_the_default() -> None:
    """int(0.5 n) of the known classes' images together, by the legacy generator."""
    composition = compose_single_stage(TARGETS, None, replace(SMALL, split_seed=0), 99)
    known = np.flatnonzero(TARGETS < 4)
    places = np.random.RandomState(0).permutation(len(known))[: len(known) // 2]
    assert composition.labeled.tolist() == sorted(known[places])
    assert len(composition.test) == 0 == len(composition.test_rows)


@pytest.mark.parametrize(
    ("name", "counts", "sizes"),
    [
        ("gcd_cifar10", [5000] * 10, (12_500, 37_500)),
        ("gcd_cifar100", [500] * 100, (20_000, 30_000)),
        ("gcd_digits", np.bincount(read_digits().train_targets), (315, 943)),
        ("gcd_imagenet100", [1300] * 1000, (32_500, 97_500)),
    ],
)
def test_sizes_of_the_protocol_files(name: str, counts: list[int], sizes: tuple) -> None:
    protocol = instantiate(OmegaConf.load(PROTOCOLS / f"{name}.yaml"))
    targets = np.repeat(np.arange(len(counts)), counts)
    described = compose_single_stage(targets, targets, protocol, 1).describe()
    assert (described["labeled"], described["unlabeled"]) == sizes
    (stage,) = described["stages"]
    assert sum(stage["images_per_class"].values()) == sum(sizes) == described["test"]
    assert described["known_in_unlabeled"] + described["novel_in_unlabeled"] == sizes[1]
    OmegaConf.create(described)  # accepts plain data only


def test_imagenet100_is_the_published_subset() -> None:
    drawn = np.sort(np.random.RandomState(0).choice(1000, 100, replace=False)).tolist()
    protocol = instantiate(OmegaConf.load(PROTOCOLS / "gcd_imagenet100.yaml"))
    assert [*protocol.known_classes, *protocol.novel_classes] == drawn
    assert drawn[:8] == [1, 14, 27, 31, 45, 55, 77, 103]


def test_herbarium_has_the_published_lists(shared: Path) -> None:
    text = (shared / "splits" / "herbarium_19.txt").read_text(encoding="utf-8")
    old, new = ([*map(int, line.split()[1:])] for line in text.splitlines())
    protocol = instantiate(OmegaConf.load(PROTOCOLS / "gcd_herbarium19.yaml"))
    assert [*protocol.known_classes] == old and [*protocol.novel_classes] == new
    assert sorted(old + new) == list(range(683))


@pytest.mark.parametrize(
    ("name", "file"), [("gcd_cub", "cub"), ("gcd_cars", "scars"), ("gcd_aircraft", "aircraft")]
)
def test_classes_are_the_lists_in_their_order(shared: Path, name: str, file: str) -> None:
    text = (shared / "splits" / f"{file}.txt").read_text(encoding="utf-8")
    lists = {words[0]: [*map(int, words[1:])] for words in map(str.split, text.splitlines()[1:])}
    novel = [c for part in ("hard", "medium", "easy") for c in lists[f"unknown_{part}"]]
    protocol = instantiate(OmegaConf.load(PROTOCOLS / f"{name}.yaml"))
    assert [*protocol.known_classes] == lists["known"]
    assert [*protocol.novel_classes] == novel
    assert sorted([*lists["known"], *novel]) == list(range(len(lists["known"]) * 2))


def test_the_hash_covers_everything() -> None:
    composition = compose_single_stage(TARGETS, TESTS, SMALL, 0)
    names = "labeled labels unlabeled truth test test_rows class_order".split()
    for name in names:
        array = getattr(composition, name).copy()
        array[0] += 1
        assert replace(composition, **{name: array}).hash != composition.hash
    assert replace(composition, num_known=5).hash != composition.hash
    assert compose_single_stage(TARGETS.astype(np.uint8), TESTS, SMALL, 0).hash == composition.hash


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"labeled_draw": "uniform"}, "labeled_draw is 'uniform'; wanted pooled or per_class"),
        ({"num_novel": 0}, "num_novel is 0; wanted 1 novel classes or more"),
        ({"num_known": 0}, "num_known is 0"),
        ({"num_known": 12}, "num_known is 12; wanted at most the data's 11 classes"),
        ({"num_known": 11, "labeled_fraction": 1.0}, "at least 1 image that is not labeled"),
        ({"labeled_fraction": 0.001}, "labels none of the"),
        ({"num_novel": 8}, "num_novel is 8; wanted at most the 7"),
        ({"known_classes": (0, 1)}, "as many as the 2 of known_classes"),
    ],
)
def test_wrong_values_are_named(changes: dict, message: str) -> None:
    with pytest.raises(InputError, match=message):
        compose_single_stage(TARGETS, TESTS, replace(SMALL, **changes), 0)


# ------------------------------------------------------------------ scenarios


def test_digits_show_half_of_the_known_classes_and_nothing_else() -> None:
    scenario = digits_gcd_scenario(inputs=INPUTS)
    data = read_digits()
    (stage,) = scenario.train_stream
    ids = np.asarray(list(stage.dataset.sample_id))
    assert ids.tolist() == list(range(1258))  # the place tells nothing
    shown = stage.labels != UNLABELED
    assert shown.sum() == 315 and (data.train_targets[ids[shown]] == stage.labels[shown]).all()
    assert set(stage.labels[shown].tolist()) == set(range(5)) and stage.num_novel == 5
    truth = scenario.unlabeled_stream[0]
    np.testing.assert_array_equal(list(truth.dataset.sample_id), ids[~shown])
    np.testing.assert_array_equal(truth.labels, data.train_targets[ids[~shown]])
    np.testing.assert_array_equal(scenario.test_stream[0].labels, data.test_targets)
    assert (scenario.name, scenario.num_base, scenario.n_classes) == ("digits_gcd", 5, 10)
    samples = stage.dataset.train()[0], truth.dataset.eval()[0]
    assert [sample[0].shape for sample in samples] == [(2, 3, 8, 8), (3, 8, 8)]


def test_who_is_not_told_is_not_told() -> None:
    for word, told, name in (("estimate", None, "estimate"), (7, None, "given")):
        scenario = digits_gcd_scenario(inputs=INPUTS, num_novel=word)
        assert scenario.train_stream[0].num_novel is told and scenario.num_novel == name


@pytest.mark.parity
def test_the_stage_of_the_baseline_runs(shared: Path) -> None:
    path = shared / "parity" / "digits_stages.npz"
    arrays, composition = single_stage_composition_from_file(path)
    plan = dict(np.load(path))
    order = [*plan["known_classes"], *plan["novel_order"]]
    assert composition.class_order.tolist() == order
    train, test = np.sort(plan["train_index"]), np.sort(plan["test_index"])
    for mine, member, source in (
        (composition.labeled, "gcd_labelled", train),
        (composition.unlabeled, "gcd_unlabelled", train),
        (composition.test, "gcd_test", test),
    ):
        np.testing.assert_array_equal(source[mine], np.sort(plan[member]))
    rows = np.argsort(order)[plan["labels"]]
    np.testing.assert_array_equal(composition.truth, rows[train[composition.unlabeled]])
    np.testing.assert_array_equal(composition.labels, rows[train[composition.labeled]])
    np.testing.assert_array_equal(composition.test_rows, rows[test[composition.test]])
    scenario = digits_gcd_scenario(inputs=INPUTS, stages_file=path)
    assert scenario.stream_hash == composition.hash
    assert len(arrays.train_targets) == len(scenario.train_stream[0].dataset)


def test_a_file_without_a_test_part_of_its_own_is_named(shared: Path, tmp_path: Path) -> None:
    plan = dict(np.load(shared / "parity" / "digits_stages.npz"))
    for member, value, message in (
        ("gcd_test", None, "lacks 'gcd_test'"),
        ("gcd_test", plan["gcd_labelled"], "mix training and test images"),
        ("gcd_unlabelled", plan["gcd_labelled"], "name an image twice"),
    ):
        changed = {**plan, member: value}
        path = tmp_path / "digits.npz"
        np.savez(path, **{k: v for k, v in changed.items() if v is not None})
        with pytest.raises(InputError, match=message):
            single_stage_composition_from_file(path)


def test_cifar10_from_an_npz(tmp_path: Path) -> None:
    generator = np.random.default_rng(0)
    images = generator.integers(0, 256, (120, 32, 32, 3), dtype=np.uint8)
    np.savez(tmp_path / "c.npz", x=images, y=np.arange(120) % 10, split=np.arange(120) // 10 % 2)
    protocol = instantiate(OmegaConf.load(PROTOCOLS / "gcd_cifar10.yaml"))
    scenario = dataset_gcd_scenario(
        dataset="cifar10",
        name="cifar10_gcd",
        inputs=INPUTS,
        data_root=tmp_path / "c.npz",
        protocol=protocol,
        seed=3,
    )
    assert scenario.description["labeled"] == 15 and scenario.description["test"] == 60
    assert scenario.name == "cifar10_gcd"


@pytest.mark.parametrize("with_test", [True, False])
def test_image_folders_with_and_without_a_test_part(tmp_path: Path, with_test: bool) -> None:
    for part in ["train", "test"][: 1 + with_test]:
        for name in "abcd":
            (tmp_path / part / name).mkdir(parents=True)
            for number in range(4):
                image = Image.new("RGB", (9, 9), (number, 0, 0))
                image.save(tmp_path / part / name / f"{number}.png")
    scenario = image_folder_gcd_scenario(
        inputs=INPUTS,
        data_root=tmp_path,
        name="letters",
        protocol=SingleStageProtocol(num_known=2, labeled_draw="per_class"),
    )
    assert scenario.name == "letters" and scenario.class_names == tuple("abcd")
    assert list(scenario.parts) == (["unlabeled", "test"] if with_test else ["unlabeled"])
    assert scenario.description["labeled"] == 4 and scenario.description["unlabeled"] == 12


@pytest.mark.parametrize("with_test", [True, False])
def test_features_take_their_test_part_from_the_file(tmp_path: Path, with_test: bool) -> None:
    vectors = np.random.default_rng(0).standard_normal((60, 5)).astype(np.float32)
    split = {"split": np.arange(60) // 4 % 3} if with_test else {}
    np.savez(tmp_path / "f.npz", f=vectors, y=np.arange(60) % 4, **split)
    scenario = features_gcd_scenario(
        inputs=InputSpec(vector=5),
        data_root=tmp_path / "f.npz",
        protocol=SingleStageProtocol(num_known=2),
        normalize=False,
    )
    if not with_test:
        assert list(scenario.parts) == ["unlabeled"]
        return
    tested = scenario.test_stream[0]
    got = torch.stack([sample[0] for sample in tested.dataset.eval()])
    np.testing.assert_allclose(got, vectors[split["split"] == 1])
    assert tested.labels.tolist() == (np.arange(60) % 4)[split["split"] == 1].tolist()
    vectors[5] = np.nan
    np.savez(tmp_path / "f.npz", f=vectors, y=np.arange(60) % 4, **split)
    with pytest.raises(InputError, match="the first is row 5"):
        features_gcd_scenario(
            inputs=InputSpec(vector=5),
            data_root=tmp_path / "f.npz",
            protocol=SingleStageProtocol(num_known=2),
        )
