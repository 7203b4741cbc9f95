"""Writes tiny data sets in the formats of the published ones, from their descriptions.

Every image has one color, which tells its part, class and number; JPEG keeps it within 3 levels.
"""

from __future__ import annotations

import csv
import gzip
import json
import pickle
import struct
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import ClassVar

import numpy as np
from PIL import Image
from scipy.io import savemat

TOLERANCE = 3


@dataclass
class Written:
    """What a reader should find: class ids and colors in reading order, by part."""

    num_classes: int
    per_class: dict[str, int]
    side: int
    names: list[str] = field(default_factory=list)
    targets: dict[str, list[int]] = field(default_factory=lambda: {"train": [], "test": []})
    colors: dict[str, list[tuple[int, int, int]]] = field(
        default_factory=lambda: {"train": [], "test": []}
    )

    def items(self, part: str, mixed: bool = False) -> list[tuple[int, int]]:
        """(class, number) of a part: class after class, or all first images, all second ones."""
        pairs = [(k, n) for k in range(self.num_classes) for n in range(self.per_class[part])]
        return sorted(pairs, key=lambda pair: pair[1]) if mixed else pairs

    def add(self, part: str, number_of_class: int, number: int) -> Image.Image:
        """The next image of a part."""
        color = (20 + 9 * number_of_class, 20 + 9 * number, 60 if part == "train" else 200)
        self.targets[part].append(number_of_class)
        self.colors[part].append(color)
        return Image.new("RGB", (self.side, self.side + 1), color)


