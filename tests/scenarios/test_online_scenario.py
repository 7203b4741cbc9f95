"""The scenario of a stream: what it shows, its views, what it costs, and streams from a file."""

from __future__ import annotations

import time
import tracemalloc
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from cgcd.engine.seeding import Draw, drawing
from cgcd.models import InputSpec
from cgcd.stages import OnlineScenario
from cgcd.vocabulary import UNLABELED, InputError
from scenarios import (
    ImageArrays,
    Protocol,
    compose,
    digits_online_scenario,
    discovery_scenario,
    online_scenario,
)
from scenarios.digits import online_composition_from_file, read_digits
from scenarios.online import OnlineComposition, OnlineProtocol, compose_online

INPUTS = InputSpec(size=8, crop_pct=0.8)
TARGETS = np.random.default_rng(0).permutation(np.repeat(np.arange(11), 20))


def small_scenario(**changes: object) -> tuple[OnlineScenario, OnlineComposition, np.ndarray]:
    images = np.random.default_rng(0).integers(0, 256, (len(TARGETS), 9, 9, 3), dtype=np.uint8)
    composition = compose_online(TARGETS, OnlineProtocol(num_known=4, order="shuffled"), 3)
    names = [f"class {c}" for c in range(11)]
    settings = {"name": "small", "inputs": INPUTS, **changes}
    return online_scenario(images, names, composition, **settings), composition, images


def test_the_scenario_shows_the_labels_of_the_base_stage_alone() -> None:
    scenario, composition, _ = small_scenario(window=7)
    base, stream = scenario.train_stream
    assert (base.index, stream.index, scenario.window) == (0, 1, 7)
    assert base.num_novel is None and stream.num_novel is None
    assert base.labels.tolist() == composition.labels.tolist()
    assert (stream.labels == UNLABELED).all() and len(stream.labels) == len(composition.stream)
    assert {int(label) for _, label, *_ in stream.dataset.eval()} == {UNLABELED}
    assert set(stream.dataset.targets) == {UNLABELED}
    assert stream.classes_in_this_experience == []
    np.testing.assert_array_equal(scenario.truth, composition.truth)
    assert list(stream.dataset.sample_id) == composition.stream.tolist()
    assert list(scenario.test_stream[0].dataset.sample_id) == composition.stream.tolist()
    assert scenario.stream_hash == composition.hash
    assert scenario.description == composition.describe()
    assert scenario.class_names == tuple(f"class {c}" for c in range(11))
    assert (scenario.num_base, scenario.num_novel) == (4, "not used")


def test_images_arrive_in_order_with_views_that_hang_on_the_draw() -> None:
    scenario, composition, images = small_scenario()
    evaluated = scenario.stream.dataset.eval()
    spec = scenario.stream.dataset.eval()[0][0].shape
    assert tuple(spec) == (3, 8, 8)
    for place in (0, 5, len(composition.stream) - 1):
        image = Image.fromarray(images[composition.stream[place]])
        resized = np.asarray(image.resize((10, 10), Image.Resampling.BICUBIC), np.float32) / 255
        expected = (resized[1:9, 1:9] - INPUTS.mean) / INPUTS.std
        got = evaluated[place][0].permute(1, 2, 0).numpy()
        np.testing.assert_allclose(got, expected, atol=1e-4)
    train = scenario.stream.dataset.train()
    with drawing(Draw(seed=1, num_views=3)):
        first, again = train[4][0], train[4][0]
    with drawing(Draw(seed=2, num_views=3)):
        other = train[4][0]
    assert first.shape == (3, 3, 8, 8)
    assert torch.equal(first, again) and not torch.equal(first, other)


def test_a_window_or_a_model_that_does_not_fit_is_refused() -> None:
    with pytest.raises(InputError, match=r"window is 0; .*scenario\.window=100"):
        small_scenario(window=0)
    with pytest.raises(InputError, match="RandomCrop be one of them"):
        small_scenario(augmentations=())
    vectors = replace(INPUTS, vector=16)
    with pytest.raises(
        InputError, match=r"gives images and the model takes vectors of 16 .*model="
    ):
        small_scenario(inputs=vectors)
    images = np.zeros((len(TARGETS), 9, 9, 3), np.uint8)
    data = ImageArrays(images, TARGETS, images, TARGETS, tuple(map(str, range(11))))
    protocol = Protocol(num_base=4, num_stages=1, samples_per_novel=5, samples_per_known=2)
    staged = compose(TARGETS, TARGETS, protocol, 0)
    with pytest.raises(InputError, match="gives images and the model takes vectors of 16"):
        discovery_scenario(data, staged, name="staged", inputs=vectors)


