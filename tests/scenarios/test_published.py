"""Every published data set from a tiny one in its true format, beside torchvision's reader."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torchvision import datasets

from cgcd.models import InputSpec
from cgcd.vocabulary import InputError
from scenarios import (
    DATASETS,
    OnlineProtocol,
    Protocol,
    SingleStageProtocol,
    dataset_gcd_scenario,
    dataset_online_scenario,
    dataset_scenario,
)
from scenarios.arrays import ImageArrays
from scenarios.inspection import inspect
from scenarios.published import published
from scenarios.stream import as_pil

TOLERANCE = 3  # levels, of JPEG
FORMATS = [
    "aircraft",
    "cars",
    "cifar10",
    "cifar100",
    "cub",
    "fashion_mnist",
    "food101",
    "herbarium19",
    "imagenet",
    "imagenet_kaggle",
    "inat_fungi",
    "mnist",
    "mnist_packed",
    "pets",
    "tiny_imagenet",
]
Write = Callable[..., Any]


def name_of(layout: str) -> str:
    return layout.removesuffix("_kaggle").removesuffix("_packed")


def color(image: Any) -> tuple[int, ...]:
    """Mean color of an image of one color."""
    array = np.asarray(image.convert("RGB"))
    assert np.ptp(array.reshape(-1, 3), axis=0).max() <= 1
    return tuple(array.reshape(-1, 3).mean(0).round().astype(int).tolist())


def parts(data: ImageArrays) -> dict[str, tuple[Any, list[int]]]:
    return {
        "train": (as_pil(data.train_images), data.train_targets.tolist()),
        "test": (as_pil(data.test_images), data.test_targets.tolist()),
    }


@pytest.mark.parametrize("layout", FORMATS)
def test_a_tiny_one_comes_back_image_by_image(
    layout: str, write_published: Write, tmp_path: Path
) -> None:
    made = write_published(layout, tmp_path)
    data = DATASETS[name_of(layout)].read(tmp_path)
    for part, (images, targets) in parts(data).items():
        assert targets == made.targets[part]
        assert len(images) == len(made.colors[part])
        for image, wanted in zip(images, made.colors[part], strict=True):
            assert np.abs(np.subtract(color(image), wanted)).max() <= TOLERANCE
    if made.names:
        assert data.class_names == tuple(made.names)
    assert data.train_targets.dtype == data.test_targets.dtype == np.int64


def stock(layout: str, root: Path) -> dict[str, Any]:
    """torchvision's own readers of both parts, for every layout that it has one for."""
    if layout in ("cars", "food101"):
        made = {"cars": datasets.StanfordCars, "food101": datasets.Food101}[layout]
        return {"train": made(root, "train"), "test": made(root, "test")}
    if layout == "aircraft":
        return {
            "train": datasets.FGVCAircraft(root, "trainval"),
            "test": datasets.FGVCAircraft(root, "test"),
        }
    if layout == "pets":
        return {
            "train": datasets.OxfordIIITPet(root, "trainval"),
            "test": datasets.OxfordIIITPet(root, "test"),
        }
    if layout in ("mnist", "fashion_mnist"):
        made = {"mnist": datasets.MNIST, "fashion_mnist": datasets.FashionMNIST}[layout]
        return {"train": made(root, train=True), "test": made(root, train=False)}
    if layout == "imagenet":
        synsets = sorted(path.name for path in (root / "train").iterdir())
        torch.save(({synset: (synset,) for synset in synsets}, []), root / "meta.bin")
        return {
            "train": datasets.ImageNet(root, "train"),
            "test": datasets.ImageNet(root, "val"),
        }
    if layout == "herbarium19":  # as the released code of GCD reads it
        return {
            "train": datasets.ImageFolder(str(root / "small-train")),
            "test": datasets.ImageFolder(str(root / "small-validation")),
        }
    assert layout == "inat_fungi"
    return {"train": datasets.INaturalist(root, "2017")}


