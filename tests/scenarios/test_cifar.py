"""Both CIFAR sets from files written here in the published format, and from files that are not."""

from __future__ import annotations

import os
import pickle
import struct
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from cgcd.vocabulary import InputError
from scenarios.cifar import read_cifar10, read_cifar100
from scenarios.pickles import read_pickled_dict

NAMES = ["apple", "baby", "cup"]
GENERATOR = np.random.default_rng(0)
IMAGES = GENERATOR.integers(0, 256, (18, 32, 32, 3), dtype=np.uint8)
LABELS = [0, 1, 2] * 6


def part(images: np.ndarray, labels: list[int]) -> dict[bytes, object]:
    rows = np.stack([[image[..., channel].ravel() for channel in range(3)] for image in images])
    return {
        b"filenames": [b"image.png"] * len(labels),
        b"batch_label": b"training batch 1 of 1",
        b"fine_labels": labels,
        b"coarse_labels": [0] * len(labels),
        b"data": rows.reshape(len(images), 3072),
    }


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    folder = tmp_path / "cifar-100-python"
    folder.mkdir()
    names = {b"fine_label_names": [n.encode() for n in NAMES], b"coarse_label_names": [b"all"]}
    contents = {"train": part(IMAGES[:12], LABELS[:12]), "test": part(IMAGES[12:], LABELS[12:])}
    for name, content in {**contents, "meta": names}.items():
        (folder / name).write_bytes(pickle.dumps(content, protocol=2))
    return folder


def python2_pickle(rows: np.ndarray, labels: list[int]) -> bytes:
    """Protocol 2 as Python 2 and NumPy 1 wrote it: `str` as bytes, `numpy.core.multiarray`."""

    def text(value: bytes) -> bytes:
        return b"U" + bytes([len(value)]) + value

    dtype = b"cnumpy\ndtype\n(" + text(b"u1") + b"K\x00K\x01tR"
    dtype += b"(K\x03" + text(b"|") + b"NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00tb"
    raw = b"T" + struct.pack("<i", rows.nbytes) + rows.tobytes()
    array = b"cnumpy.core.multiarray\n_reconstruct\n(cnumpy\nndarray\n(K\x00t" + text(b"b") + b"tR"
    array += b"(K\x01(K" + bytes([len(rows)]) + b"M" + struct.pack("<H", rows.shape[1]) + b"t"
    array += dtype + b"\x89" + raw + b"tb"
    ints = b"(" + b"".join(b"K" + bytes([label]) for label in labels) + b"l"
    return b"\x80\x02(" + text(b"data") + array + text(b"fine_labels") + ints + b"d."


def test_the_published_format_comes_back_image_by_image(folder: Path) -> None:
    for root in (folder, folder.parent, str(folder)):
        arrays = read_cifar100(root)
        np.testing.assert_array_equal(arrays.train_images, IMAGES[:12])
        np.testing.assert_array_equal(arrays.test_images, IMAGES[12:])
        assert arrays.train_targets.tolist() == LABELS[:12]
        assert arrays.test_targets.tolist() == LABELS[12:]
        assert arrays.class_names == tuple(NAMES)
        assert arrays.train_images.flags.writeable and arrays.train_images.flags.c_contiguous
        assert arrays.train_targets.dtype == arrays.test_targets.dtype == np.int64


def test_python_2_wrote_the_original(folder: Path) -> None:
    content = part(IMAGES[:12], LABELS[:12])
    (folder / "train").write_bytes(python2_pickle(content[b"data"], LABELS[:12]))
    reference = pickle.loads((folder / "train").read_bytes(), encoding="bytes")
    np.testing.assert_array_equal(reference[b"data"], content[b"data"])  # it is a true one
    np.testing.assert_array_equal(read_cifar100(folder).train_images, IMAGES[:12])


@pytest.mark.parametrize("protocol", [0, 1, 2, 3, 4])
@pytest.mark.parametrize("dtype", ["u1", "<i8", ">i4", "f4", "?"])
def test_the_restricted_reader_agrees_with_pickle(
    tmp_path: Path, protocol: int, dtype: str
) -> None:
    array = np.asfortranarray(GENERATOR.integers(0, 2, (3, 4)).astype(dtype))
    (tmp_path / "file").write_bytes(pickle.dumps({"a": array, b"n": [1, 2.5, None]}, protocol))
    content = read_pickled_dict(tmp_path / "file", "mend")
    assert content["n"] == [1, 2.5, None]
    np.testing.assert_array_equal(content["a"], array)
    assert content["a"].dtype == array.dtype


class Hostile:
    def __init__(self, function: Callable, *arguments: object) -> None:
        self.call = function, arguments

    def __reduce__(self) -> tuple:
        return self.call


@pytest.mark.parametrize("protocol", [0, 2, 4])
@pytest.mark.parametrize(
    ("function", "name"),
    [(os.system, r"(posix|nt)\.system"), (eval, r"(__builtin__|builtins)\.eval")],
)
def test_a_hostile_pickle_is_refused_and_nothing_runs(
    folder: Path, protocol: int, function: Callable, name: str
) -> None:
    mark = folder / "ran"
    calls = {os.system: f"echo > '{mark}'", eval: f"open({str(mark)!r}, 'w')"}
    content = {b"data": Hostile(function, calls[function]), b"fine_labels": [0]}
    (folder / "train").write_bytes(pickle.dumps(content, protocol))
    with pytest.raises(InputError, match=rf"train asks for {name}, .*refused.*data_root="):
        read_cifar100(folder)
    assert not mark.exists()


