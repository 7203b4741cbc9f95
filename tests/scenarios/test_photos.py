"""Photos of every kind against pixels that were worked out without Pillow's conversions."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import ExifTags, Image

from cgcd.vocabulary import InputError
from scenarios.photos import PhotoFiles, read_photo

GENERATOR = np.random.default_rng(0)
RGB = GENERATOR.integers(0, 256, (6, 4, 3), dtype=np.uint8)  # taller than wide, nowhere symmetric
GREY = GENERATOR.integers(0, 256, (6, 4), dtype=np.uint8)
DEEP = GENERATOR.integers(0, 65536, (6, 4), dtype=np.uint16)
ALPHA = GENERATOR.integers(0, 256, (6, 4), dtype=np.uint8)


def pixels(path: Path, shorter_side: int | None = None) -> np.ndarray:
    image = read_photo(path, shorter_side)
    assert image.mode == "RGB"
    return np.asarray(image)


def on_white(color: np.ndarray, alpha: np.ndarray) -> np.ndarray:
    share = alpha[..., None] / 255
    return share * color + (1 - share) * 255


UPRIGHT = {  # what a viewer does to stored pixels: rows down, columns right
    1: lambda a: a,
    2: lambda a: a[:, ::-1],
    3: lambda a: a[::-1, ::-1],
    4: lambda a: a[::-1],
    5: lambda a: a.transpose(1, 0, 2),
    6: lambda a: np.rot90(a, -1),
    7: lambda a: a[::-1, ::-1].transpose(1, 0, 2),
    8: lambda a: np.rot90(a, 1),
}


@pytest.mark.parametrize("suffix", ["png", "tif", "webp"])
@pytest.mark.parametrize("orientation", [*UPRIGHT, 9])
def test_images_are_turned_upright(orientation: int, suffix: str, tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = orientation
    path = tmp_path / f"x.{suffix}"
    more = {"lossless": True, "exact": True} if suffix == "webp" else {}
    Image.fromarray(RGB).save(path, exif=exif, **more)
    assert np.array_equal(pixels(path), UPRIGHT.get(orientation, UPRIGHT[1])(RGB))


@pytest.mark.filterwarnings("ignore:Corrupt EXIF")
def test_damaged_exif_data_turn_nothing(tmp_path: Path) -> None:
    for number, damage in enumerate((b"Exif\0\0nonsense", b"Exif\0\0MM\0*\0\0\0\x08\xff\xff\0")):
        path = tmp_path / f"{number}.png"
        Image.fromarray(RGB).save(path, exif=damage)
        assert np.array_equal(pixels(path), RGB)


@pytest.mark.parametrize("suffix", ["png", "tif", "bmp", "gif", "ppm", "webp"])
def test_grey_has_three_equal_channels(suffix: str, tmp_path: Path) -> None:
    path = tmp_path / f"x.{suffix}"
    Image.fromarray(GREY).save(path, **({"lossless": True} if suffix == "webp" else {}))
    assert np.array_equal(pixels(path), np.repeat(GREY[..., None], 3, -1))


@pytest.mark.parametrize("suffix", ["png", "tif", "pgm"])
def test_grey_of_16_bits_is_scaled_and_not_clipped(suffix: str, tmp_path: Path) -> None:
    deep = DEEP.copy()
    deep[0, :2] = 0, 65535
    path = tmp_path / f"x.{suffix}"
    Image.fromarray(deep).save(path)
    found = pixels(path)
    assert np.array_equal(found, np.repeat(np.rint(deep / 257)[..., None], 3, -1))


def test_16_bits_of_both_byte_orders(tmp_path: Path) -> None:
    path = tmp_path / "x.tif"
    Image.frombytes("I;16B", (4, 6), DEEP.astype(">u2").tobytes()).save(path)
    assert np.array_equal(pixels(path)[..., 0], np.rint(DEEP / 257))


def test_floats_go_from_their_least_to_their_largest(tmp_path: Path) -> None:
    values = np.linspace(-3, 7, 24, dtype=np.float32).reshape(6, 4)
    Image.fromarray(values).save(tmp_path / "x.tif")
    assert np.array_equal(pixels(tmp_path / "x.tif")[..., 1], np.rint((values + 3) * 25.5))
    Image.fromarray(np.full((6, 4), 2.5, np.float32)).save(tmp_path / "flat.tif")
    assert (pixels(tmp_path / "flat.tif") == 0).all()
    values[0, 0] = np.nan
    Image.fromarray(values).save(tmp_path / "nan.tif")
    with pytest.raises(ValueError, match="nan"):
        read_photo(tmp_path / "nan.tif")


@pytest.mark.parametrize("suffix", ["png", "webp", "tif"])
def test_transparency_shows_white(suffix: str, tmp_path: Path) -> None:
    path = tmp_path / f"x.{suffix}"
    both = np.concatenate([RGB, ALPHA[..., None]], -1)
    both[0, 0] = 10, 20, 30, 0
    more = {"lossless": True, "exact": True} if suffix == "webp" else {}
    Image.fromarray(both).save(path, **more)
    assert np.abs(pixels(path) - on_white(both[..., :3], both[..., 3])).max() <= 1
    assert pixels(path)[0, 0].tolist() == [255] * 3


def test_transparent_grey_shows_white(tmp_path: Path) -> None:
    Image.fromarray(np.stack([GREY, ALPHA], -1), "LA").save(tmp_path / "x.png")
    wanted = on_white(GREY[..., None], ALPHA)
    assert np.abs(pixels(tmp_path / "x.png") - wanted).max() <= 1


def test_palettes_with_and_without_a_transparent_color(tmp_path: Path) -> None:
    colors = GENERATOR.integers(0, 256, (8, 3), dtype=np.uint8)
    places = GENERATOR.integers(0, 8, (6, 4), dtype=np.uint8)
    image = Image.fromarray(places)
    image.putpalette(colors.tobytes())
    for suffix in ("png", "gif", "bmp", "tif"):
        image.save(tmp_path / f"x.{suffix}")
        assert np.array_equal(pixels(tmp_path / f"x.{suffix}"), colors[places]), suffix
    colors = colors.copy()
    image.info["transparency"] = int(places[0, 0])
    for suffix in ("png", "gif"):
        image.save(tmp_path / f"x.{suffix}", transparency=int(places[0, 0]))
        seen = np.where((places == places[0, 0])[..., None], 255, colors[places])
        assert np.array_equal(pixels(tmp_path / f"x.{suffix}"), seen), suffix


def test_black_and_white_and_cmyk(tmp_path: Path) -> None:
    Image.fromarray(GREY > 127).save(tmp_path / "x.png")
    wanted = np.repeat(255 * (GREY > 127)[..., None], 3, -1)
    assert np.array_equal(pixels(tmp_path / "x.png"), wanted)
    ink = GENERATOR.integers(0, 256, (6, 4, 4), dtype=np.uint8)
    Image.fromarray(ink, "CMYK").save(tmp_path / "x.tif")
    light = (255 - ink[..., :3].astype(float)) * (255 - ink[..., 3:].astype(float)) / 255
    assert np.abs(pixels(tmp_path / "x.tif") - light).max() <= 1


def test_of_several_images_the_first_counts(tmp_path: Path) -> None:
    frames = [Image.new("RGB", (4, 6), color) for color in ("red", "blue", "lime")]
    for suffix in ("gif", "webp", "tif", "png"):
        path = tmp_path / f"x.{suffix}"
        more = {"lossless": True} if suffix == "webp" else {}
        frames[0].save(path, save_all=True, append_images=frames[1:], **more)
        assert (pixels(path) == (255, 0, 0)).all(), suffix


@pytest.mark.parametrize("size", [(800, 600), (600, 801), (640, 64)])
@pytest.mark.parametrize("suffix", ["jpg", "png"])
def test_huge_images_come_smaller_but_large_enough(
    size: tuple[int, int], suffix: str, tmp_path: Path
) -> None:
    width, height = size
    across = np.linspace(0, 255, width)[None, :, None]
    down = np.linspace(0, 255, height)[:, None, None]
    ramp = np.broadcast_to(
        np.concatenate(np.broadcast_arrays(across, down, 0 * across), -1), (height, width, 3)
    ).astype(np.uint8)
    path = tmp_path / f"x.{suffix}"
    Image.fromarray(ramp).save(path, **({"quality": 95} if suffix == "jpg" else {}))
    found = read_photo(path, 60)
    assert 60 <= min(found.size) < 121
    assert found.width / found.height == pytest.approx(width / height, rel=0.03)
    likeness = np.asarray(Image.fromarray(ramp).resize(found.size, Image.Resampling.BOX), float)
    assert np.abs(np.asarray(found) - likeness).mean() < 4
    assert read_photo(path).size == size == read_photo(path, 5000).size


def test_strips_are_refused(tmp_path: Path) -> None:
    Image.new("RGB", (84, 4)).save(tmp_path / "x.png")
    Image.new("RGB", (80, 4)).save(tmp_path / "y.png")
    with pytest.raises(ValueError, match="84 x 4 pixels are a strip"):
        read_photo(tmp_path / "x.png")
    assert read_photo(tmp_path / "y.png").size == (80, 4)


def test_a_photo_that_is_gone_is_named(tmp_path: Path) -> None:
    Image.fromarray(RGB).save(tmp_path / "x.png")
    files = PhotoFiles([str(tmp_path / "x.png")], 4)
    assert len(files) == 1 and np.array_equal(np.asarray(files[0]), RGB)
    (tmp_path / "x.png").write_bytes(b"short")
    with pytest.raises(InputError, match=r"x\.png was a readable image when the run began"):
        files[0]
