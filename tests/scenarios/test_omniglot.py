"""Omniglot from an `.npz` and from class folders written here."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from cgcd.models import InputSpec
from cgcd.vocabulary import InputError
from scenarios import OnlineProtocol, dataset_online_scenario
from scenarios.omniglot import read_omniglot

INK = np.random.default_rng(0).integers(0, 2, (12, 9, 9)).astype(bool)
NAMES = ["Greek/character01", "Greek/character02", "Latin/character01", "Anglo/character01"]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Four characters of three drawings, one bit a pixel, black ink; the last is for evaluation."""
    root = tmp_path / "omniglot-py"
    for place, ink in enumerate(INK):
        part = "images_evaluation" if place >= 9 else "images_background"
        character = root / part / NAMES[place // 3]
        character.mkdir(parents=True, exist_ok=True)
        Image.fromarray(~ink).save(character / f"{place % 3:02d}.png")
    (root / "images_background" / "Greek" / "notes.txt").write_text("no character")
    return root


def test_folders_come_back_as_white_ink_on_black(folder: Path) -> None:
    for root in (folder, folder.parent, str(folder)):
        arrays = read_omniglot(root)
        assert arrays.class_names == tuple(NAMES)
        assert arrays.train_targets.tolist() == np.repeat(np.arange(4), 3).tolist()
        assert len(arrays.train_images) == 12 and len(arrays.test_images) == 0
        for image, ink in zip(arrays.train_images, INK, strict=True):
            assert image.mode == "RGB"
            np.testing.assert_array_equal(np.asarray(image), 255 * ink[..., None].repeat(3, -1))


def test_npz_comes_back_image_by_image(tmp_path: Path, folder: Path) -> None:
    path, labels = tmp_path / "omniglot.npz", np.repeat(np.arange(4), 3)
    alphabets = np.array([0, 0, 1, 2], np.uint8)
    images = (255 * INK).astype(np.uint8)
    np.savez(path, x=images, y=labels, classes=NAMES, alphabet_of_class=alphabets)
    arrays, files = read_omniglot(path), read_omniglot(folder)
    assert arrays.class_names == files.class_names
    assert arrays.train_targets.tolist() == files.train_targets.tolist()
    for image, file in zip(arrays.train_images, files.train_images, strict=True):
        np.testing.assert_array_equal(np.asarray(image), np.asarray(file))
    np.savez(path, x=images, y=labels)
    assert read_omniglot(path).class_names == ("0", "1", "2", "3")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"x": None}, "lacks 'x'"),
        ({"x": np.zeros((12, 9, 8), np.uint8)}, r"'x' is uint8 of shape \(12, 9, 8\)"),
        ({"x": np.zeros((12, 9, 9))}, "'x' is float64"),
        ({"x": np.zeros((12, 81), np.uint8)}, "'x' is uint8"),
        ({"y": np.zeros(11, int)}, r"shape \(11,\) for 12 images"),
        ({"y": np.full(12, 4)}, "labels run from 4 to 4; wanted 0 to 3"),
        ({"classes": np.arange(4)}, "'classes' is int64"),
    ],
)
def test_wrong_members_are_named(tmp_path: Path, changes: dict, message: str) -> None:
    arrays = {
        "x": np.zeros((12, 9, 9), np.uint8),
        "y": np.repeat(np.arange(4), 3),
        "classes": np.array(NAMES),
        **changes,
    }
    path = tmp_path / "omniglot.npz"
    np.savez(path, **{name: value for name, value in arrays.items() if value is not None})
    with pytest.raises(InputError, match=rf"omniglot\.npz.*{message}.*data_root="):
        read_omniglot(path)


def test_missing_things_are_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="data_root is not set"):
        read_omniglot(None)
    with pytest.raises(InputError, match="nowhere does not exist: set data_root="):
        read_omniglot(tmp_path / "nowhere")
    with pytest.raises(InputError, match="with images_background: set data_root="):
        read_omniglot(tmp_path)
    (tmp_path / "images_background" / "Greek" / "character01").mkdir(parents=True)
    with pytest.raises(InputError, match=r"has no <alphabet>/<character>/\*\.png"):
        read_omniglot(tmp_path)


def test_a_damaged_drawing_is_named(folder: Path) -> None:
    path = folder / "images_background" / NAMES[0] / "01.png"
    path.write_bytes(path.read_bytes()[:40])
    images = read_omniglot(folder).train_images
    with pytest.raises(InputError, match=r"01\.png is no readable image"):
        images[1]


def test_the_real_drawings(shared: Path) -> None:
    scenario = dataset_online_scenario(
        dataset="omniglot",
        name="omniglot",
        inputs=InputSpec(size=32),
        data_root=shared / "data" / "omniglot_35.npz",
        protocol=OnlineProtocol(num_known=100, num_novel=100),
    )
    counts = scenario.description
    assert (counts["labeled"], counts["stream"]) == (1000, 3000)
    assert scenario.class_names[0] == "Arcadian/01"
    view = scenario.stream.dataset.eval()[0][0]
    assert view.shape == (3, 32, 32) and view.mean() < 0  # mostly paper
