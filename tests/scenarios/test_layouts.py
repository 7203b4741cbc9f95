"""What is said of data sets that are not there, packed, renamed or there in part."""

from __future__ import annotations

import gzip
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy.io import savemat

from cgcd.vocabulary import InputError
from scenarios import DATASETS

Write = Callable[..., Any]


def refusal(name: str, root: Path | str | None) -> str:
    with pytest.raises(InputError) as caught:
        DATASETS[name].read(root)
    message = str(caught.value)
    assert "\n" not in message
    return message


ON_DISK = [name for name, entry in DATASETS.items() if entry.layout is not None]


@pytest.mark.parametrize("name", ON_DISK)
def test_nothing_there_is_said_in_one_sentence(name: str, tmp_path: Path) -> None:
    assert "data_root is not set" in refusal(name, None)
    assert "nowhere does not exist: set data_root=" in refusal(name, tmp_path / "nowhere")
    assert "has no" in refusal(name, tmp_path) and "set data_root=" in refusal(name, tmp_path)


@pytest.mark.parametrize("name", [name for name in ON_DISK if DATASETS[name].layout.archives])
def test_an_archive_that_was_not_extracted(name: str, tmp_path: Path) -> None:
    archive = DATASETS[name].layout.archives[0]
    (tmp_path / archive).write_bytes(b"packed")
    message = refusal(name, tmp_path)
    assert f"{archive} is an archive that is not extracted" in message
    assert ("unzip" if archive.endswith(".zip") else "tar -xf") in message
    message = refusal(name, tmp_path / archive)
    assert "is an archive" in message and f"set data_root={tmp_path}" in message


def test_an_archive_of_another_name_may_be_it(tmp_path: Path) -> None:
    with tarfile.open(tmp_path / "birds.tgz", "w:gz"):
        pass
    assert "; if birds.tgz is it, extract it with: tar -xf" in refusal("cub", tmp_path)


def test_a_renamed_folder_is_pointed_at(write_published: Write, tmp_path: Path) -> None:
    write_published("cub", tmp_path)
    (tmp_path / "CUB_200_2011").rename(tmp_path / "birds")
    assert refusal("cub", tmp_path).endswith(f"set data_root={tmp_path / 'birds'}")


@pytest.mark.parametrize(
    ("name", "part", "words"),
    [
        ("cub", "CUB_200_2011/train_test_split.txt", "in part, without train_test_split.txt"),
        ("aircraft", "fgvc-aircraft-2013b/data/variants.txt", "in part, without variants.txt"),
        ("food101", "food-101/meta/test.json", "in part, without meta/test.json"),
        ("pets", "oxford-iiit-pet/annotations/test.txt", "without annotations/test.txt"),
        ("cars", "stanford_cars/cars_test_annos_withlabels.mat", "without cars_test_annos_with"),
        ("cars", "stanford_cars/cars_train/00001.jpg", "lists 20 images of which 1 are not there"),
        ("cub", "CUB_200_2011/images/001.Bird_0/Bird_0098.jpg", "of which 1 are not there"),
        ("tiny_imagenet", "tiny-imagenet-200/wnids.txt", "in part, without wnids.txt"),
        ("tiny_imagenet", "tiny-imagenet-200/val/images/val_3.JPEG", "val_3.JPEG"),
        ("mnist", "MNIST/raw/t10k-labels-idx1-ubyte", "without t10k-labels-idx1-ubyte"),
        ("cifar100", "cifar-100-python/test", "in part, without test"),
        ("cifar10", "cifar-10-batches-py/data_batch_3", "in part, without data_batch_3"),
        ("imagenet_kaggle", "LOC_val_solution.csv", "no LOC_val_solution.csv"),
    ],
)
def test_half_extracted(
    name: str, part: str, words: str, write_published: Write, tmp_path: Path
) -> None:
    write_published(name, tmp_path)
    (tmp_path / part).unlink()
    message = refusal(name.removesuffix("_kaggle"), tmp_path)
    assert words in message and (
        "extract" in message or "data_root=" in message or "put" in message
    )


@pytest.mark.parametrize(
    ("name", "folder", "words"),
    [
        ("herbarium19", "small-train/18", "do not have the same classes, '18'"),
        ("imagenet", "train/n00000002", "do not have the same classes, 'n00000002'"),
        ("tiny_imagenet", "tiny-imagenet-200/train/n00000002", "train has 4 classes and wnids"),
        ("herbarium19", "small-train", "in part, without small-train"),
    ],
)
def test_whole_folders_missing(
    name: str, folder: str, words: str, write_published: Write, tmp_path: Path
) -> None:
    write_published(name, tmp_path)
    (tmp_path / folder).rename(tmp_path / "elsewhere")
    assert words in refusal(name, tmp_path)


