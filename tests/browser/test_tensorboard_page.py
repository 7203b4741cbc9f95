"""TensorBoard's own pages on a finished run of digits, as a real browser shows them."""

from __future__ import annotations

import json
import os
import runpy
import shutil
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

BROWSER = next(filter(None, map(shutil.which, ("chromium", "chromium-browser"))), None)
pytestmark = pytest.mark.skipif(BROWSER is None, reason="no chromium: Debian has it (apt install)")

HOSTILE = "<script>document.title='owned'</script>"
SHOWN = """
(() => {
  const found = {text: [], images: 0, canvases: 0, title: document.title};
  const walk = (root) => {
    for (const node of root.childNodes) {
      if (node.nodeType === 3) found.text.push(node.data.trim());
      if (node.nodeType !== 1 || ['STYLE', 'SCRIPT'].includes(node.tagName)) continue;
      if (node.tagName === 'IMG' && node.naturalWidth > 1) found.images += 1;
      if (node.tagName === 'CANVAS') found.canvases += 1;
      const curve = node.tagName === 'path' && node.getAttribute('d');
      if (curve && curve.length > 20) found.canvases += 1;
      if (node.tagName === 'IFRAME' && node.contentDocument) walk(node.contentDocument);
      if (node.shadowRoot) walk(node.shadowRoot);
      walk(node);
    }
  };
  walk(document);
  found.text = found.text.filter(Boolean).join(' ');
  return JSON.stringify(found);
})()
"""


class Browser:
    """Chromium over its debugging pipe: JSON texts that end with a zero byte."""

    def __init__(self, profile: Path) -> None:
        theirs_in, self._out = os.pipe()
        self._in, theirs_out = os.pipe()
        command = (
            f'exec "{BROWSER}" --headless=new --no-sandbox --disable-dev-shm-usage --no-first-run '
            "--disable-background-networking --use-angle=swiftshader "
            "--enable-unsafe-swiftshader --window-size=1500,1100 --remote-debugging-pipe "
            f'--user-data-dir="{profile}" about:blank 3<&{theirs_in} 4>&{theirs_out}'
        )
        self._process = subprocess.Popen(
            ["bash", "-c", command],
            pass_fds=(theirs_in, theirs_out),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        os.close(theirs_in)
        os.close(theirs_out)
        self._left, self._number = b"", 0
        target = self._ask("Target.createTarget", url="about:blank")["targetId"]
        attached = self._ask("Target.attachToTarget", targetId=target, flatten=True)
        self._session = {"sessionId": attached["sessionId"]}

    def _ask(self, method: str, session: dict[str, str] | None = None, **params: Any) -> Any:
        self._number += 1
        message = {"id": self._number, "method": method, "params": params, **(session or {})}
        os.write(self._out, json.dumps(message).encode() + b"\0")
        while True:
            while b"\0" not in self._left:
                read = os.read(self._in, 65536)
                assert read, "the browser has ended"
                self._left += read
            text, self._left = self._left.split(b"\0", 1)
            answer = json.loads(text)
            if answer.get("id") == self._number:
                return answer["result"]

    def open(self, address: str) -> None:
        self._ask("Page.navigate", self._session, url="about:blank")
        self._ask("Page.navigate", self._session, url=address)

    def shown(self) -> dict[str, Any]:
        """Texts, images and curves of the page, through shadow roots and frames."""
        answer = self._ask("Runtime.evaluate", self._session, expression=SHOWN)
        return json.loads(answer["result"].get("value") or '{"text": "", "images": 0}')

    def close(self) -> None:
        self._process.terminate()
        self._process.wait(10)
        os.close(self._in)
        os.close(self._out)


@pytest.fixture(scope="module")
def address(tmp_path_factory, quick_happy) -> Iterator[str]:
    """Of a TensorBoard on a finished run."""
    folder = tmp_path_factory.mktemp("runs")
    run = runpy.run_path(str(Path(__file__).parents[1] / "tiny_digits.py"))["run"]
    run(folder / "digits", quick_happy, [HOSTILE])
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [sys.executable, "-m", "tensorboard.main", "--logdir", str(folder)]
    server = subprocess.Popen(
        [*command, "--host", "127.0.0.1", "--port", str(port), "--load_fast", "false"],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        _wait_for_runs(f"http://127.0.0.1:{port}/data/plugin/images/tags", server)
        yield f"http://127.0.0.1:{port}/"
    finally:
        server.terminate()
        server.wait(10)


def _wait_for_runs(address: str, server: subprocess.Popen) -> None:
    for _ in range(240):
        assert server.poll() is None, "tensorboard has ended"
        try:
            with urllib.request.urlopen(address, timeout=5) as answer:
                if json.load(answer):
                    return
        except OSError:
            pass  # not listening yet
        time.sleep(0.25)
    pytest.fail("tensorboard showed no run in a minute")


@pytest.fixture(scope="module")
def browser(tmp_path_factory) -> Iterator[Browser]:
    opened = Browser(tmp_path_factory.mktemp("profile"))
    yield opened
    opened.close()


@pytest.mark.parametrize(
    ("page", "texts", "counted"),
    [
        ("scalars", ["test", "train", "share"], "canvases"),
        ("images", ["analysis/class_accuracy", "analysis/confusion"], "images"),
        ("custom_scalars", ["all dialects, floors and bound"], "canvases"),
        ("text", ["run/description", "Happy on digits", "seed"], None),
        ("hparams", ["run/headline", "base.epochs"], None),
        ("projector", ["stage_2", "Points:"], "canvases"),
    ],
)
def test_a_page_is_filled(address, browser, page, texts, counted):
    browser.open(f"{address}#{page}")
    ends = time.monotonic() + 40
    while True:
        seen = browser.shown()
        missing = [text for text in texts if text not in seen["text"]]
        if not missing and (counted is None or seen[counted]):
            break
        assert time.monotonic() < ends, (missing, counted, seen["text"][-1500:])
        time.sleep(0.2)
    assert seen["title"] != "owned"
