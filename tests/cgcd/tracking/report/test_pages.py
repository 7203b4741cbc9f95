"""Pages of runs of every setting: whole, closed to the outside, and free of what has no truth."""

from __future__ import annotations

import base64
import json
import re
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest

from cgcd.engine import Baselines, discovery_evaluator, run_stages
from cgcd.tracking.report.compared import Comparison
from cgcd.tracking.report.comparison import comparison_page
from cgcd.tracking.report.comparison_files import comparison_csv, comparison_markdown
from cgcd.tracking.report.folder import StoredRun
from cgcd.tracking.report.gallery import gallery
from cgcd.tracking.report.grouping import benches
from cgcd.tracking.report.matrix import png_uri
from cgcd.tracking.report.one_run import run_page
from cgcd.vocabulary import InputError

NAMES = ["<script>alert(1)</script>", '"><img src=x onerror=alert(2)>', "=cmd()", "a\u202eb|c\n# d"]
VOID = {"meta", "img", "br", "col"}
OUTSIDE = re.compile(
    r"""(?:src|href|srcset|action|data|poster)\s*=\s*["']?\s*(?!data:image/(?:png|jpeg);base64,)"""
    r"""|@import|url\(|<script|<iframe|<object|<link|<base|<form|javascript:|\son\w+=""",
    re.IGNORECASE,
)


