"""The cache of decoded images: the same bits with and without it, bounded, and never stale."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from cgcd.engine.image_loading import PixelSource
from cgcd.models import InputSpec
from cgcd.places import input_cache, input_cache_bytes
from cgcd.stages import Sample
from cgcd.vocabulary import InputError
from scenarios import folder_scenario, image_folder_scenario
from scenarios import input_cache as module
from scenarios.folder import ImageFiles
from scenarios.input_cache import CachedImages, cached_images
from scenarios.photos import PhotoFiles
from scenarios.protocol import Protocol
from scenarios.stream import at_hand
from scenarios.views import CenterView, resized_image

SPEC = InputSpec(size=12, crop_pct=0.75)
ALL = 2**20
PROTOCOL = Protocol(
    num_base=1, num_stages=1, novel_per_stage=1, samples_per_novel=4, samples_per_known=2
)


@pytest.fixture
def paths(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Nine images of three shapes; the cache is empty."""
    monkeypatch.setenv("CGCD_CACHE", str(tmp_path / "cache"))
    generator = np.random.default_rng(0)
    found = []
    for number in range(9):
        path = tmp_path / f"{number}.{'png' if number % 2 else 'jpg'}"
        shape = (20 + 4 * (number % 3), 24, 3)
        Image.fromarray(generator.integers(0, 256, shape, dtype=np.uint8)).save(path)
        found.append(str(path))
    return found


