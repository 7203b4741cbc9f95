"""The table of a single stage, its closing lines and its picture, by hand."""

from __future__ import annotations

import pytest
from PIL import Image

from cgcd.tracking.console import ConsoleProgress
from cgcd.tracking.curves import draw_curves
from cgcd.tracking.part_table import HEADER, is_part_row, part_rows, part_summary

COUNTS = {
    "stage": 0,
    "stage/num_classes": 10,
    "stage/num_known": 5,
    "stage/num_novel_given": 5,
    "unlabeled/count/found": 9,
    "test/count/found": 8,
    "seconds": 12.34,
}
ROW = {
    **COUNTS,
    "unlabeled/accuracy/all": 0.8,
    "unlabeled/accuracy/known": 0.9,
    "unlabeled/accuracy/novel": 0.7,
    "unlabeled/agreement/nmi": 0.6,
    "unlabeled/floor/kmeans_all": 0.85,
    "unlabeled/floor/kmeans_known": 0.5,
    "unlabeled/bound/closed_set_all": 0.4,
    "test/accuracy/all": 0.75,
    "test/floor/kmeans_all": 0.5,
}
RESULTS = {
    "setting": "single_stage",
    "headline": {"definition": "All on the unlabeled part", "value": 0.8},
    "strategy": "Plain",
    "scenario": "digits_gcd",
    "seed": 0,
    "parts": {"unlabeled": 944, "test": 539},
    "num_novel": "given",
    "true_novel": 5,
    "stages": [ROW],
}


def test_a_line_a_part() -> None:
    first, second = part_rows(ROW).splitlines()
    assert first.split() == "unlabeled 5 5 9 80.0 90.0 70.0 60.0 85.0 - 40.0 12.3".split()
    assert second.split() == "test 5 5 8 75.0 - - - 50.0 - -".split()
    assert len(first) == len(HEADER) and is_part_row(ROW) and not is_part_row({"stage/found": 1})
    bare = {key: value for key, value in COUNTS.items() if not key.startswith("test/")}
    assert part_rows(bare).split() == "unlabeled 5 5 9 - - - - - - - 12.3".split()


def test_the_summary_has_both_parts_and_how_the_number_was_known() -> None:
    lines = part_summary(RESULTS).splitlines()
    assert lines[0] == "headline: All 80.0 % = All on the unlabeled part"
    assert lines[1] == "944 unlabeled training samples, All / Known / Novel:"
    assert lines[2].split() == "Plain 80.0 / 90.0 / 70.0".split()
    assert lines[3].split()[-5:] == "85.0 / 50.0 / -".split()
    assert lines[5] == "  k-means scores higher" and lines[6].startswith("539 test samples")
    assert lines[-1] == "number of novel classes: given, 5; in truth 5"
    estimated = part_summary({**RESULTS, "num_novel": "estimate", "true_novel": None})
    assert estimated.endswith("number of novel classes: estimate, 5")


def test_without_truth_it_says_so() -> None:
    headline = {"definition": "All", "value": None}
    lines = part_summary({**RESULTS, "headline": headline, "stages": [COUNTS]}).splitlines()
    assert lines[0].startswith("no truth") and len(lines) == 2


def test_the_console_prints_both_lines(capsys: pytest.CaptureFixture) -> None:
    ConsoleProgress(terminal=False).row(ROW)
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == HEADER and [line.split()[0] for line in lines[1:]] == ["unlabeled", "test"]


def test_a_picture_is_drawn_with_and_without_truth(tmp_path) -> None:
    for name, row in (("truth.png", ROW), ("none.png", COUNTS)):
        draw_curves({**RESULTS, "stages": [row]}, tmp_path / name)
        with Image.open(tmp_path / name) as image:
            assert image.width > 600 and image.height > 300
