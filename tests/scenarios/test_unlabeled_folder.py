"""Folders of photos: what is found, left out, refused, and a whole run without truth."""

from __future__ import annotations

import csv
import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from cgcd.cli.main import main
from cgcd.models import InputSpec
from cgcd.vocabulary import UNLABELED, InputError
from scenarios import folder_scenario

COLORS = {
    "red": (200, 30, 30),
    "green": (30, 200, 30),
    "blue": (30, 30, 200),
    "=sky": (90, 220, 220),
}
INPUTS = InputSpec(size=16)


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """Two labeled colors; in May a third comes, in June a fourth, in nested folders."""
    generator = np.random.default_rng(0)

    def save(path: Path, color: str) -> None:
        noise = generator.integers(-25, 26, (20, 24, 3))
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.clip(COLORS[color] + noise, 0, 255).astype(np.uint8)).save(path)

    root = tmp_path / "photos"
    for color in ("red", "green"):
        for number in range(10):
            inner = Path("close", "up") if number % 3 == 0 else Path()
            save(root / "known" / color / inner / f"{number}.png", color)
    for number in range(14):
        old = ("red", "green")[number % 2]
        save(root / "may" / f"{number}.JPG", "blue" if number < 8 else old)
        save(root / "june" / "week1" / f"{number}.png", "=sky" if number < 8 else old)
    return root


def scenario(photos: Path, **more: Any) -> Any:
    stages = [photos / "may", photos / "june"]
    values = {"inputs": INPUTS, "labeled": photos / "known", "stages": stages, **more}
    return folder_scenario(**values)


def refusal(photos: Path, **more: Any) -> str:
    with pytest.raises(InputError) as caught:
        scenario(photos, **more)
    return str(caught.value)


def names(made: Any, stream: Any) -> list[str]:
    return [made.sample_names[i] for i in stream.dataset.sample_id]


def write_truth(photos: Path, lines: list[str], mark: str = "") -> Path:
    path = photos.parent / "truth.csv"
    path.write_text(mark + "\n".join(["path,class", *lines]) + "\n", encoding="utf-8")
    return path


TRUTH = [
    *(f"may/{n}.JPG,{'blue' if n < 8 else ('red', 'green')[n % 2]}" for n in range(14)),
    *(f"june/week1/{n}.png,{'=sky' if n < 8 else ('red', 'green')[n % 2]}" for n in range(14)),
]


def test_photos_below_a_class_folder_are_of_that_class(photos: Path) -> None:
    (photos / "known" / ".trash").mkdir()
    (photos / "known" / "red" / "._0.png").write_text("of another system")
    (photos / "may" / "list.txt").write_text("no photo")
    made = scenario(photos)
    assert made.class_names == ("green", "red") and made.num_base == 2
    base, tested = made.train_stream[0], made.test_stream[0]
    shown = zip(names(made, base), base.labels, strict=True)
    assert all(name.startswith(f"known/{made.class_names[row]}/") for name, row in shown)
    assert len(base.dataset) == 18 and sorted(tested.labels.tolist()) == [0, 1]
    assert not set(names(made, base)) & set(names(made, tested))
    assert set(names(made, made.train_stream[1])) == {f"may/{n}.JPG" for n in range(14)}
    assert len(made.train_stream[2].dataset) == 14
    assert made.description["skipped"] == [] and made.num_novel == "estimate"
    assert made.sample_kind == "path"


def test_the_seed_alone_holds_out(photos: Path) -> None:
    streams = [scenario(photos, seed=seed) for seed in (0, 0, 1)]
    assert streams[0].stream_hash == streams[1].stream_hash != streams[2].stream_hash
    assert len(scenario(photos, held_out=0.4).test_stream[0].dataset) == 8
    assert scenario(photos, held_out=0.0).description["base_test"].endswith("trained on")


def test_copies_are_left_out_and_are_no_damage(photos: Path) -> None:
    shutil.copy(photos / "known/red/1.png", photos / "known/red/again.png")
    shutil.copy(photos / "known/red/2.png", photos / "may/was_labeled.png")
    shutil.copy(photos / "may/3.JPG", photos / "may/twice.jpg")
    shutil.copy(photos / "may/4.JPG", photos / "june/another_month.jpg")
    made = scenario(photos, max_skipped=0.0)
    assert made.description["skipped"] == [
        ["known/red/again.png", "duplicate of known/red/1.png"],
        ["may/twice.jpg", "duplicate of may/3.JPG"],
        ["may/was_labeled.png", "duplicate of known/red/2.png"],
    ]
    assert "june/another_month.jpg" in names(made, made.train_stream[2])
    assert len(scenario(photos, duplicates="keep").sample_names) == 52
    shutil.copy(photos / "known/red/1.png", photos / "known/green/zebra.png")
    assert "are the same file in two classes" in refusal(photos)
    assert scenario(photos, duplicates="keep").description["skipped"] == []


