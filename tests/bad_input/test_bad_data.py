"""Files that cannot be used: embeddings, photos and tables, by name and with the reason."""

from __future__ import annotations

import os
import pickle
import shutil
import struct
import zipfile
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

Arrays = tuple[np.ndarray, np.ndarray]


class Owned:
    """Leaves a file behind where somebody unpickles it."""

    def __reduce__(self) -> Any:
        return os.system, ("touch owned",)


def spoiled(vectors: np.ndarray, value: float) -> np.ndarray:
    vectors = vectors.copy()
    vectors[7, 2] = value
    return vectors


def cut(path: Path, size: int) -> None:
    path.write_bytes(path.read_bytes()[:size])


def zip_bomb(path: Path) -> None:
    """An .npz of 30 KiB that says it holds 24 GiB."""
    header = b"{'descr': '<f4', 'fortran_order': False, 'shape': (100000000, 64), }".ljust(117)
    start = b"\x93NUMPY\x01\x00" + struct.pack("<H", 118) + header + b"\n"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("f.npy", start + bytes(2**24))


def flipped(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[3000] ^= 255
    path.write_bytes(content)


def loop(path: Path) -> None:
    path.unlink()
    path.symlink_to(path.name)


ARRAYS: dict[str, tuple[Callable[[np.ndarray, np.ndarray], dict[str, Any]], tuple[str, ...]]] = {
    "nan": (lambda f, y: {"f": spoiled(f, np.nan)}, ("not finite", "row 7")),
    "infinite": (lambda f, y: {"f": spoiled(f, np.inf)}, ("not finite", "row 7")),
    "huge": (lambda f, y: {"f": spoiled(f, 1e30)}, ("beyond 1e+16", "row 7")),
    "all alike": (lambda f, y: {"f": np.ones_like(f)}, ("240 embeddings are the same vector",)),
    "duplicate ids": (lambda f, y: {"ids": np.full(240, "a")}, ("'a' is there twice", "0 and 1")),
    "labels too high": (
        lambda f, y: {"y": np.where(y == 5, 9, y), "classes": np.array(list("abcdef"))},
        ("from 0 to 9", "wanted 0 to 5"),
    ),
    "an empty class": (lambda f, y: {"y": np.where(y == 2, 7, y)}, ("class 2 has 0", "at least 1")),
    "a class of one": (
        lambda f, y: {"f": f[:201], "y": y[:201]},
        ("class 5 has 0 test images", "wanted at least 1"),
    ),
    "a base class of one": (
        lambda f, y: {"f": np.delete(f, np.s_[1:40], 0), "y": np.delete(y, np.s_[1:40])},
        ("1 training images of base class 0", "raise scenario.protocol.labeled_fraction"),
    ),
    "no rows": (lambda f, y: {"f": f[:0], "y": y[:0]}, ("no embedding", "at least one")),
    "no labels": (lambda f, y: {"f": f, "y": None}, ("lacks 'y'", "a label for each")),
    "float64": (lambda f, y: {"f": f.astype(float)}, ("'f' is float64", "float16 or float32")),
    "objects": (lambda f, y: {"f": np.array([Owned()])}, ("cannot be read", "allow_pickle=False")),
}


@pytest.mark.parametrize("name", ARRAYS)
def test_embeddings_that_cannot_be_used(
    name: str, place: Path, embeddings: Arrays, tiny: Callable, refused: Callable, works: Callable
) -> None:
    changes, words = ARRAYS[name]
    arrays = {"f": embeddings[0], "y": embeddings[1], **changes(*embeddings)}
    np.savez("some.npz", **{k: v for k, v in arrays.items() if v is not None})
    command = tiny("data_root=some.npz", f"runs_root=of_{name.replace(' ', '_')}")
    refused(command, "some.npz" if "class" not in name else "class", *words)
    assert not (place / "owned").exists() and not Path(command[-1].partition("=")[2]).exists()
    if name == "nan":  # the same file, mended
        shutil.copy("all.npz", "some.npz")
        works(command)


FILES: dict[str, tuple[Callable[[Path], Any], str]] = {
    "missing": (Path.unlink, "is not a file"),
    "zero bytes": (lambda path: path.write_bytes(b""), "cannot be read"),
    "truncated": (lambda path: cut(path, 3000), "cannot be read"),
    "corrupt": (flipped, "CRC"),
    "a pickle": (lambda path: path.write_bytes(pickle.dumps(Owned())), "cannot be read"),
    "a bomb": (zip_bomb, "cannot be read"),
    "a loop of links": (loop, "is not a file"),
    "a folder": (lambda path: (path.unlink(), path.mkdir()), "is not a file"),
}


@pytest.mark.parametrize("name", FILES)
def test_files_that_hold_no_embeddings(
    name: str, place: Path, tiny: Callable, refused: Callable, works: Callable
) -> None:
    spoil, words = FILES[name]
    path = place / f"{name.replace(' ', '_')}.npz"
    shutil.copy("all.npz", path)
    spoil(path)
    command = tiny(f"data_root={path.name}", "runs_root=files")
    refused(command, path.name, words, "wanted")
    assert not (place / "owned").exists()
    if name == "truncated":
        shutil.copy("all.npz", path)
        works(command)


# ------------------------------------------------------------------ photos


def png_bomb() -> bytes:
    """A PNG of a few bytes that says it is 40 000 pixels wide and high."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return (
            struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
        )

    head = struct.pack(">IIBBBBB", 40000, 40000, 8, 2, 0, 0, 0)
    body = chunk(b"IDAT", zlib.compress(bytes(999)))
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + body + chunk(b"IEND", b"")


@pytest.fixture
def photos(place: Path) -> Iterator[Path]:
    """Class folders a and b of six photos each, and one unlabeled folder of six."""
    generator = np.random.default_rng(0)
    root = place / "photos"
    for folder in ("known/a", "known/b", "may"):
        (root / folder).mkdir(parents=True)
        for number in range(6):
            pixels = generator.integers(0, 256, (16, 16, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(root / folder / f"{number}.png")
    yield root
    shutil.rmtree(root)


SHOW = [
    "scenario",
    "show",
    "scenario=folder",
    "scenario.labeled=photos/known",
    "scenario.stages=[photos/may]",
    "scenario.max_skipped=0.01",
    "model.input_size=16",
]


def non_utf8(root: Path) -> None:
    os.rename(os.fsencode(root / "known" / "b"), os.fsencode(root / "known") + b"/\xff")


def emptied(folder: Path) -> None:
    for path in folder.iterdir():
        path.unlink()


PHOTOS: dict[str, tuple[Callable[[Path], Any], tuple[str, ...]]] = {
    "zero bytes": (
        lambda root: (root / "may/0.png").write_bytes(b""),
        ("may/0.png", "1 of 18", "at most 1.0%", "max_skipped=0.06"),
    ),
    "truncated": (lambda root: cut(root / "may/0.png", 300), ("may/0.png", "truncated")),
    "corrupt": (
        lambda root: (root / "known/a/3.png").write_bytes(b"no image at all"),
        ("known/a/3.png", "cannot identify"),
    ),
    "a bomb": (
        lambda root: (root / "may/0.png").write_bytes(png_bomb()),
        ("may/0.png", "DecompressionBomb"),
    ),
    "a loop of links": (lambda root: loop(root / "may/0.png"), ("may/0.png", "loop")),
    "a link out": (
        lambda root: (
            (root / "may/0.png").rename(root / "x") and (root / "may/0.png").symlink_to("../x")
        ),
        ("may/0.png", "leads out of its folder"),
    ),
    "a linked folder": (
        lambda root: (root / "may/up").symlink_to(".."),
        ("may/up", "not followed"),
    ),
    "an empty class": (
        lambda root: (root / "known/c").mkdir(),
        ("'c'", "0 readable", "at least 2"),
    ),
    "a class of one": (
        lambda root: [(root / f"known/b/{n}.png").unlink() for n in range(5)],
        ("'b'", "1 readable", "at least 2"),
    ),
    "an empty stage": (lambda root: emptied(root / "may"), ("may holds no photo", "wanted some")),
    "a class that is no text": (non_utf8, ("known", "UTF-8", "rename it")),
    "duplicates in two classes": (
        lambda root: shutil.copy(root / "known/a/1.png", root / "known/b/9.png"),
        ("1.png", "9.png", "duplicates=keep"),
    ),
    "no folder": (
        lambda root: shutil.rmtree(root / "may"),
        ("photos/may is no folder", "stages[0]"),
    ),
}


@pytest.mark.parametrize("name", PHOTOS)
def test_photos_that_cannot_be_used(
    name: str, place: Path, photos: Path, refused: Callable, works: Callable
) -> None:
    spoil, words = PHOTOS[name]
    whole = place / "whole"
    shutil.rmtree(whole, ignore_errors=True)
    shutil.copytree(photos, whole)
    spoil(photos)
    refused(SHOW, *words)
    if name in ("zero bytes", "an empty class", "a class that is no text"):
        shutil.rmtree(photos)
        shutil.copytree(whole, photos)
        works(SHOW)


def test_names_that_are_no_text_are_read_all_the_same(
    place: Path, photos: Path, works: Callable
) -> None:
    os.rename(os.fsencode(photos / "may/0.png"), os.fsencode(photos / "may") + b"/\xff\xfe.png")
    works(SHOW)


@pytest.mark.parametrize("num_workers", [0, 1])
def test_a_photo_that_breaks_while_the_run_reads(
    num_workers: int, photos: Path, refused: Callable, monkeypatch: pytest.MonkeyPatch
) -> None:
    from cgcd.cli.parts import Parts

    build = Parts.build

    def broken(*arguments: Any, **named: Any) -> Parts:
        parts = build(*arguments, **named)
        for path in photos.glob("known/*/*.png"):
            path.write_bytes(b"gone")
        return parts

    monkeypatch.setattr(Parts, "build", broken)
    sizes = ["strategy.base.batch_size=4", "strategy.continual.batch_size=4", "input_cache_gb=0"]
    refused(
        ["run", *SHOW[2:], *sizes, "num_novel=1", "recipe=none", f"num_workers={num_workers}"],
        ".png was a readable image when the run began",
        "put it back",
    )


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"path,class\nnope.png,a\n", ("'nope.png'", "wanted the path")),
        (b"path,class\n\xff,a\n", ("cannot be read", "in UTF-8")),
        (b"file,kind\nx,a\n", ("lacks the column", "path,class")),
        (b"path,class\nmay/0.png,a\nmay/0.png,b\n", ("'a' and 'b'", "wanted one")),
    ],
    ids=["unknown names", "no text", "other columns", "two classes"],
)
def test_a_truth_that_cannot_be_used(
    content: bytes, words: tuple[str, ...], photos: Path, refused: Callable
) -> None:
    Path("truth.csv").write_bytes(content)
    refused([*SHOW, "scenario.truth=truth.csv"], "truth.csv", *words)
