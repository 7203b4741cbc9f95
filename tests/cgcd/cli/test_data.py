"""`cgcd data`: what it prints of data sets, and how it ends."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from torchvision import datasets

from cgcd.cli.configs import choices
from cgcd.cli.help_topics import topic
from cgcd.cli.main import main
from scenarios import DATASETS

Write = Callable[..., Any]
Capture = pytest.CaptureFixture[str]


def test_the_list_names_every_data_set(capsys: Capture) -> None:
    assert main(["data", "list"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines[1 : 1 + len(DATASETS)]] == list(DATASETS)
    (cub,) = [line for line in lines if line.startswith("cub ")]
    assert cub.split()[-4:] == ["5,994", "5,794", "200", "-"]


def test_a_tiny_one_is_told_apart_from_the_published_one(
    write_published: Write, tmp_path: Path, capsys: Capture
) -> None:
    write_published("cub", tmp_path)
    assert main(["data", "check", "cub", f"data_root={tmp_path}"]) == 2
    out, err = capsys.readouterr()
    for words in ("found             images.txt", "20, published: 5,994", "opened            30"):
        assert words in out
    assert "non-commercial" in out and "Wah, Branson" in out and "classes.txt   " in out
    assert err.startswith("cgcd: cub is not the published CUB-200-2011: 20 training images where")
    assert err.count("\n") == 1


def test_a_complete_one_ends_well(
    write_published: Write, tmp_path: Path, capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_published("pets", tmp_path)
    for field, number in (("num_train", 20), ("num_test", 10), ("num_classes", 5)):
        monkeypatch.setitem(DATASETS["pets"].__dict__, field, number)
    given = ["data", "check", "pets", f"data_root={tmp_path}"]
    assert main(given) == main([*given, "images=all"]) == 0
    out, err = capsys.readouterr()
    assert out.count("20, as published") == 2 and out.endswith("complete\n") and not err
    image = next((tmp_path / "oxford-iiit-pet" / "images").iterdir())
    image.write_bytes(b"no image")
    assert main([*given, "images=all"]) == 2
    out, err = capsys.readouterr()
    assert "30 images, 1 of them unreadable" in out and f"{image} is no readable image" in err


def test_what_is_missing_is_listed(write_published: Write, tmp_path: Path, capsys: Capture) -> None:
    write_published("tiny_imagenet", tmp_path)
    (tmp_path / "tiny-imagenet-200" / "wnids.txt").unlink()
    assert main(["data", "check", "tiny_imagenet", f"data_root={tmp_path}"]) == 2
    out, err = capsys.readouterr()
    assert "missing           wnids.txt" in out and "found             train" in out
    assert "licence" in out and "tiny-imagenet-200/val/val_annotations.txt" in out
    assert err.startswith("cgcd: ") and "in part, without wnids.txt" in err


def test_an_archive_and_nothing_else(tmp_path: Path, capsys: Capture) -> None:
    (tmp_path / "food-101.tar.gz").write_bytes(b"")
    assert main(["data", "check", "food101", f"data_root={tmp_path}"]) == 2
    assert "food-101.tar.gz is an archive that is not extracted" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["lst"], "does not know 'lst'; wanted list, check or fetch"),
        (["check"], "was given no name"),
        (["check", "cub", "cars"], "was given cub cars"),
        (["check", "birds"], "no data set 'birds'"),
        (["check", "cub", "root=x"], "was given root"),
        (["check", "cub", "images=5"], "images=5; wanted some"),
        (["check", "cub"], "data_root is not set"),
        (["fetch", "cub", "data_root=x"], "offers no download of CUB-200-2011"),
        (["fetch", "mnist"], "data_root is not set; set data_root="),
    ],
)
def test_what_cannot_be_done_is_said(
    arguments: list[str], words: str, capsys: Capture, tmp_path: Path
) -> None:
    assert main(["data", *arguments]) == 2
    err = capsys.readouterr().err
    assert words in err and err.startswith("cgcd: ") and err.count("\n") == 1


@pytest.mark.parametrize("name", [n for n, entry in DATASETS.items() if entry.download])
def test_torchvision_is_called_with_what_it_takes(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    download, calls = DATASETS[name].download, []
    taken = set(inspect.signature(getattr(datasets, download.reader)).parameters)

    def stand_in(root: str, **options: Any) -> None:
        calls.append((root, options))

    monkeypatch.setattr(datasets, download.reader, stand_in)
    download.fetch(tmp_path)
    assert [root for root, _ in calls] == [str(tmp_path)] * len(download.options)
    assert all(options["download"] is True and set(options) <= taken for _, options in calls)


def test_fetching_ends_in_a_check(
    write_published: Write, tmp_path: Path, capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Fetching:
        def __init__(self, root: str, download: bool) -> None:
            assert download
            write_published("mnist", Path(root))

    monkeypatch.setattr(datasets, "MNIST", Fetching)
    assert main(["data", "fetch", "mnist", f"data_root={tmp_path}"]) == 2  # a tiny one came
    out, err = capsys.readouterr()
    assert out.startswith(f"fetching 12 MB of MNIST into {tmp_path}; licence: CC BY-SA")
    assert "20, published: 60,000" in out and "is not the published MNIST" in err


def test_no_network_is_one_sentence(
    tmp_path: Path, capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(root: str, download: bool) -> None:
        raise OSError("Network is unreachable\nat all")

    monkeypatch.setattr(datasets, "Food101", fail)
    assert main(["data", "fetch", "food101", f"data_root={tmp_path}"]) == 2
    err = capsys.readouterr().err
    assert "torchvision cannot fetch it" in err and "Network is unreachable at all" in err
    assert err.count("\n") == 1


def test_the_topic_names_scenarios_that_there_are(capsys: Capture) -> None:
    text = topic("data")
    listed = text[text.index("in stages     ") : text.index("Any other pairing")]
    words = listed.replace(",", " ").split()
    named = {word for word in words if word in choices("scenario")}
    ours = {
        name
        for name in choices("scenario")
        if name.partition("_")[0] in {n.partition("_")[0] for n in DATASETS} - {"digits"}
        or name.startswith("imagenet100")
    }
    assert named == ours
    assert main(["help", "data"]) == 0 and "data fetch" in capsys.readouterr().out