class Balanced(HTMLParser):
    """Collects elements and texts and checks that every element is closed."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.titles: list[str] = []
        self.bare = ""
        self.feed(page)
        assert not self.open

    def handle_starttag(self, tag, attributes):
        self.bare += f"<{tag}"
        self.bare += "".join(f" {k}={v}" for k, v in attributes if k not in ("title", "alt"))
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if self.open and self.open[-1] == "h2":
            self.titles.append(data)


def stored(folder: Path) -> StoredRun:
    return StoredRun(folder, json.loads((folder / "results.json").read_text(encoding="utf-8")))


def checked(page: str) -> Balanced:
    """The page read; it is small, closed to the outside, and holds no hostile name as markup."""
    assert len(page.encode()) < 5_000_000
    read = Balanced(page)
    assert not OUTSIDE.search(read.bare), OUTSIDE.search(read.bare)
    assert "default-src 'none'" in page.replace("&#x27;", "'") and "width=device-width" in page
    for name in ("<script", "onerror=alert(2)>", "\u202e"):
        assert name not in page
    return read


def test_the_check_notices_what_it_should():
    good = "default-src 'none' width=device-width"
    checked(good)
    for bad in ('<img src="//x">', "<a href=x></a>", "<p style='background:url(x)'></p>", "<p>"):
        with pytest.raises(AssertionError):
            checked(f"{good} {bad}")


def counts(stage: int, before: int, after: int, **more: float) -> dict[str, float]:
    known = {"stage/num_known": before, "stage/num_classes": after, "stage/found": after}
    return {"stage": stage, **known, "seconds": 1.5, **more}


@pytest.fixture
def hostile(tmp_path, write_run) -> Path:
    """A staged run whose every name is hostile."""
    first = [(name, k) for k, name in enumerate(NAMES[:3])] * 5
    accuracy = {"accuracy/all": 0.9, "floor/kmeans_all": 0.5, "bound/closed_set_all": 0.6}
    rows = [counts(0, 3, 3, **accuracy), counts(1, 3, 4, **accuracy)]
    answers = {"stage_0": first, "stage_1": first + [(NAMES[3], 3)] * 3 + [(NAMES[3], 0)] * 2}
    count = {"stage": 1, "estimated": 1, "estimator": NAMES[0], "candidates": [0, 1, 2]}
    count["scores"] = {NAMES[1]: [0.1, float("nan"), 0.3]}
    facts = {"scenario": NAMES[0], "strategy": NAMES[1], "counts": [count], "commit": NAMES[0]}
    config = {NAMES[0]: NAMES[1]}
    facts["num_novel"] = f"estimated ({NAMES[0]})"
    return write_run(
        tmp_path / "run", rows, answers, NAMES[:3], headline=0.9, config=config, **facts
    )


def test_a_staged_run(hostile):
    run = StoredRun(hostile, stored(hostile).results, {NAMES[0]: NAMES[1]})
    page = run_page(run)
    assert checked(page).titles == [
        "In words",
        "Numbers",
        "Accuracy",
        "What was forgotten and discovered",
        "What was taken for old and for new",
        "Classes",
        "Confusion after stage 1",
        "Confidence after stage 1",
        "How many classes are new",
        "What ran",
    ]
    for text in ("90.0 %", "&lt;script&gt;alert(1)&lt;/script&gt;", "=cmd()", "&lt;U+202E&gt;"):
        assert text in page
    assert "k\u2011means All" in page and "closed\u2011set bound All" in page


def test_a_hostile_comparison(hostile):
    comparisons = [Comparison.of(b) for b in benches([stored(hostile)])]
    checked(comparison_page(comparisons, [f"{NAMES[1]} is left out."]))
    for text in (comparison_markdown(comparisons), comparison_csv(comparisons)):
        assert "\u202e" not in text
    assert "<" not in comparison_markdown(comparisons)


def test_a_single_stage(tmp_path, write_run):
    row = {"stage": 0, "stage/num_known": 2, "stage/num_classes": 3, "seconds": 9.0}
    for part in ("unlabeled", "test"):
        row[f"{part}/count/found"] = 3
        for front in ("accuracy/", "floor/kmeans_", "bound/closed_set_"):
            row |= {f"{part}/{front}{group}": 0.5 for group in ("all", "known", "novel")}
    pairs = [("a", 0), ("b", 1), ("c", 2)] * 4
    folder = write_run(
        tmp_path / "run",
        [row],
        {"unlabeled": pairs, "test": pairs},
        ["a", "b"],
        headline=0.5,
        setting="single_stage",
    )
    page = run_page(stored(folder))
    titles = checked(page).titles
    assert "Confusion, unlabeled training samples" in titles and "Confusion, test samples" in titles
    assert page.count("closed-set bound</th>") == page.count("k-means</th>") == 2
    (bench,) = benches([stored(folder)])
    (comparison,) = [Comparison.of(bench)]
    assert [c.title for c in comparison.columns][:4] == [
        "unlabeled All",
        "unlabeled Known",
        "unlabeled Novel",
        "test All",
    ]
    assert [row.name for row in comparison.rows] == ["Happy", "k-means", "closed-set bound"]
    checked(comparison_page([comparison]))


def test_a_stream(tmp_path, write_run):
    rows = []
    for seen in range(10, 400, 10):
        row = {"stage": 1, "stream/seen": seen, "stream/created": seen // 20, "seconds": 0.1}
        row |= {"stream/categories": 2, "stream/opened": 0.1, "stream/true_novel": 1}
        row |= {"strict/all": 0.5, "floor/leader_strict_all": 0.3, "floor/leader_created": 7}
        rows.append(row | {"bound/closed_set_strict_all": 0.25})
    pairs = [("a", 0), ("b", 1), ("c", 2)] * 4
    base, headline = ["a", "b"], 0.5
    place = tmp_path / "run"
    folder = write_run(place, rows, {"stream": pairs}, base, headline=headline, setting="online")
    page = run_page(stored(folder))
    assert "untrained leader" in page and "closed-set bound" in page
    titles = checked(page).titles
    assert "Confusion" in titles and "Classes" not in titles
    assert page.count('<th scope="row">') < 60  # not a line for every window
    (comparison,) = [Comparison.of(bench) for bench in benches([stored(folder)])]
    assert [(r.name, r.cells[0].mean) for r in comparison.rows] == [
        ("Happy", 0.5),
        ("untrained leader", 0.3),
        ("closed-set bound", 0.25),
    ]
    checked(comparison_page([comparison]))


def test_what_has_no_truth_is_left_out_and_said_once(tmp_path, write_run):
    first = [("a", 0), ("b", 1)] * 5
    with_truth = {"accuracy/all": 1.0, "floor/kmeans_all": 1.0, "held/base": 1.0}
    rows = [counts(0, 2, 2, **with_truth), counts(1, 2, 3, **{"held/base": 0.5})]
    answers = {"stage_0": first, "stage_1": first + [("", 2)] * 5}
    folder = write_run(tmp_path / "run", rows, answers, ["a", "b"])
    page = run_page(stored(folder))
    assert checked(page).titles == [
        "In words",
        "Numbers",
        "Accuracy",
        "What was taken for old and for new",
        "Confidence after stage 1",
        "What ran",
    ]
    assert page.count("There is no truth") == 1 and "base by name" in page
    assert "k\u2011means" not in page and "NMI" not in page
    (comparison,) = [Comparison.of(bench) for bench in benches([stored(folder)])]
    assert [column.title for column in comparison.columns] == ["base by name", "seconds"]
    assert not comparison.pairs
    checked(comparison_page([comparison]))


def test_a_real_run(quick_happy, blobs, tmp_path):
    strategy = quick_happy(epochs=(2, 2), evaluator=discovery_evaluator(Baselines()))
    result = run_stages(strategy, blobs(), tmp_path / "run")
    run = stored(tmp_path / "run")
    page = run_page(run)
    assert "Confusion after stage 2" in checked(page).titles
    assert f"{100 * result.headline:.1f} %" in page
    for stage, row in enumerate(result.rows):
        table = run.tables[f"stage_{stage}"]
        mean = np.average(table.accuracies, weights=table.counts.sum(0))
        assert mean == pytest.approx(row["accuracy/all"])


@pytest.fixture
def pictured(hostile) -> Path:
    """The hostile run with thumbnails, some of them not what they seem."""
    place = hostile / "analysis"
    (place / "thumbnails").mkdir(parents=True)
    pixels = np.zeros((4, 4, 3), np.uint8)
    picture = base64.b64decode(png_uri(pixels).split(",")[1])
    (place / "thumbnails" / "0.png").write_bytes(picture)
    (place / "thumbnails" / "1.png").write_bytes(b"<svg onload=alert(1)>")
    (hostile / "secret.png").write_bytes(picture)
    names = ["thumbnails/0.png", "thumbnails/1.png", "../secret.png", "/etc/hostname", None]
    samples = [
        {"sample": 0, "name": NAMES[1], "true_class": NAMES[0], "confidence": 0.5, "thumbnail": n}
        for n in names
    ]
    category = {"name": NAMES[0], "sizes": [0, 4], "best_class_name": NAMES[1], "purity": 0.5}
    categories = [{"id": k, **category, "central": samples} for k in range(4)]
    analysis = {"num_base": 3, "categories": categories}
    (place / "stage_1.json").write_text(json.dumps(analysis), encoding="utf-8")
    return hostile


def test_a_gallery_shows_pictures_of_the_run_alone(pictured):
    page = run_page(stored(pictured))
    assert "What the categories look like after stage 1" in checked(page).titles
    assert page.count('<img src="data:image/png;base64,') == 4  # the first of each category


def test_a_gallery_has_a_size(pictured):
    analysis = json.loads((pictured / "analysis" / "stage_1.json").read_text(encoding="utf-8"))
    size = (pictured / "analysis" / "thumbnails" / "0.png").stat().st_size
    shown = gallery(pictured, analysis, most_bytes=2 * size)
    assert shown.count("<img") == 2 and "2 more pictures have no room here" in shown
    assert not gallery(pictured, analysis, most_bytes=0) and not gallery(pictured, {})


def test_a_hundred_classes_stay_small(tmp_path, write_run):
    generator = np.random.default_rng(0)
    truth = np.repeat(np.arange(100), 100)
    guess = np.where(generator.random(len(truth)) < 0.5, truth, generator.integers(0, 100, 10_000))
    names = [f"class {k}" for k in range(100)]
    pairs = [(names[t], int(g)) for t, g in zip(truth, guess, strict=True)]
    rows = [counts(0, 100, 100, **{"accuracy/all": 0.5})]
    folder = write_run(tmp_path / "run", rows, {"stage_0": pairs}, names, headline=0.5)
    page = run_page(stored(folder))
    assert len(page) < 2_000_000 and page.count("class 99</text>") == 3


@pytest.mark.parametrize(("name", "content"), [("stage_1.json", b"["), ("stage_1.npz", b"PK")])
def test_damaged_analysis_is_named(pictured, name, content):
    (pictured / "analysis" / name).write_bytes(content)
    with pytest.raises(InputError, match=rf"{name} is damaged"):
        run_page(stored(pictured))
