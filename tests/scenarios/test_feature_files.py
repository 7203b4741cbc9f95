"""Every kind of file of embeddings: the same content back, and what is wrong by name."""

from __future__ import annotations

import csv
import json
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from cgcd.vocabulary import InputError
from scenarios.feature_files import feature_width, read_feature_file

VECTORS = np.random.default_rng(0).standard_normal((12, 5)).astype(np.float16)
LABELS = np.array([2, 0, 1, -1, 2, 0, 1, 2, 0, 1, 2, 0])
NAMES = ["ant", "bee", "cat"]
IDS = [f"photo {i}.jpg" for i in range(12)]
SPLIT = np.arange(12) % 3


def write(folder: Path, suffix: str, **changes: Any) -> Path:
    """A file with everything its kind can hold; a change of None leaves a part out."""
    parts = {"f": VECTORS, "y": LABELS, "ids": IDS, "classes": NAMES, "split": SPLIT, **changes}
    parts = {name: value for name, value in parts.items() if value is not None}
    path = folder / f"some{suffix}"
    if suffix == ".npy":
        np.save(path, parts["f"])
    elif suffix == ".npz":
        np.savez(path, **{name: np.asarray(value) for name, value in parts.items()})
    elif suffix == ".safetensors":
        tensors = {
            name: torch.as_tensor(np.array(parts[name], order="C"))
            for name in ("f", "y", "split")
            if name in parts
        }
        header = {n: json.dumps(parts[n]) for n in ("ids", "classes") if n in parts}
        save_file(tensors, path, metadata=header)
    else:
        with path.open("w", newline="", encoding="utf-8-sig") as file:
            lines = csv.writer(file)
            lines.writerow(["x0", "id", "x1", "x2", "label", "x3", "x4"])
            for row, name, label in zip(parts["f"], parts["ids"], parts["y"], strict=True):
                cells = [repr(float(value)) for value in row]
                text = "" if label < 0 else NAMES[label]
                lines.writerow([cells[0], name, *cells[1:3], text, *cells[3:]])
    return path


@pytest.mark.parametrize("suffix", [".npz", ".safetensors", ".csv"])
def test_everything_comes_back(tmp_path: Path, suffix: str) -> None:
    file = read_feature_file(write(tmp_path, suffix))
    np.testing.assert_array_equal(file.vectors, VECTORS)
    assert file.ids == file.names == tuple(IDS) and len(file) == 12
    assert file.class_names == tuple(NAMES) and file.targets.tolist() == LABELS.tolist()
    if suffix != ".csv":
        assert file.split.tolist() == SPLIT.tolist() and file.vectors.dtype == np.float16


def test_an_array_stays_on_disk_and_its_rows_are_its_names(tmp_path: Path) -> None:
    file = read_feature_file(write(tmp_path, ".npy"))
    assert isinstance(file.vectors, np.memmap) and file.targets is None and file.split is None
    np.testing.assert_array_equal(file.vectors, VECTORS)
    assert file.ids is None and file.names[:2] == ("some:0", "some:1")


@pytest.mark.parametrize("suffix", [".npy", ".npz", ".safetensors", ".csv"])
def test_the_width_is_found(tmp_path: Path, suffix: str) -> None:
    assert feature_width([None, write(tmp_path, suffix)]) == 5


def test_no_file_has_no_width() -> None:
    with pytest.raises(InputError, match="no file of some is given: set data_root"):
        feature_width([None, None])


def test_half_precision_of_the_other_kind_is_read(tmp_path: Path) -> None:
    tensor = torch.from_numpy(VECTORS.astype(np.float32)).bfloat16()
    save_file({"f": tensor}, tmp_path / "b.safetensors")
    read = read_feature_file(tmp_path / "b.safetensors").vectors
    assert read.dtype == np.float32 and np.array_equal(read, tensor.float().numpy())