def saved(image: Image.Image, path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    image.save(path, format="JPEG", quality=95)


def text(path: Path, lines: list[str]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")


def cub(root: Path, made: Written) -> None:
    folder = root / "CUB_200_2011"
    made.names = [f"{k + 1:03d}.Bird_{k}" for k in range(made.num_classes)]
    lists: dict[str, list[str]] = {"images": [], "image_class_labels": [], "train_test_split": []}
    turns = sorted([(k, n, p) for p in ("train", "test") for k, n in made.items(p)])
    for image_id, (k, n, part) in enumerate(turns, start=1):
        file = f"{made.names[k]}/Bird_{99 - image_id:04d}.jpg"  # not in the order of names
        saved(made.add(part, k, n), folder / "images" / file)
        lists["images"].append(f"{image_id} {file}")
        lists["image_class_labels"].append(f"{image_id} {k + 1}")
        lists["train_test_split"].append(f"{image_id} {int(part == 'train')}")
    for name, lines in lists.items():
        text(folder / f"{name}.txt", lines)
    text(folder / "classes.txt", [f"{k + 1} {name}" for k, name in enumerate(made.names)])


def aircraft(root: Path, made: Written) -> None:
    folder = root / "fgvc-aircraft-2013b" / "data"
    made.names = sorted(f"{700 + k} {'MAX' if k % 2 else 'A/B'}" for k in range(made.num_classes))
    text(folder / "variants.txt", made.names)
    for part, name in (("train", "trainval"), ("test", "test")):
        lines = []
        for k, n in made.items(part):
            image = f"{10**6 * (part == 'test') + 1000 * n + k:07d}"
            saved(made.add(part, k, n), folder / "images" / f"{image}.jpg")
            lines.append(f"{image} {made.names[k]}")
        text(folder / f"images_variant_{name}.txt", lines)


def food101(root: Path, made: Written) -> None:
    folder = root / "food-101"
    made.names = [f"{chr(97 + k)}_pie" for k in range(made.num_classes)]
    turn = list(range(made.num_classes))[::-1]  # the tables are not in the order of names
    for part in ("train", "test"):
        table: dict[str, list[str]] = {made.names[k]: [] for k in turn}
        for k in turn:
            for n in range(made.per_class[part]):
                image = f"{made.names[k]}/{1000 * (part == 'test') + 97 - n}"
                saved(made.add(part, k, n), folder / "images" / f"{image}.jpg")
                table[made.names[k]].append(image)
        text(folder / "meta" / f"{part}.json", [json.dumps(table)])
    text(folder / "meta" / "classes.txt", made.names)


def pets(root: Path, made: Written) -> None:
    folder = root / "oxford-iiit-pet"
    made.names = [f"Big_Pet{chr(97 + k)}" for k in range(made.num_classes)]
    for part, name in (("train", "trainval"), ("test", "test")):
        lines = []
        for k, n in made.items(part):
            image = f"{made.names[k]}_{100 * (part == 'test') + n}"
            saved(made.add(part, k, n), folder / "images" / f"{image}.jpg")
            lines.append(f"{image} {k + 1} {1 + k % 2} 1")
        text(folder / "annotations" / f"{name}.txt", lines)
    (folder / "annotations" / "trimaps").mkdir()


def cars(root: Path, made: Written) -> None:
    folder = root / "stanford_cars"
    made.names = [f"Car {k} Sedan 2012" for k in range(made.num_classes)]
    (folder / "devkit").mkdir(parents=True)
    savemat(folder / "devkit" / "cars_meta.mat", {"class_names": np.array([made.names], object)})
    kinds = [(name, object) for name in ("bbox_x1", "bbox_y1", "bbox_x2", "bbox_y2", "class")]
    places = {"train": "devkit/cars_train_annos.mat", "test": "cars_test_annos_withlabels.mat"}
    for part, place in places.items():
        rows = []
        for turn, (k, n) in enumerate(made.items(part, mixed=True), start=1):
            file = f"{turn:05d}.jpg"
            saved(made.add(part, k, n), folder / f"cars_{part}" / file)
            rows.append((1, 1, 2, 2, k + 1, file))
        table = np.array(rows, dtype=[*kinds, ("fname", object)])
        savemat(folder / place, {"annotations": table[None]})


def imagenet(root: Path, made: Written) -> None:
    made.names = [f"n{k + 1:08d}" for k in range(made.num_classes)]
    for part, name in (("train", "train"), ("test", "val")):
        for k, n in made.items(part):
            file = f"{made.names[k]}_{n}.JPEG"
            saved(made.add(part, k, n), root / name / made.names[k] / file)


def imagenet_kaggle(root: Path, made: Written) -> None:
    made.names = [f"n{k + 1:08d}" for k in range(made.num_classes)]
    folder = root / "ILSVRC" / "Data" / "CLS-LOC"
    for k, n in made.items("train"):
        saved(made.add("train", k, n), folder / "train" / made.names[k] / f"{k}_{n}.JPEG")
    with (root / "LOC_val_solution.csv").open("w", newline="", encoding="utf-8") as file:
        table = csv.writer(file)
        table.writerow(["ImageId", "PredictionString"])
        for turn, (k, n) in enumerate(made.items("test", mixed=True)):
            image = f"ILSVRC2012_val_{turn:08d}"
            saved(made.add("test", k, n), folder / "val" / f"{image}.JPEG")
            table.writerow([image, f"{made.names[k]} 1 1 9 9 {made.names[k]} 2 2 8 8 "])


def tiny_imagenet(root: Path, made: Written) -> None:
    folder = root / "tiny-imagenet-200"
    made.names = [f"n{k + 1:08d}" for k in range(made.num_classes)]
    text(folder / "wnids.txt", made.names[::-1])
    for k, n in made.items("train"):
        file = folder / "train" / made.names[k] / "images" / f"{made.names[k]}_{n}.JPEG"
        saved(made.add("train", k, n), file)
    for name in made.names:
        text(folder / "train" / name / f"{name}_boxes.txt", [f"{name}_0.JPEG\t0\t0\t1\t1"])
    lines = []
    for turn, (k, n) in enumerate(made.items("test", mixed=True)):
        saved(made.add("test", k, n), folder / "val" / "images" / f"val_{turn}.JPEG")
        lines.append(f"val_{turn}.JPEG\t{made.names[k]}\t0\t32\t44\t62")
    text(folder / "val" / "val_annotations.txt", lines)
    saved(Image.new("RGB", (4, 4)), folder / "test" / "images" / "test_0.JPEG")


def herbarium19(root: Path, made: Written) -> None:
    made.names = sorted(str(9 * k) for k in range(made.num_classes))  # 0, 18, 27, 36, 9
    for part, name in (("train", "small-train"), ("test", "small-validation")):
        for k, n in made.items(part):
            saved(made.add(part, k, n), root / name / made.names[k] / f"{n}.jpg")


def inat(root: Path, made: Written) -> None:
    made.names = [f"Amanita {chr(97 + k)}" for k in range(made.num_classes)]
    for k, n in made.items("train"):
        saved(made.add("train", k, n), root / "2017" / "Fungi" / made.names[k] / f"{n}.jpg")
    saved(Image.new("RGB", (4, 4)), root / "2017" / "Aves" / "Parus major" / "0.jpg")


def idx(root: Path, made: Written, folder: str, packed: bool = False) -> None:
    place = root / folder / "raw"
    place.mkdir(parents=True)
    for part, stem in (("train", "train"), ("test", "t10k")):
        grey = []
        for k, n in made.items(part, mixed=True):
            made.add(part, k, n)
            grey.append(20 + 9 * k + n)
            made.colors[part][-1] = (grey[-1],) * 3
        images = np.tile(np.array(grey, np.uint8)[:, None, None], (1, 28, 28))
        labels = np.array(made.targets[part], np.uint8)
        for name, array in (("images", images), ("labels", labels)):
            head = struct.pack(f">4B{array.ndim}I", 0, 0, 8, array.ndim, *array.shape)
            raw, file = head + array.tobytes(), f"{stem}-{name}-idx{array.ndim}-ubyte"
            if packed:
                (place / f"{file}.gz").write_bytes(gzip.compress(raw))
            else:
                (place / file).write_bytes(raw)


def cifar(root: Path, made: Written, fine: bool) -> None:
    folder = root / ("cifar-100-python" if fine else "cifar-10-batches-py")
    folder.mkdir(parents=True)
    made.names = [f"thing {k}" for k in range(made.num_classes)]
    key, meta = (b"fine_labels", "meta") if fine else (b"labels", "batches.meta")
    contents = {
        meta: {
            b"fine_label_names" if fine else b"label_names": [name.encode() for name in made.names]
        }
    }
    for part in ("train", "test"):
        images = [made.add(part, k, n).resize((32, 32)) for k, n in made.items(part, mixed=True)]
        rows = np.stack([np.asarray(image).transpose(2, 0, 1).ravel() for image in images])
        if fine or part == "test":
            files, cuts = ["test_batch" if not fine else part], [0, len(rows)]
        else:
            files = [f"data_batch_{number}" for number in range(1, 6)]
            cuts = np.linspace(0, len(rows), 6).astype(int).tolist()
        for file, start, stop in zip(files, cuts[:-1], cuts[1:], strict=True):
            contents[file] = {b"data": rows[start:stop], key: made.targets[part][start:stop]}
    for file, content in contents.items():
        with (folder / file).open("wb") as opened:
            _Python2Pickler(opened, protocol=2, fix_imports=False).dump(content)


class _Python2Pickler(pickle._Pickler):  # type: ignore[misc, name-defined]
    """Writes bytes as the published files have them: Python 2's `str`, neither bytes nor text."""

    def _save_bytes(self, value: bytes) -> None:
        self.write(pickle.BINSTRING + struct.pack("<i", len(value)) + value)

    dispatch: ClassVar[dict] = {**pickle._Pickler.dispatch, bytes: _save_bytes}  # type: ignore[attr-defined]


WRITERS: dict[str, Callable[[Path, Written], None]] = {
    "cub": cub,
    "aircraft": aircraft,
    "food101": food101,
    "pets": pets,
    "cars": cars,
    "imagenet": imagenet,
    "imagenet_kaggle": imagenet_kaggle,
    "tiny_imagenet": tiny_imagenet,
    "herbarium19": herbarium19,
    "inat_fungi": inat,
    "mnist": lambda root, made: idx(root, made, "MNIST"),
    "mnist_packed": lambda root, made: idx(root, made, "MNIST", packed=True),
    "fashion_mnist": lambda root, made: idx(root, made, "FashionMNIST"),
    "cifar10": lambda root, made: cifar(root, made, fine=False),
    "cifar100": lambda root, made: cifar(root, made, fine=True),
}


def write(
    name: str, root: Path, num_classes: int = 5, train: int = 4, test: int = 2, side: int = 12
) -> Written:
    """Write `train` and `test` images of each class below `root`, and tell what they are."""
    made = Written(num_classes, {"train": train, "test": test}, side)
    WRITERS[name](root, made)
    return made