@pytest.mark.parametrize(
    "body",
    [
        b"cnumpy\nndarray\n(K\x08tR.",  # calling the array type makes nothing
        b"cnumpy\ndtype\n(X\x01\x00\x00\x00OK\x00K\x01tR.",  # numbers only, no objects
        b"cnumpy\nload\n(X\x01\x00\x00\x00xtR.",
        b"cnumpy.core.multiarray\n_reconstruct\n(tR(K\x01K\x02NNNtb.",
        b"\x82\x01.",  # a copyreg extension
        b"Pid\n.",  # a persistent id
        b"]\x94.",
        b"}X\x01\x00\x00\x00acnumpy.core.multiarray\n_reconstruct\n)Rs.",  # an empty shell
        b"}K\x01K\x02s.",  # keys that are no text
        b"",
    ],
)
def test_crafted_pickles_end_in_one_error(tmp_path: Path, body: bytes) -> None:
    (tmp_path / "file").write_bytes(b"\x80\x02" + body)
    with pytest.raises(InputError, match=r"file (cannot be read|asks for numpy\.load)"):
        read_pickled_dict(tmp_path / "file", "mend")


def test_every_cut_and_many_flips_end_in_an_error_or_in_data(folder: Path) -> None:
    whole = python2_pickle(part(IMAGES[:2], LABELS[:2])[b"data"], LABELS[:2])
    for length in range(0, len(whole), 97):
        (folder / "train").write_bytes(whole[:length])
        with pytest.raises(InputError, match="data_root="):
            read_cifar100(folder)
    for position in range(0, 250):
        (folder / "train").write_bytes(
            whole[:position] + bytes([whole[position] ^ 0x55]) + whole[position + 1 :]
        )
        try:
            read_cifar100(folder)
        except InputError:
            continue


def test_missing_things_are_named(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="data_root is not set"):
        read_cifar100(None)
    with pytest.raises(InputError, match=r"nowhere does not exist: set data_root="):
        read_cifar100(tmp_path / "nowhere")
    with pytest.raises(InputError, match=r"has no cifar-100-python .*data_root="):
        read_cifar100(Path(__file__).parent)
    (folder / "meta").unlink()
    with pytest.raises(InputError, match=r"in part, without meta.*data_root="):
        read_cifar100(folder)


@pytest.mark.parametrize(
    ("member", "value", "message"),
    [
        (b"data", None, "lacks 'data'"),
        (b"fine_labels", None, "lacks 'fine_labels'"),
        (b"data", np.zeros((12, 3071), np.uint8), "shape \\(12, 3071\\); wanted uint8 rows"),
        (b"data", np.zeros((12, 3072), np.float32), "float32 of shape"),
        (b"data", [1, 2], "'data' is a list"),
        (b"data", np.zeros((0, 3072), np.uint8), "at least one image"),
        (b"fine_labels", [0] * 11, "shape \\(11,\\) for 12 images"),
        (b"fine_labels", [0] * 11 + [3], "labels run from 0 to 3; wanted 0 to 2"),
        (b"fine_labels", [0] * 11 + [-1], "labels run from -1"),
        (b"fine_labels", [[0], [1, 2]], "not one number per image"),
        (b"fine_labels", b"text", "for 12 images"),
    ],
)
def test_wrong_pickled_members_are_named(
    folder: Path, member: bytes, value: object, message: str
) -> None:
    content = part(IMAGES[:12], LABELS[:12]) | {member: value}
    if value is None:
        del content[member]
    (folder / "train").write_bytes(pickle.dumps(content, 2))
    with pytest.raises(InputError, match=rf"train.*{message}.*data_root="):
        read_cifar100(folder)


def test_npz_with_a_split_and_names(tmp_path: Path) -> None:
    path = tmp_path / "images.npz"
    split = np.arange(18) % 2
    np.savez(path, x=IMAGES, y=np.array(LABELS, np.int16), split=split, classes=NAMES)
    arrays = read_cifar100(path)
    np.testing.assert_array_equal(arrays.train_images, IMAGES[::2])
    assert arrays.test_targets.tolist() == LABELS[1::2]
    assert arrays.class_names == tuple(NAMES)


