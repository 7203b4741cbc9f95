"""The bar over images: drawn on a terminal, silent elsewhere."""

from __future__ import annotations

import pytest

from cgcd.tracking.image_bar import ImageBar


def test_a_terminal_sees_where_it_is(capsys: pytest.CaptureFixture) -> None:
    with ImageBar(20, terminal=True) as bar:
        for done in (1, 7, 20):
            bar(done)
    assert "20/20" in capsys.readouterr().out


def test_elsewhere_it_is_silent(capsys: pytest.CaptureFixture) -> None:
    with ImageBar(20) as bar:
        bar(20)
    assert capsys.readouterr() == ("", "")