def test_unreadable_files_are_left_out_up_to_the_limit(photos: Path) -> None:
    (photos / "may/0.JPG").write_bytes((photos / "may/0.JPG").read_bytes()[:500])
    (photos / "june/empty.png").write_bytes(b"")
    (photos / "june/text.gif").write_text("no image")
    Image.new("RGB", (8, 8)).save(photos.parent / "outside.png")
    (photos / "june/link.png").symlink_to(photos.parent / "outside.png")
    message = refusal(photos)
    assert message.startswith("4 of 51 files are no readable images, the first is may/0.JPG")
    assert message.endswith("set scenario.max_skipped=0.08")
    made = scenario(photos, max_skipped=0.08)
    reasons = dict(made.description["skipped"])
    assert set(reasons) == {"may/0.JPG", "june/empty.png", "june/text.gif", "june/link.png"}
    assert reasons["june/link.png"] == "leads out of its folder"
    assert not reasons.keys() & set(made.sample_names)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Image, "MAX_IMAGE_PIXELS", 300)
        assert "DecompressionBomb" in refusal(photos)


def test_folders_that_make_no_stream_are_refused(photos: Path) -> None:
    assert "is no folder" in refusal(photos, labeled=photos / "unknown")
    assert "scenario.stages[1]" in refusal(photos, stages=[photos / "may", photos / "july"])
    assert "no unlabeled stage" in refusal(photos, stages=[])
    assert "lies in" in refusal(photos, stages=[photos])
    assert "lies in" in refusal(photos, stages=[photos / "may", photos / "may"])
    assert "duplicates is" in refusal(photos, duplicates="some")
    assert "max_skipped is" in refusal(photos, max_skipped=2.0)
    assert "scenario.held_out=0.1" in refusal(photos, held_out=1.0)
    (photos / "july").mkdir()
    (photos / "july" / "readme.txt").write_text("soon")
    assert "july holds no photo" in refusal(photos, stages=[photos / "may", photos / "july"])
    assert "has no class folder" in refusal(photos, labeled=photos / "july").replace("holds", "has")
    (photos / "july" / "links").symlink_to(photos / "may")
    assert "linked folder" in refusal(photos, stages=[photos / "july"])
    (photos / "known" / "pink").mkdir()
    assert "class 'pink'" in refusal(photos)
    shutil.copy(photos / "may/3.JPG", photos / "known/pink/only.jpg")
    assert "has 1 readable photos" in refusal(photos)


def test_photos_in_no_class_and_of_other_formats_are_told(
    photos: Path, caplog: pytest.LogCaptureFixture
) -> None:
    shutil.copy(photos / "may/3.JPG", photos / "known/cover.jpg")
    (photos / "may" / "phone.HEIC").write_bytes(b"x")
    made = scenario(photos, max_skipped=0.0)
    assert made.description["skipped"] == [["known/cover.jpg", "in no class folder"]]
    assert ".heic 1" in caplog.text


def test_a_single_stage_may_be_a_path_and_equal_names_are_told_apart(photos: Path) -> None:
    assert len(scenario(photos, stages=str(photos / "may")).train_stream) == 2
    (photos / "2024").mkdir()
    (photos / "2025").mkdir()
    shutil.move(photos / "may", photos / "2024" / "may")
    shutil.copytree(photos / "june", photos / "2025" / "may")
    made = scenario(photos, stages=[photos / "2024/may", photos / "2025/may"])
    fronts = {"/".join(name.split("/")[:2]) for name in made.sample_names}
    assert fronts == {"known/red", "known/green", "2024/may", "2025/may"}


@pytest.mark.parametrize("mark", ["", "\ufeff"])
def test_a_truth_is_for_measuring_only(photos: Path, mark: str) -> None:
    made = scenario(photos, truth=write_truth(photos, TRUTH, mark), num_novel="given")
    assert made.class_names == ("green", "red", "blue", "=sky")
    assert [stage.num_novel for stage in made.train_stream] == [2, 1, 1]
    assert all((stage.labels == UNLABELED).all() for stage in made.train_stream[1:])
    told = dict(line.rsplit(",", 1) for line in TRUTH)
    for stage in made.test_stream[1:]:
        assert [made.class_names[row] for row in stage.labels] == [
            told[n] for n in names(made, stage)
        ]
    some = scenario(photos, truth=write_truth(photos, [*TRUTH[:5], "may/9.JPG,"]))
    assert (some.test_stream[1].labels != UNLABELED).sum() == 5