def test_npz_without_a_split_tests_on_the_last_sixth_of_each_class(tmp_path: Path) -> None:
    path = tmp_path / "images.npz"
    labels = np.array([0] * 13 + [1] * 2 + [0] + [1] * 2)  # 14 and 4 images
    np.savez(path, x=IMAGES, y=labels)
    arrays = read_cifar100(path)
    np.testing.assert_array_equal(arrays.test_images, IMAGES[[12, 15, 17]])
    assert arrays.test_targets.tolist() == [0, 0, 1]
    assert len(arrays.train_targets) == 15 and arrays.class_names == ("0", "1")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"x": None}, "lacks 'x' \\(it has 'y'\\)"),
        ({"y": None}, "lacks 'y'"),
        ({"x": IMAGES.astype(np.float32)}, "'x' is float32"),
        ({"x": IMAGES[..., 0]}, "'x' is uint8 of shape"),
        ({"x": np.uint8(3)}, "'x' is uint8 of shape \\(\\)"),
        ({"y": np.zeros(18)}, "labels are float64"),
        ({"y": np.zeros(17, int)}, "shape \\(17,\\) for 18 images"),
        ({"y": np.arange(18)}, "class 0 has 1 image .*'split'"),
        ({"y": np.full(18, 10**9)}, "labels run from"),
        ({"classes": ["a", "b"]}, "labels run from 0 to 2; wanted 0 to 1"),
        ({"classes": np.arange(3)}, "'classes' is int64"),
        ({"split": np.arange(18)}, "'split' is"),
        ({"split": np.zeros(3, int)}, "'split' is"),
        ({"classes": np.array([{}, 1, 2], dtype=object)}, "cannot be read"),
    ],
)
def test_wrong_npz_members_are_named(tmp_path: Path, changes: dict, message: str) -> None:
    arrays = {"x": IMAGES, "y": np.array(LABELS), **changes}
    path = tmp_path / "images.npz"
    np.savez(path, **{name: value for name, value in arrays.items() if value is not None})
    with pytest.raises(InputError, match=rf"images\.npz.*{message}"):
        read_cifar100(path)


def test_a_damaged_npz_is_one_error(tmp_path: Path) -> None:
    path = tmp_path / "images.npz"
    np.savez_compressed(path, x=IMAGES, y=np.array(LABELS))
    whole = path.read_bytes()
    flipped = bytearray(whole)
    flipped[len(whole) // 2] ^= 0xFF
    for content in (b"", b"text", whole[:1000], whole[:-10], bytes(flipped), pickle.dumps([1])):
        path.write_bytes(content)
        with pytest.raises(InputError, match=r"images\.npz cannot be read.*data_root="):
            read_cifar100(path)


def test_the_real_subset(shared: Path) -> None:
    arrays = read_cifar100(shared / "data" / "cifar100_180x40.npz")
    assert np.bincount(arrays.train_targets).tolist() == [180] * 100
    assert np.bincount(arrays.test_targets).tolist() == [40] * 100
    assert arrays.class_names[0] == "apple"


@pytest.fixture
def folder10(tmp_path: Path) -> Path:
    """Five batches of three images and a test batch of three."""
    folder = tmp_path / "cifar-10-batches-py"
    folder.mkdir()
    for place in range(6):
        own = slice(3 * place, 3 * place + 3)
        content = part(IMAGES[own], LABELS[own])
        content[b"labels"] = content.pop(b"fine_labels")
        name = f"data_batch_{place + 1}" if place < 5 else "test_batch"
        (folder / name).write_bytes(pickle.dumps(content, protocol=2))
    names = {b"label_names": [name.encode() for name in NAMES], b"num_vis": 3072}
    (folder / "batches.meta").write_bytes(pickle.dumps(names, protocol=2))
    return folder


def test_cifar10_comes_back_batch_by_batch(folder10: Path) -> None:
    for root in (folder10, folder10.parent, str(folder10)):
        arrays = read_cifar10(root)
        np.testing.assert_array_equal(arrays.train_images, IMAGES[:15])
        np.testing.assert_array_equal(arrays.test_images, IMAGES[15:])
        assert arrays.train_targets.tolist() == LABELS[:15]
        assert arrays.test_targets.tolist() == LABELS[15:]
        assert arrays.class_names == tuple(NAMES)


def test_cifar10_refuses_a_hostile_batch_and_names_what_is_missing(folder10: Path) -> None:
    mark = folder10 / "ran"
    content = {b"data": Hostile(os.system, f"echo > '{mark}'"), b"labels": [0]}
    whole = (folder10 / "data_batch_4").read_bytes()
    (folder10 / "data_batch_4").write_bytes(pickle.dumps(content, 2))
    with pytest.raises(InputError, match=r"data_batch_4 asks for (posix|nt)\.system, .*refused"):
        read_cifar10(folder10)
    assert not mark.exists()
    (folder10 / "data_batch_4").write_bytes(whole)
    (folder10 / "data_batch_5").unlink()
    with pytest.raises(InputError, match=r"without data_batch_5.*holds cifar-10-batches-py"):
        read_cifar10(folder10)
    with pytest.raises(InputError, match=r"has no cifar-10-batches-py .*data_batch_1.*test_batch"):
        read_cifar10(Path(__file__).parent)
    with pytest.raises(InputError, match="CIFAR-10 is read from disk"):
        read_cifar10(None)


def test_cifar10_reads_an_npz_too(tmp_path: Path) -> None:
    path = tmp_path / "images.npz"
    np.savez(path, x=IMAGES, y=np.array(LABELS), split=np.arange(18) % 2, classes=NAMES)
    np.testing.assert_array_equal(read_cifar10(path).train_images, IMAGES[::2])