@pytest.fixture
def decoded(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """What was resized on the way into the cache."""
    seen: list[Any] = []
    monkeypatch.setattr(
        module, "resized_image", lambda *pair: (seen.append(pair), resized_image(*pair))[1]
    )
    return seen


def cached(paths: list[str], most: int = ALL, spec: InputSpec = SPEC) -> CachedImages:
    (images,) = cached_images([ImageFiles(paths)], spec, most)
    return images


def shards(paths: list[str]) -> list[Path]:
    return sorted((Path(paths[0]).parent / "cache" / "images").glob("*/*.safetensors"))


def assert_same_pixels(images: CachedImages, paths: list[str]) -> None:
    files = ImageFiles(paths)
    assert len(images) == len(files) and images.paths == files.paths
    for index in range(len(files)):
        wanted = np.asarray(resized_image(files[index], SPEC))
        assert np.array_equal(images.resized(index, SPEC).permute(1, 2, 0).numpy(), wanted)
        view = CenterView(SPEC)
        assert torch.equal(view(Sample(images[index], 0)), view(Sample(files[index], 0)))


def test_a_second_run_decodes_nothing_and_sees_the_same(
    paths: list[str], decoded: list[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_SHARD_BYTES", 3000)
    assert_same_pixels(cached(paths), paths)
    assert len(decoded) == 9 and len(shards(paths)) > 2
    again = cached(paths)
    assert len(decoded) == 9 and again.holds(SPEC) and isinstance(again, PixelSource)
    assert_same_pixels(again, paths)
    assert_same_pixels(pickle.loads(pickle.dumps(again)), paths)  # as a worker gets it
    other = InputSpec(size=10, crop_pct=0.75)
    assert not again.holds(other) and again.resized(0, other).shape[1] == other.resize
    decoded.clear()
    cached(paths, spec=other)
    assert len(decoded) == 9  # another size is other pixels


def test_a_file_of_other_content_is_decoded_anew(paths: list[str], decoded: list[Any]) -> None:
    cached(paths)
    Path(paths[1]).write_bytes(Path(paths[3]).read_bytes())
    changed = cached(paths)
    assert len(decoded) == 9  # the content is known under another name
    assert_same_pixels(changed, paths)
    Image.new("RGB", (30, 30), "red").save(paths[2])
    assert_same_pixels(cached(paths), paths)
    assert len(decoded) == 10


def test_only_as_many_as_fit_are_kept(paths: list[str]) -> None:
    sizes = [images.resized(i, SPEC).nbytes for images in [cached(paths)] for i in range(9)]
    for part in shards(paths):
        part.unlink()
    half = cached(paths, sum(sizes[:4]) + 1)
    assert sorted(half.places) == [0, 1, 2, 3] and not half.holds(SPEC)
    assert_same_pixels(half, paths)
    first, second = cached_images(
        [ImageFiles(paths[:3]), ImageFiles(paths[3:])], SPEC, sum(sizes[:5])
    )
    assert len(first.places) == 3 and sorted(second.places) == [0, 1]
    rest = cached(paths[6:], sum(sizes[6:]))  # what was used longest ago makes room
    assert rest.holds(SPEC) and len(shards(paths)) == 1
    assert_same_pixels(first, paths[:3])  # removed from the disk, and mapped or read again


def test_a_damaged_shard_is_made_again(
    paths: list[str], decoded: list[Any], caplog: pytest.LogCaptureFixture
) -> None:
    cached(paths)
    (path,) = shards(paths)
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
    assert_same_pixels(cached(paths), paths)
    assert "damaged" in caplog.text and len(decoded) == 18


def test_an_unreadable_file_is_told_when_it_is_asked_for(paths: list[str]) -> None:
    Path(paths[4]).write_bytes(b"no image")
    images = cached(paths)
    assert sorted(images.places) == [0, 1, 2, 3, 5, 6, 7, 8]
    for ask in (lambda: images[4], lambda: images.resized(4, SPEC)):
        with pytest.raises(InputError, match=r"4\.jpg is no readable image"):
            ask()


def test_photos_are_turned_upright(paths: list[str]) -> None:
    image = Image.open(paths[0])
    exif = image.getexif()
    exif[0x0112] = 6
    image.save(paths[0], exif=exif)
    (images,) = cached_images([PhotoFiles(paths, 18)], SPEC, ALL)
    files = PhotoFiles(paths, 18)
    for index in range(9):
        wanted = np.asarray(resized_image(files[index], SPEC))
        assert np.array_equal(np.asarray(images[index]), wanted)


def test_a_folder_that_cannot_be_written_is_told(
    paths: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("CGCD_CACHE", str(tmp_path / "file"))
    with pytest.raises(InputError, match="input_cache_gb=0"):
        cached(paths)


def image_folder(root: Path, paths: list[str]) -> Path:
    for number, path in enumerate(paths):
        for part in ("train", "test"):
            place = root / part / "ab"[number % 2]
            place.mkdir(parents=True, exist_ok=True)
            (place / Path(path).name).write_bytes(Path(path).read_bytes())
    return root


def test_scenarios_use_it_where_there_is_room_and_are_the_same_ones(
    paths: list[str], tmp_path: Path
) -> None:
    root = image_folder(tmp_path / "data", paths)

    def build() -> list[Any]:
        labeled = folder_scenario(
            inputs=SPEC, labeled=root / "train", stages=[root / "test"], duplicates="keep"
        )
        return [image_folder_scenario(inputs=SPEC, data_root=root, protocol=PROTOCOL), labeled]

    plain = build()
    assert input_cache_bytes() == 0 and not shards(paths)
    with input_cache(ALL):
        kept = build()
    assert len(shards(paths)) == 2  # photos are read in another way
    for one, other in zip(plain, kept, strict=True):
        assert one.data_hash == other.data_hash and one.stream_hash == other.stream_hash
        for ours, theirs in zip(one.train_stream, other.train_stream, strict=True):
            for mine, yours in zip(ours.dataset.train(), theirs.dataset.train(), strict=True):
                assert torch.equal(mine[0], yours[0])


def test_vectors_and_arrays_are_left_alone(paths: list[str]) -> None:
    with input_cache(ALL):
        (files,) = at_hand(InputSpec(vector=4), ImageFiles(paths))
        assert isinstance(files, ImageFiles) and not shards(paths)
        (arrays,) = at_hand(SPEC, np.zeros((2, 8, 8, 3), dtype=np.uint8))
        assert len(arrays) == 2 and not shards(paths)