@pytest.mark.parametrize(
    "layout",
    [
        "aircraft",
        "cars",
        "fashion_mnist",
        "food101",
        "herbarium19",
        "imagenet",
        "inat_fungi",
        "mnist",
        "pets",
    ],
)
def test_torchvision_reads_the_same_files(
    layout: str, write_published: Write, tmp_path: Path
) -> None:
    write_published(layout, tmp_path)
    ours = parts(DATASETS[layout].read(tmp_path))
    for part, theirs in stock(layout, tmp_path).items():
        pairs = [(color(image), target) for image, target in theirs]
        found = [(color(image), target) for image, target in zip(*ours[part], strict=True)]
        if layout == "inat_fungi":  # Aves comes first there, and files in any order
            pairs = sorted((c, target - 1) for c, target in pairs if target > 0)
            found = sorted(found)
        assert pairs == found


def test_torchvision_reads_the_same_pickles(
    write_published: Write, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its check of the published files' digests is put aside; what it then reads is compared."""
    for made in (datasets.CIFAR10, datasets.CIFAR100):
        name = made.__name__.lower()
        write_published(name, tmp_path)
        monkeypatch.setattr(made, "_check_integrity", lambda self: True)
        monkeypatch.setattr(made, "_load_meta", lambda self: None)
        ours = DATASETS[name].read(tmp_path)
        train, test = made(tmp_path, train=True), made(tmp_path, train=False)
        np.testing.assert_array_equal(ours.train_images, train.data)
        np.testing.assert_array_equal(ours.test_images, test.data)
        assert ours.train_targets.tolist() == train.targets
        assert ours.test_targets.tolist() == test.targets


@pytest.mark.parametrize(
    ("layout", "folder"),
    [
        ("cub", "CUB_200_2011"),
        ("aircraft", "fgvc-aircraft-2013b/data"),
        ("food101", "food-101"),
        ("pets", "oxford-iiit-pet"),
        ("cars", "stanford_cars"),
        ("tiny_imagenet", "tiny-imagenet-200"),
        ("mnist", "MNIST/raw"),
        ("inat_fungi", "2017"),
        ("imagenet_kaggle", "ILSVRC/Data/CLS-LOC"),
    ],
)
def test_the_folder_may_be_named_itself(
    layout: str, folder: str, write_published: Write, tmp_path: Path
) -> None:
    write_published(layout, tmp_path)
    read = DATASETS[name_of(layout)].read
    if layout == "imagenet_kaggle":  # the table of the validation images moves along
        table = tmp_path / "LOC_val_solution.csv"
        table.rename(tmp_path / folder / table.name)
    assert len(read(tmp_path / folder).train_targets) == 20
    (tmp_path / folder).rename(tmp_path / "mine")  # and be called what one likes
    assert len(read(tmp_path / "mine").train_targets) == 20


def test_cars_as_a_well_known_copy_nests_them(write_published: Write, tmp_path: Path) -> None:
    made = write_published("cars", tmp_path)
    base = tmp_path / "stanford_cars"
    for outer, inner in (
        ("cars_train", "cars_train"),
        ("cars_test", "cars_test"),
        ("car_devkit", "devkit"),
    ):
        (base / inner).rename(base / "moving")
        (base / outer).mkdir()
        (base / "moving").rename(base / outer / inner)
    for part, (images, targets) in parts(DATASETS["cars"].read(base)).items():
        assert targets == made.targets[part]
        assert np.abs(np.subtract(color(images[3]), made.colors[part][3])).max() <= TOLERANCE


def test_a_validation_part_may_lack_rare_plants(write_published: Write, tmp_path: Path) -> None:
    made = write_published("herbarium19", tmp_path)
    (tmp_path / "small-validation" / made.names[1]).rename(tmp_path / "elsewhere")
    wanted = [target for target in made.targets["test"] if target != 1]
    assert DATASETS["herbarium19"].read(tmp_path).test_targets.tolist() == wanted


def test_counts_are_compared_and_files_decoded(write_published: Write, tmp_path: Path) -> None:
    made = write_published("cub", tmp_path)
    found = inspect(DATASETS["cub"], tmp_path)
    assert found.num_opened == 30 and found.unreadable == ()
    assert found.counts["test images"] == (10, 5794) and found.counts["classes"] == (5, 200)
    assert found.differences[0] == "20 training images where 5994 were published"
    image = next((tmp_path / "CUB_200_2011" / "images" / made.names[0]).iterdir())
    image.write_bytes(image.read_bytes()[:100])
    (sentence,) = inspect(DATASETS["cub"], tmp_path, every_image=True).unreadable
    assert "is no readable image" in sentence and image.name in sentence


def test_the_digits_are_complete() -> None:
    found = inspect(DATASETS["digits"], None)
    assert found.differences == () and found.num_opened == 0


def test_every_entry_is_told_in_full() -> None:
    for name, entry in DATASETS.items():
        assert entry.title and entry.licence and entry.citation, name
        assert entry.num_train > entry.num_classes > 1
        assert (entry.layout is None) == (name == "digits")
        if entry.layout is not None:
            assert entry.layout.tree and entry.layout.mend.startswith("set data_root=")
        if entry.download is not None:
            assert hasattr(datasets, entry.download.reader)
    inat = [entry for name, entry in DATASETS.items() if name.startswith("inat_")]
    assert sum(entry.num_classes for entry in inat) == 5089
    assert sum(entry.num_train for entry in inat) == 579_184 + 95_986
    with pytest.raises(InputError, match="no data set 'birds'; wanted one of digits, mnist"):
        published("birds")


INPUTS = InputSpec(size=16)


def test_one_set_in_every_setting(write_published: Write, tmp_path: Path) -> None:
    write_published("pets", tmp_path, num_classes=6, train=10, test=3)
    given = {"dataset": "pets", "name": "mine", "inputs": INPUTS, "data_root": tmp_path}
    protocol = Protocol(num_base=3, num_stages=3, samples_per_novel=5, samples_per_known=1)
    staged = dataset_scenario(**given, protocol=protocol)
    assert staged.name == "mine" and [len(s.dataset) for s in staged.train_stream] == [24, 8, 9, 10]
    single = dataset_gcd_scenario(**given, protocol=SingleStageProtocol(num_known=3))
    assert (single.description["labeled"], single.description["unlabeled"]) == (15, 45)
    online = dataset_online_scenario(**given, protocol=OnlineProtocol(num_known=3))
    assert (online.description["labeled"], online.description["stream"]) == (15, 45)
    assert online.stream.dataset.eval()[0][0].shape == (3, 16, 16)


def test_handwriting_is_not_mirrored_unless_asked(write_published: Write, tmp_path: Path) -> None:
    def names(dataset: str) -> list[str]:
        write_published(dataset, tmp_path)
        scenario = dataset_scenario(
            dataset=dataset,
            name=dataset,
            inputs=INPUTS,
            data_root=tmp_path,
            protocol=Protocol(num_base=3, num_stages=2, samples_per_novel=2, samples_per_known=0),
        )
        view = scenario.train_stream[0].dataset._flat_data._transform_groups["train"]
        return [type(a).__name__ for a in view.transforms[0].augmentations]

    assert names("mnist") == ["RandomAffine", "RandomCrop"]
    assert names("fashion_mnist") == ["RandomCrop", "HorizontalFlip"]


def test_stages_need_test_images(write_published: Write, tmp_path: Path) -> None:
    write_published("inat_fungi", tmp_path)
    protocol = Protocol(num_base=3, num_stages=2, samples_per_novel=2, samples_per_known=0)
    with pytest.raises(InputError, match="Fungi has no test images"):
        dataset_scenario(
            dataset="inat_fungi",
            name="x",
            inputs=INPUTS,
            data_root=tmp_path,
            protocol=protocol,
        )