def test_class_names_of_a_table_are_sorted_numbers_as_numbers(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text("label,0,1\n10,1,2\n9,3,4\n,5,6\n9,7,8\n")
    file = read_feature_file(tmp_path / "t.csv")
    assert file.class_names == ("9", "10") and file.targets.tolist() == [1, 0, -1, 0]


def spoiled(value: float) -> np.ndarray:
    vectors = VECTORS.copy()
    vectors[7, 2] = value
    return vectors


TWICE = [*IDS[:11], IDS[3]]


@pytest.mark.parametrize("suffix", [".npz", ".safetensors", ".csv"])
@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"f": spoiled(np.nan)}, r"1 embeddings hold .* first is row 7 \(id 'photo 7.jpg'\)"),
        ({"f": spoiled(np.inf)}, "not finite"),
        ({"ids": TWICE}, r"'photo 3.jpg' is there twice, in the rows 3 and 11"),
    ],
)
def test_bad_values_are_named(
    tmp_path: Path, suffix: str, changes: dict[str, Any], message: str
) -> None:
    with pytest.raises(InputError, match=rf"some\{suffix}.*{message}"):
        read_feature_file(write(tmp_path, suffix, **changes))


@pytest.mark.parametrize("suffix", [".npz", ".safetensors"])
@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"f": None}, "lacks 'f'"),
        ({"f": VECTORS.astype(np.float64)}, "'f' is float64"),
        ({"f": VECTORS[:, 0]}, r"'f' is float16 of shape \(12,\)"),
        ({"f": VECTORS[:, :0]}, r"'f' is float16 of shape \(12, 0\)"),
        ({"y": LABELS[:11]}, r"shape \(11,\) for 12"),
        ({"y": LABELS + 1}, "labels run from 0 to 3; wanted 0 to 2"),
        ({"y": LABELS - 1}, "labels run from -2"),
        ({"y": LABELS.astype(np.float32)}, "labels are float32"),
        ({"ids": IDS[:3]}, r"shape \(3,\) for 12"),
        ({"split": SPLIT[:3]}, r"'split' is int64 of shape \(3,\)"),
    ],
)
def test_bad_parts_are_named(
    tmp_path: Path, suffix: str, changes: dict[str, Any], message: str
) -> None:
    with pytest.raises(InputError, match=rf"some\{suffix}.*{message}"):
        read_feature_file(write(tmp_path, suffix, **changes))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "begins with nothing"),
        ("id,label\na,b\n", "wanted a header with a name"),
        ("0.5,0.25\n1,2\n", "begins with 0.5, 0.25; wanted a header"),
        ("x,x\n1,2\n", "two columns of one name"),
        ("id,x\na,1\nb\n", "line 3 has 1 cells and the header 2"),
        ("id,x\na,1\nb,one\n", "holds 'one' where a number belongs"),
        ("id,x\na,\n", "holds '' where a number belongs"),
        ("id,x\n", "no embedding"),
        ('id,x\n"a,1\n', "cannot be read"),
    ],
)
def test_bad_tables_are_named(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "t.csv").write_text(text)
    with pytest.raises(InputError, match=rf"t\.csv.*{message}"):
        read_feature_file(tmp_path / "t.csv")


class Evil:
    def __reduce__(self) -> Any:
        raise AssertionError("unpickled")


@pytest.mark.parametrize("suffix", [".npy", ".npz", ".safetensors"])
def test_objects_and_damage_are_refused(tmp_path: Path, suffix: str) -> None:
    whole = write(tmp_path, suffix).read_bytes()
    pickled = pickle.dumps({"f": 1})
    for content in (b"", whole[: len(whole) // 2], pickled, b"\x93NUMPY\x01\x00"):
        (tmp_path / f"bad{suffix}").write_bytes(content)
        with pytest.raises(InputError, match=rf"bad\{suffix} cannot be read"):
            read_feature_file(tmp_path / f"bad{suffix}")
    objects = np.array([{}, {}], dtype=object)
    np.save(tmp_path / "objects.npy", objects, allow_pickle=True)
    np.savez(tmp_path / "objects.npz", f=objects)
    for name in ("objects.npy", "objects.npz"):
        with pytest.raises(InputError, match="cannot be read"):
            read_feature_file(tmp_path / name)


def test_missing_and_unknown_files_are_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"none\.npz is not a file; wanted one of \.npy, "):
        read_feature_file(tmp_path / "none.npz")
    (tmp_path / "a.pt").write_bytes(b"")
    with pytest.raises(InputError, match=r"a\.pt ends in \.pt; wanted one of"):
        read_feature_file(tmp_path / "a.pt")