class ManyImages:
    """A million images, none of which is there."""

    def __len__(self) -> int:
        return 10**6

    def __getitem__(self, index: int) -> Image.Image:
        return Image.new("RGB", (9, 9))


def test_a_million_images_cost_their_indices() -> None:
    many = np.random.default_rng(0).integers(0, 200, 10**6)
    start = time.perf_counter()
    composition = compose_online(many, OnlineProtocol(num_known=100, order="shuffled"), 0)
    assert time.perf_counter() - start < 5  # 0.2 s on a free core
    tracemalloc.start()
    scenario = online_scenario(
        ManyImages(), [""] * 200, composition, name="many", inputs=INPUTS, window=1000
    )
    assert len(scenario.stream.dataset) > 7 * 10**5
    scenario.stream.dataset.eval()[0]
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert (
        peak < 40e6
    )  # 15 MB here; labels beyond 256 rows cost more, Python makes a number of each


def test_digits_use_their_training_images_alone() -> None:
    inputs = InputSpec(size=24)
    scenario = digits_online_scenario(inputs=inputs)
    data = read_digits()
    composition = compose_online(data.train_targets, OnlineProtocol(num_known=5), 0)
    assert scenario.stream_hash == composition.hash
    assert len(composition.labeled) + len(composition.stream) == len(data.train_targets) == 1258
    assert len(composition.labeled) == 314 and scenario.class_names == tuple("0123456789")
    assert digits_online_scenario(inputs=inputs, seed=1).stream_hash != composition.hash
    assert scenario.name == "digits_online" and scenario.setting == "online"


@pytest.mark.parity
def test_the_stream_of_the_baseline_runs(shared: Path) -> None:
    path = shared / "parity" / "digits_stages.npz"
    arrays, composition = online_composition_from_file(path)
    plan = dict(np.load(path))
    train, labels = plan["train_index"], plan["labels"]
    assert sorted(train[composition.labeled]) == sorted(plan["gcd_labelled"])
    np.testing.assert_array_equal(train[composition.stream], plan["gcd_unlabelled"])
    assert len(composition.labeled) + len(composition.stream) == len(train)
    order = np.array([*plan["known_classes"], *plan["novel_order"]])
    np.testing.assert_array_equal(order[composition.labels], labels[train[composition.labeled]])
    np.testing.assert_array_equal(order[composition.truth], labels[plan["gcd_unlabelled"]])
    shown = np.minimum(16 * plan["images"].astype(int), 255)
    np.testing.assert_array_equal(
        arrays.train_images[composition.stream][..., 2], shown[plan["gcd_unlabelled"]]
    )
    scenario = digits_online_scenario(inputs=InputSpec(size=24), stages_file=path)
    assert scenario.stream_hash == composition.hash
    np.testing.assert_array_equal(scenario.truth, composition.truth)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({}, None),
        ({"gcd_unlabelled": None}, "lacks 'gcd_unlabelled'"),
        ({"gcd_unlabelled": np.array([8, 2, 0])}, "name an image twice"),
        ({"gcd_unlabelled": np.array([1, 2])}, "mix training and test"),
        ({"gcd_labelled": np.array([0])}, "gcd_labelled is not of all known_classes"),
        ({"gcd_labelled": np.array([0, 4, 10])}, "gcd_labelled is not of all known_classes"),
        ({"novel_order": np.array([3])}, "a class that is neither"),
        ({"novel_order": np.array([1])}, "share a class"),
    ],
)
def test_a_file_keeps_the_order_of_its_stream(
    tmp_path: Path, changes: dict, message: str | None
) -> None:
    plan = {
        "images": np.zeros((12, 8, 8), np.uint8),
        "labels": np.repeat([0, 1, 2], 4),
        "train_index": np.arange(0, 12, 2),
        "test_index": np.arange(1, 12, 2),
        "known_classes": np.array([1, 0]),
        "novel_order": np.array([2]),
        "gcd_labelled": np.array([4, 0]),
        "gcd_unlabelled": np.array([8, 2, 6]),
        **changes,
    }
    path = tmp_path / "plan.npz"
    np.savez(path, **{name: value for name, value in plan.items() if value is not None})
    if message is not None:
        with pytest.raises(InputError, match=message):
            online_composition_from_file(path)
        return
    _, composition = online_composition_from_file(path)
    assert (composition.labeled.tolist(), composition.labels.tolist()) == ([0, 2], [1, 0])
    assert (composition.stream.tolist(), composition.truth.tolist()) == ([4, 1, 3], [2, 1, 0])