def test_archives_of_single_classes(write_published: Write, tmp_path: Path) -> None:
    write_published("imagenet", tmp_path)
    (tmp_path / "train" / "n00000009.tar").write_bytes(b"packed")
    assert "holds 1 archives such as n00000009.tar that are not extracted" in refusal(
        "imagenet", tmp_path
    )
    (tmp_path / "train" / "n00000009.tar").unlink()
    (tmp_path / "train" / "n00000009").mkdir()  # an empty class
    assert "n00000009" in refusal("imagenet", tmp_path)


@pytest.mark.parametrize(
    ("name", "part", "words"),
    [
        ("cub", "CUB_200_2011/images.txt", "was cut off|cut off"),
        ("cub", "CUB_200_2011/image_class_labels.txt", "one was cut off|cut off"),
        ("aircraft", "fgvc-aircraft-2013b/data/images_variant_test.txt", "cut off|does not list"),
        ("food101", "food-101/meta/train.json", "JSONDecodeError"),
        ("pets", "oxford-iiit-pet/annotations/trainval.txt", "cut off|not there"),
        ("cars", "stanford_cars/devkit/cars_train_annos.mat", "cannot be read|has no"),
        ("tiny_imagenet", "tiny-imagenet-200/val/val_annotations.txt", "cut off|does not list"),
        ("mnist", "MNIST/raw/train-images-idx3-ubyte", "it was cut off or is another file"),
        ("mnist_packed", "MNIST/raw/train-images-idx3-ubyte.gz", "cannot be read"),
        ("cifar100", "cifar-100-python/train", "cannot be read"),
        ("imagenet_kaggle", "LOC_val_solution.csv", "names image|of ''"),
    ],
)
def test_truncated_files(
    name: str, part: str, words: str, write_published: Write, tmp_path: Path
) -> None:
    write_published(name, tmp_path)
    whole = (tmp_path / part).read_bytes()
    # in the middle of a line where there are lines
    cut = (
        whole.rindex(b"\n", 0, 2 * len(whole) // 3) + 4 if b"\n" in whole[:-1] else len(whole) // 2
    )
    (tmp_path / part).write_bytes(whole[:cut])
    message = refusal(name.removesuffix("_kaggle").removesuffix("_packed"), tmp_path)
    assert any(word in message for word in words.split("|")), message
    (tmp_path / part).write_bytes(b"")
    refusal(name.removesuffix("_kaggle").removesuffix("_packed"), tmp_path)


@pytest.mark.parametrize(
    ("name", "part", "old", "new"),
    [
        ("cub", "CUB_200_2011/images.txt", "001.Bird_0/Bird_0098.jpg", "../../secret.jpg"),
        ("aircraft", "fgvc-aircraft-2013b/data/images_variant_test.txt", "1000000", "../x"),
        ("food101", "food-101/meta/test.json", "a_pie/1097", "../../a_pie"),
        ("pets", "oxford-iiit-pet/annotations/test.txt", "Big_Peta_100", "/etc/x_1"),
        ("tiny_imagenet", "tiny-imagenet-200/val/val_annotations.txt", "val_0.JPEG", "../a.JPEG"),
        ("imagenet_kaggle", "LOC_val_solution.csv", "ILSVRC2012_val_00000000", "../x"),
    ],
)
def test_lists_that_lead_out_of_the_folder(
    name: str, part: str, old: str, new: str, write_published: Write, tmp_path: Path
) -> None:
    write_published(name, tmp_path)
    content = (tmp_path / part).read_text()
    assert old in content
    (tmp_path / part).write_text(content.replace(old, new))
    assert "wanted a path below" in refusal(name.removesuffix("_kaggle"), tmp_path)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ({"annotations": np.zeros((1, 3))}, "has the fields []; wanted fname and class"),
        ({"other": np.zeros(3)}, "has no 'annotations'"),
        (
            {"annotations": np.array([[(9, "a.jpg")]], [("class", object), ("fname", object)])},
            "of classes that are not all in 1 to 5",
        ),
        (
            {"annotations": np.array([[(1, "../a.jpg")]], [("class", object), ("fname", object)])},
            "wanted a path below",
        ),
    ],
)
def test_wrong_annotations_of_cars(
    content: dict, words: str, write_published: Write, tmp_path: Path
) -> None:
    write_published("cars", tmp_path)
    savemat(tmp_path / "stanford_cars" / "devkit" / "cars_train_annos.mat", content)
    assert words in refusal("cars", tmp_path)


def test_a_wrong_idx_file(write_published: Write, tmp_path: Path) -> None:
    write_published("mnist", tmp_path)
    folder = tmp_path / "MNIST" / "raw"
    labels = (folder / "train-labels-idx1-ubyte").read_bytes()
    (folder / "train-images-idx3-ubyte").write_bytes(labels)
    assert "not what an idx file of 3 axes" in refusal("mnist", folder)
    (folder / "train-images-idx3-ubyte").unlink()
    (folder / "train-images.idx3-ubyte.gz").write_bytes(gzip.compress(labels)[:-5])
    assert "train-images.idx3-ubyte.gz cannot be read" in refusal("mnist", folder)