@pytest.mark.parametrize(
    ("lines", "words"),
    [
        (
            ["may/none.JPG,red", "june/x,red"],
            "2 samples that are not there, the first is 'may/none",
        ),
        (["may/0.JPG,red", "may/0.JPG,blue"], "the classes 'red' and 'blue'"),
        (["known/red/1.png,green"], "its folder says 'red'"),
    ],
)
def test_a_truth_that_does_not_fit_is_refused(photos: Path, lines: list[str], words: str) -> None:
    assert words in refusal(photos, truth=write_truth(photos, lines))


def test_a_truth_that_cannot_be_read_is_refused(photos: Path) -> None:
    path = write_truth(photos, [])
    path.write_text("file,class\nmay/0.JPG,red\n")
    assert "lacks the column 'path'" in refusal(photos, truth=path)
    path.write_bytes(b"path,class\nmay/0.JPG,\xff\xfe\n")
    assert "UnicodeDecodeError" in refusal(photos, truth=path)
    assert "cannot be read" in refusal(photos, truth=photos / "none.csv")


@pytest.fixture
def run(photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Runs the command line on the photos, tiny, and gives the run's folder."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("CGCD_CACHE", str(tmp_path / "cache"))

    def start(*more: str) -> Path:
        recipe = [
            f"strategy.{r}.{k}" for r in ("base", "continual") for k in ("epochs=1", "batch_size=8")
        ]
        arguments = [
            *("scenario=folder", "scenario.labeled=photos/known"),
            "scenario.stages=[photos/may,photos/june]",
            *("model.input_size=16", "model.projection_hidden=16", "baselines=false"),
            *("strategy.warm_up.steps=2", *recipe, *more),
        ]
        assert main(["run", *arguments]) == 0
        return max((tmp_path / "runs").iterdir(), key=lambda folder: folder.stat().st_mtime)

    return start


def test_a_run_without_truth(run: Any, photos: Path, capsys: pytest.CaptureFixture[str]) -> None:
    shutil.copy(photos / "may/3.JPG", photos / "may/=1+1.jpg")
    (photos / "june/text.gif").write_text("no image")
    folder = run()
    out = capsys.readouterr().out
    assert "no truth, no accuracies" in out and "of the 2 held-out labeled samples" in out
    assert "estimated (calinski_harabasz)" in out and "in truth" not in out
    results = json.loads((folder / "results.json").read_text())
    assert results["finished"] and results["headline"]["value"] is None
    later = [set(row) for row in results["stages"][1:]]
    assert all({"held/base", "stage/found"} <= keys for keys in later)
    assert not any(key.startswith(("accuracy", "agreement")) for keys in later for key in keys)
    metrics = (folder / "metrics.csv").read_text()
    assert "2,test,held/base," in metrics and "2,test,accuracy" not in metrics
    with open(folder / "predictions/stage_2.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    assert list(rows[0]) == "path true_class category category_name is_new confidence".split()
    assert len(rows) == 2 + 14 + 14 and sum(bool(row["true_class"]) for row in rows) == 2
    for row in rows:
        known = int(row["category"]) < 2
        assert row["is_new"] == ("0" if known else "1")
        name = ("green", "red")[int(row["category"])] if known else f"new-{row['category']}"
        assert row["category_name"] == name
        assert 0 < float(row["confidence"]) <= 1 and (photos / row["path"]).is_file()
    skipped = (folder / "skipped.csv").read_text().splitlines()
    assert skipped[:2] == ["path,reason", "may/=1+1.jpg,duplicate of may/3.JPG"]
    assert skipped[2].startswith("june/text.gif,UnidentifiedImage")
    again = run()  # finished: the stored table
    assert again == folder and "finished before" in capsys.readouterr().out


def test_a_run_with_truth_measures_everything(run: Any, photos: Path) -> None:
    truth = write_truth(photos, TRUTH)
    folder = run(f"scenario.truth={truth}", "num_novel=given")
    results = json.loads((folder / "results.json").read_text())
    assert 0 < results["headline"]["value"] <= 1 and results["num_novel"] == "given"
    assert "'=sky" in (folder / "predictions/stage_2.csv").read_text()
    assert not (folder / "skipped.csv").exists()


def test_given_without_a_truth_is_refused(run: Any, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(AssertionError):
        run("num_novel=given")
    assert "num_novel=estimate" in capsys.readouterr().err
