"""Image folders: what the scan leaves out, and when it refuses to go on."""

from __future__ import annotations

import logging
import warnings
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from cgcd.models import InputSpec
from cgcd.vocabulary import InputError
from scenarios import OnlineProtocol, compose_online, image_folder_online_scenario
from scenarios.folder import read_image_folder, scan_image_folder

CLASSES = ("ant", "bee", "cat")
PROTOCOL = OnlineProtocol(num_known=2)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Ten images of each of three classes, JPEG and PNG."""
    generator = np.random.default_rng(0)
    root = tmp_path / "data"
    for name in CLASSES:
        folder = root / "train" / name
        folder.mkdir(parents=True)
        for number in range(10):
            pixels = generator.integers(0, 256, (40, 50, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(folder / f"{number}.{'jpg' if number % 2 else 'png'}")
    return root


def damage(root: Path) -> dict[str, str]:
    """Four files of which no image comes, with a word of the reason of each."""
    train = root / "train"
    whole = (train / "ant" / "1.jpg").read_bytes()
    (train / "ant" / "1.jpg").write_bytes(whole[: len(whole) // 2])  # its header is sound
    (train / "bee" / "2.png").write_text("no image")
    outside = root.parent / "outside.png"
    Image.new("RGB", (8, 8)).save(outside)
    (train / "bee" / "4.png").unlink()
    (train / "bee" / "4.png").symlink_to(outside)
    (train / "cat" / "6.png").write_bytes(b"")
    return {
        "train/ant/1.jpg": "truncated",
        "train/bee/2.png": "cannot identify",
        "train/bee/4.png": "leads out of data_root",
        "train/cat/6.png": "cannot identify",
    }


def test_whole_folders_lose_nothing(root: Path, caplog: pytest.LogCaptureFixture) -> None:
    (root / "train" / "ant" / "Thumbs.db").write_text("no name of an image")
    scan = scan_image_folder(root)
    assert scan.class_names == CLASSES and scan.skipped == [] and not caplog.records
    assert scan.targets.tolist() == np.repeat([0, 1, 2], 10).tolist()
    paths = [Path(path).relative_to(root).as_posix() for path in scan.images.paths]
    assert paths == sorted(paths) and len(paths) == 30
    assert scan.images[0].size == (50, 40)


def test_unreadable_files_are_left_out_and_listed(
    root: Path, caplog: pytest.LogCaptureFixture
) -> None:
    reasons = damage(root)
    with caplog.at_level(logging.WARNING):
        scenario = image_folder_online_scenario(
            inputs=InputSpec(size=24), data_root=root, protocol=PROTOCOL, max_skipped=0.2
        )
    skipped = scenario.description["skipped"]
    assert [path for path, _ in skipped] == list(reasons)
    for (_, reason), word in zip(skipped, reasons.values(), strict=True):
        assert word in reason and "\n" not in reason
    (record,) = caplog.records
    assert record.getMessage().startswith("4 of 30 files in ")
    assert scenario.description["labeled"] + scenario.description["stream"] == 26
    scan = scan_image_folder(root, max_skipped=0.2)
    assert np.bincount(scan.targets).tolist() == [9, 8, 9]
    assert scenario.stream_hash == compose_online(scan.targets, PROTOCOL, 0).hash
    for stage in scenario.train_stream:
        assert all(sample[0].shape == (3, 24, 24) for sample in stage.dataset.eval())


def test_too_many_unreadable_files_are_fatal(root: Path) -> None:
    damage(root)
    with pytest.raises(InputError) as error:
        scan_image_folder(root)
    text = str(error.value)
    assert text.startswith(f"4 of 30 files in {root / 'train'} are no readable images")
    assert "train/ant/1.jpg (OSError: " in text and "at most 5.0%" in text
    assert text.endswith("set scenario.max_skipped=0.14")
    with pytest.raises(InputError, match="no readable images"):
        scan_image_folder(root, max_skipped=0.13)
    assert len(scan_image_folder(root, max_skipped=0.14).skipped) == 4
    assert len(scan_image_folder(root, max_skipped=4 / 30).skipped) == 4  # the limit itself will do


def test_a_class_without_any_readable_image_is_fatal(root: Path) -> None:
    for path in (root / "train" / "cat").iterdir():
        path.write_bytes(b"")
    with pytest.raises(InputError, match=r"class 'cat' in .*train has no readable image"):
        scan_image_folder(root, max_skipped=1.0)


def test_links_inside_the_root_are_followed_and_the_root_may_be_one(root: Path) -> None:
    (root / "train" / "bee" / "link.png").symlink_to(root / "train" / "ant" / "0.png")
    (root.parent / "alias").symlink_to(root)
    for place in (root, root.parent / "alias"):
        assert len(scan_image_folder(place).images) == 31
    (root / "train" / "bee" / "lost.png").symlink_to(root / "nowhere.png")
    (lost,) = scan_image_folder(root).skipped
    assert lost[0] == "train/bee/lost.png" and "FileNotFoundError" in lost[1]


def test_a_bomb_is_unreadable(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    Image.new("RGB", (60, 60)).save(root / "train" / "cat" / "big.png")
    Image.new("RGB", (90, 90)).save(root / "train" / "cat" / "huge.png")
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 3000)  # 60 x 60 is a warning, 90 x 90 an error
    with warnings.catch_warnings(record=True) as seen:
        skipped = scan_image_folder(root, max_skipped=0.1).skipped
    assert [path for path, _ in skipped] == ["train/cat/big.png", "train/cat/huge.png"]
    assert all("DecompressionBomb" in reason for _, reason in skipped) and not seen


def test_missing_things_are_named(root: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="data_root is not set"):
        scan_image_folder(None)
    with pytest.raises(InputError, match=r"train is no folder; .*data_root="):
        scan_image_folder(tmp_path)
    for share in (-0.1, 1.5, float("nan")):
        with pytest.raises(InputError, match=r"max_skipped is .*scenario\.max_skipped=0\.05"):
            scan_image_folder(root, share)
    (root / "train" / "dog").mkdir()
    with pytest.raises(InputError, match="dog"):
        scan_image_folder(root)


def test_test_folders_are_read_by_the_classes_of_train(root: Path) -> None:
    folder = root / "test" / "cat"
    folder.mkdir(parents=True)
    Image.new("L", (8, 8)).save(folder / "0.png")
    arrays = read_image_folder(root)
    assert arrays.test_targets.tolist() == [2] and arrays.test_images[0].mode == "RGB"
    (folder / "1.png").write_text("no image")
    with pytest.raises(InputError, match=r"1\.png is no readable image"):
        read_image_folder(root).test_images[1]
    folder.rename(root / "test" / "owl")
    with pytest.raises(InputError, match="'owl' that train has not"):
        read_image_folder(root)
