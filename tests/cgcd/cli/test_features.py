"""`cgcd features` from the command line's side: layouts, file, what is found again, refusals."""

from __future__ import annotations

import json
import re
import shlex
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from cgcd.cli.help_topics import topic
from cgcd.cli.main import main
from cgcd.engine.feature_file import FeatureFile
from cgcd.engine.feature_store import FeatureStore
from scenarios.features import read_features

TINY = ["model=resnet10t", "model.input_size=24", "model.projection_hidden=16", "torch_threads=1"]
DIM = 512


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty working directory, and a cache of its own beside it."""
    monkeypatch.setenv("CGCD_CACHE", str(tmp_path / "cache"))
    place = tmp_path / "work"
    place.mkdir()
    monkeypatch.chdir(place)
    return place


def write_images(*paths: str, seed: int = 0, size: tuple[int, int] = (30, 26)) -> None:
    """Files of colored noise, all different."""
    generator = np.random.default_rng(seed)
    for name in paths:
        path = Path(name)
        path.parent.mkdir(parents=True, exist_ok=True)
        pixels = generator.integers(0, 256, (size[1], size[0], 3), dtype=np.uint8)
        Image.fromarray(pixels).save(path)


TREE = [
    *(f"photos/train/{c}/{i}.png" for c in ("ant", "bee", "cow", "dog") for i in range(4)),
    *(f"photos/test/{c}/{i}.jpg" for c in ("ant", "dog") for i in range(2)),
]


def features(*arguments: str) -> int:
    return main(["features", *TINY, *arguments])


def test_a_tree_of_classes_becomes_a_stream(here: Path, capsys: pytest.CaptureFixture) -> None:
    write_images(*TREE)
    (here / "photos/train/ant/.hidden.png").write_bytes(b"x")
    (here / "photos/train/ant/notes.txt").write_text("x")
    assert features("data_root=photos", "out=out/a.npz") == 0
    out, err = capsys.readouterr()
    assert "are random" in err and "Traceback" not in err
    assert "photos: 20 images, 4 of them for testing, 4 classes by their folders" in out
    assert "out/a.npz: 20 images, 20 computed, 0 known" in out
    assert re.search(r"\d% in the backbone|\(\d+%\) in the backbone", out)
    stored = read_features("out/a.npz")
    assert stored.vectors.shape == (16, DIM) and stored.vectors.dtype == np.float16
    assert stored.targets.tolist() == np.repeat(range(4), 4).tolist()
    assert stored.test_targets is not None and stored.test_targets.tolist() == [0, 0, 3, 3]
    assert stored.class_names == ("ant", "bee", "cow", "dog")
    file = FeatureFile.read(Path("out/a.npz"))
    assert file is not None and file.ids[0] == "train/ant/0.png"
    assert file.settings["backbone"] == "resnet10t" and file.settings["input"]["size"] == 24
    before = Path("out/a.npz").read_bytes()

    assert features("data_root=photos", "out=out/a.npz") == 0
    out, _ = capsys.readouterr()
    assert "0 computed, 20 known" in out and "finished before" in out
    assert Path("out/a.npz").read_bytes() == before

    command = next(line for line in out.splitlines() if "scenario=features_online" in line)
    words = shlex.split(command)
    assert words[:2] == ["cgcd", "run"] and "scenario.protocol.num_known=2" in words
    small = ["strategy.base.epochs=1", "strategy.base.batch_size=2", "tracking=none"]
    assert main([*words[1:], *small, "strategy.hash_hidden=16", "torch_threads=1"]) == 0


def test_what_was_computed_is_found_under_other_names(
    here: Path, capsys: pytest.CaptureFixture
) -> None:
    write_images(*TREE)
    assert features("data_root=photos", "out=a.npz") == 0
    (here / "photos").rename(here / "moved")
    for path in (here / "moved" / "test").rglob("*.jpg"):
        path.unlink()
    (here / "moved/train/ant/0.png").rename(here / "moved/train/ant/zero.png")
    capsys.readouterr()
    assert features("data_root=moved", "out=b.safetensors", "batch_size=3", "max_skipped=0") == 0
    assert "16 images, 0 computed, 16 known" in capsys.readouterr().out
    a, b = (FeatureFile.read(Path(name)) for name in ("a.npz", "b.safetensors"))
    assert a is not None and b is not None and b.split is None
    rows = [a.digests.tolist().index(digest) for digest in b.digests.tolist()]
    assert (a.f[rows] == b.f).all()
    assert b.ids.tolist()[3] == "train/ant/zero.png"

    write_images("moved/train/cat/new.png", seed=1)  # the file itself also says what is known
    for path in (here.parent / "cache").rglob("*.safetensors"):
        path.unlink()
    assert features("data_root=moved", "out=b.safetensors") == 0
    assert "17 images, 1 computed, 16 known" in capsys.readouterr().out
    assert features("data_root=moved", "out=b.safetensors", "overwrite=true") == 0
    assert "17 computed, 0 known" in capsys.readouterr().out


def test_stopped_and_gone_on(
    here: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    write_images(*TREE)
    monkeypatch.setattr("cgcd.engine.extraction._SHARD_ROWS", 4)
    command = ["data_root=photos", "out=a.npz", "batch_size=4"]
    add, calls = FeatureStore.add, []

    def stop(self: FeatureStore, *arguments: np.ndarray) -> None:
        calls.append(arguments)
        if len(calls) > 2:
            raise KeyboardInterrupt
        add(self, *arguments)

    with monkeypatch.context() as patch:
        patch.setattr(FeatureStore, "add", stop)
        assert features(*command) == 130
    assert "the same command goes on" in capsys.readouterr().err
    assert not list(here.glob("*.npz")) and not list(here.glob(".*"))
    assert features(*command) == 0
    assert "12 computed, 8 known" in capsys.readouterr().out
    assert features("data_root=photos", "out=b.npz", "batch_size=4", "overwrite=true") == 0
    assert (here / "a.npz").read_bytes() == (here / "b.npz").read_bytes()


def test_photos_without_labels(here: Path, capsys: pytest.CaptureFixture) -> None:
    write_images("photos/may/a.png", "photos/may/deep/b.jpg", "photos/june/c.png")
    assert features("data_root=photos", "out=a.npz", "labels=none") == 0
    out, _ = capsys.readouterr()
    assert "3 images, no labels" in out and "scenario.stages=[a.npz]" in out
    file = FeatureFile.read(here / "a.npz")
    assert file is not None and file.y is None and file.classes is None
    assert file.ids.tolist() == ["june/c.png", "may/a.png", "may/deep/b.jpg"]
    write_images("photos/loose.png", seed=1)
    assert features("data_root=photos", "out=a.npz") == 0
    assert "4 images, 1 computed, 3 known" in capsys.readouterr().out


def test_class_folders_alone(here: Path, capsys: pytest.CaptureFixture) -> None:
    write_images("photos/b/x.png", "photos/a/deep/y.png", "photos/a/z.png")
    assert features("data_root=photos", "out=a.npz", "dtype=float32") == 0
    stored = read_features("a.npz")
    assert stored.class_names == ("a", "b") and stored.targets.tolist() == [0, 0, 1]
    assert stored.vectors.dtype == np.float32 and stored.test_vectors is None


def test_arrays_of_a_data_set(here: Path, capsys: pytest.CaptureFixture) -> None:
    generator = np.random.default_rng(0)
    x = generator.integers(0, 256, (12, 32, 32, 3), dtype=np.uint8)
    np.savez("c.npz", x=x, y=np.arange(12) % 3, split=np.arange(12) // 9)
    assert features("data=cifar100", "data_root=c.npz", "out=a.npz") == 0
    file = FeatureFile.read(here / "a.npz")
    assert file is not None and file.ids.tolist()[8:10] == ["train/8", "test/0"]
    assert file.y is not None and file.y.tolist() == (np.arange(12) % 3).tolist()
    assert file.split is not None and file.split.tolist() == (np.arange(12) // 9).tolist()


def test_unreadable_files_are_listed(here: Path, capsys: pytest.CaptureFixture) -> None:
    write_images(*TREE)
    whole = (here / TREE[0]).read_bytes()
    (here / TREE[0]).write_bytes(whole[: len(whole) // 2])
    (here / "outside.png").write_bytes(whole)
    (here / "photos/train/dog/=link.png").symlink_to(here / "outside.png")
    assert features("data_root=photos", "out=a.npz") == 2
    err = capsys.readouterr().err
    assert "of 21 images cannot be read" in err and "max_skipped" in err
    assert features("data_root=photos", "out=a.npz", "max_skipped=0.1") == 0
    assert "19 images, 19 computed" in capsys.readouterr().out
    rows = (here / "a.skipped.csv").read_text().splitlines()
    assert rows[0] == "path,reason" and rows[1].startswith("train/ant/0.png,OSError: ")
    assert rows[2] == "train/dog/=link.png,ValueError: leads out of data_root"
    (here / TREE[0]).write_bytes(whole)
    (here / "photos/train/dog/=link.png").unlink()
    assert features("data_root=photos", "out=a.npz", "max_skipped=0") == 0
    assert not (here / "a.skipped.csv").exists()


@pytest.mark.parametrize(
    ("arguments", "parts"),
    [
        ([], ["out is not set", "out=features.npz"]),
        (["out=a.txt"], ["'.txt'", "FILE.npz or FILE.safetensors"]),
        (["out=photos/train/x.png/a.npz"], ["cannot be written"]),
        (["out=a.npz"], ["data_root is not set", "train/<class>/<image>"]),
        (["out=a.npz", "data_root=nowhere"], ["nowhere is no folder"]),
        (["out=a.npz", "data_root=empty"], ["empty holds no images"]),
        (["out=a.npz", "data_root=photos", "labels=folders"], ["loose.png", "labels=none"]),
        (["out=a.npz", "data_root=photos", "labels=yes"], ["labels=yes", "auto, folders or none"]),
        (["out=a.npz", "data_root=photos", "dtype=int8"], ["dtype=int8", "float16 or float32"]),
        (["out=a.npz", "data_root=photos", "max_skipped=2"], ["max_skipped=2", "0 to 1"]),
        (["out=a.npz", "data_root=photos", "batch_size=0"], ["batch_size=0", "auto or"]),
        (["out=a.npz", "data_root=photos", "model=adapter"], ["takes embeddings", "model=timm"]),
        (["out=a.npz", "data=mnist"], ["data=mnist", "files, cifar10"]),
        (["out=a.npz", "data=digits", "labels=none"], ["labels=none", "data=digits"]),
        (["out=taken.npz", "data_root=photos"], ["taken.npz", "overwrite=true"]),
        (["out=a.npz", "batch_sise=3"], ["'batch_size'", "cgcd features --cfg job"]),
        (["out=a.npz", "seed=0,1"], ["seed=0,1", "sweep"]),
        (["out=a.npz", "-m"], ["no -m"]),
        (["out=a.npz", "strategy=happy"], ["strategy"]),
    ],
)
def test_refusals(
    arguments: list[str], parts: list[str], here: Path, capsys: pytest.CaptureFixture
) -> None:
    write_images("photos/loose.png", "photos/train/x.png")
    (here / "empty").mkdir()
    np.savez("taken.npz", f=np.zeros((2, 2)))
    assert features(*arguments) == 2
    err = [line for line in capsys.readouterr().err.splitlines() if "warning" not in line]
    assert len(err) == 1 and all(part in err[0] for part in parts), err
    assert not (here / "a.npz").exists()


def test_it_says_what_it_composes(here: Path, capsys: pytest.CaptureFixture) -> None:
    assert main(["features", "--cfg", "job"]) == 0
    assert "max_skipped: 0.05" in capsys.readouterr().out
    assert main(["features", "--help"]) == 0
    out = capsys.readouterr().out
    assert "cgcd features data_root=DIR" in out and "cgcd help features" in out
    assert "$CGCD_CACHE" in topic("features")
    assert list(here.iterdir()) == []


def test_settings_that_count_are_found_in_the_file(here: Path) -> None:
    write_images("photos/a.png")
    hashes = set()
    for number, more in enumerate(
        ([], ["seed=1"], ["model.input_size=32"], ["dtype=float32"], ["model.crop_pct=1"])
    ):
        assert features("data_root=photos", f"out={number}.npz", *more) == 0
        file = FeatureFile.read(here / f"{number}.npz")
        assert file is not None
        hashes.add(json.dumps(file.settings, sort_keys=True))
    assert len(hashes) == 5
    for more in (["model.tail_units=2"], ["model.projection_dim=8"], ["batch_size=2"]):
        assert features("data_root=photos", "out=0.npz", *more) == 0  # the same, found again
