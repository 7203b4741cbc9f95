"""Nothing that comes from outside is markup."""

from __future__ import annotations

from html.parser import HTMLParser

import pytest

from cgcd.tracking.report.comparison_files import plain
from cgcd.tracking.report.markup import element, joined, named, separated, shown

HOSTILE = [
    "<script>alert(1)</script>",
    '"><img src=x onerror=alert(1)>',
    "'; drop",
    "a\nb\tc",
    "\u202egnp.exe",
    "&lt;",
    "</title><b>",
    "\ud800",
]


class _Texts(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.text = ""

    def handle_starttag(self, tag, attributes):
        self.tags.append(tag)
        self.text += "".join(value or "" for _, value in attributes)

    def handle_data(self, data):
        self.text += data


@pytest.mark.parametrize("name", HOSTILE)
def test_a_name_stays_one_text(name):
    page = _Texts()
    page.feed(element("p", named(name), title=name))
    assert page.tags == ["p", "bdi"] and page.text == 2 * shown(name)
    page = _Texts()
    page.feed(joined(name, separated(", ", [name, name])))
    assert not page.tags and page.text == f"{shown(name)}{shown(name)}, {shown(name)}"


def test_what_would_be_invisible_is_seen():
    assert shown("a\u202eb") == "a<U+202E>b"
    assert shown("a\x00\u200bb\n\nc") == "a<U+0000><U+200B>b c"
    assert shown("\u0915\u094d\u200d\u0937") == "\u0915\u094d\u200d\u0937"  # letters need a joiner


def test_markdown_shows_a_name_as_it_is():
    assert plain("a|b") == r"a\|b"
    assert plain("<script>") == "&lt;script&gt;"
    assert plain("[x](http://y)") == r"\[x\](http&#58;//y)"
    assert "\n" not in plain("a\n# b")
