"""Reports in a real browser with the network off: nothing is asked for, nothing complains."""

from __future__ import annotations

import base64
import json
import re
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest

from cgcd.tracking.report.compared import Comparison
from cgcd.tracking.report.comparison import comparison_page
from cgcd.tracking.report.folder import StoredRun
from cgcd.tracking.report.grouping import benches
from cgcd.tracking.report.matrix import png_uri
from cgcd.tracking.report.one_run import run_page

BROWSER = next(filter(None, map(shutil.which, ("chromium", "chromium-browser"))), None)
pytestmark = pytest.mark.skipif(BROWSER is None, reason="no chromium: Debian has it (apt install)")

HOSTILE = "<script>console.error(1)</script>"


def opened(page: Path, profile: Path) -> tuple[str, list[str]]:
    """The page as the browser holds it after loading, and what its console said."""
    done = subprocess.run(
        [
            str(BROWSER),
            *("--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"),
            *("--no-first-run", "--disable-background-networking", "--disable-component-update"),
            *("--host-resolver-rules=MAP * ~NOTFOUND", "--proxy-server=127.0.0.1:9"),
            *("--enable-logging=stderr", "--v=0", f"--user-data-dir={profile}"),
            *("--virtual-time-budget=2000", "--dump-dom", page.as_uri()),
        ],
        capture_output=True,
        text=True,
        timeout=120,
        check=True,
    )
    return done.stdout, [line for line in done.stderr.splitlines() if "CONSOLE" in line]


@pytest.fixture
def pages(tmp_path, write_run) -> list[Path]:
    """The page of a run with pictures and a hostile name, and that of a comparison."""
    counts = {"stage/num_known": 2, "stage/num_classes": 2, "stage/found": 2, "seconds": 1.0}
    rows = [{"stage": stage, "accuracy/all": 0.9, **counts} for stage in range(2)]
    answers = {f"stage_{stage}": [(HOSTILE, 0), ("b", 1)] * 5 for stage in range(2)}
    folder = write_run(tmp_path / "run", rows, answers, [HOSTILE, "b"], headline=0.9)
    thumbnail = folder / "analysis" / "0.png"
    thumbnail.parent.mkdir()
    pixels = np.full((8, 8, 3), 200, np.uint8)
    thumbnail.write_bytes(base64.b64decode(png_uri(pixels).split(",")[1]))
    sample = {"sample": 0, "name": HOSTILE, "thumbnail": "0.png"}
    category = {"id": 0, "name": HOSTILE, "central": [sample]}
    (folder / "analysis" / "stage_1.json").write_text(json.dumps({"categories": [category]}))
    run = StoredRun(folder, json.loads((folder / "results.json").read_text(encoding="utf-8")))
    found = [tmp_path / "one.html", tmp_path / "several.html"]
    found[0].write_text(run_page(run), encoding="utf-8")
    comparison = comparison_page([Comparison.of(bench) for bench in benches([run])])
    found[1].write_text(comparison, encoding="utf-8")
    return found


def test_pages_open_without_a_network(pages, tmp_path):
    for page in pages:
        dom, console = opened(page, tmp_path / "profile")
        assert not console
        assert "<svg" in dom and "90.0" in dom and "<script" not in dom
    bare = tmp_path / "bare.html"  # without the policy a request would be sent, and fail aloud
    text = re.sub(r'<meta http-equiv="Content-Security-Policy"[^>]*>', "", pages[0].read_text())
    assert text != pages[0].read_text()
    bare.write_text(text, encoding="utf-8")
    assert not opened(bare, tmp_path / "profile")[1]


def test_the_browser_would_tell(pages, tmp_path):
    text = pages[0].read_text(encoding="utf-8")
    page = tmp_path / "bad.html"
    page.write_text(text.replace("<h1>", "<img src='http://a.example/x.png'><h1>", 1))
    _, console = opened(page, tmp_path / "profile")
    assert console and "a.example" in console[0]
