"""HTML and SVG elements built from parts, so that no text reaches a page without being escaped."""

from __future__ import annotations

import html
import re
import unicodedata
from collections.abc import Sequence

_JOINERS = "\u200c\u200d"  # letters of some scripts need them


class Markup(str):
    """Text that is HTML already; only `element` and `joined` make it, and constants of ours."""


def element(name: str, /, *children: object, **attributes: object) -> Markup:
    """`<name attributes>children</name>`, everything escaped that is not `Markup`.

    Args:
        name: of the element; ours, never a user's.
        children: put one after the other; None leaves nothing.
        attributes: an underscore at the end is dropped (`class_`), others become hyphens; None is
            left out.

    >>> element("td", "a < b", title='"')
    '<td title="&quot;">a &lt; b</td>'
    """
    given = "".join(
        f' {key.rstrip("_").replace("_", "-")}="{html.escape(shown(value))}"'
        for key, value in attributes.items()
        if value is not None
    )
    if name in ("br", "img", "meta", "col"):
        return Markup(f"<{name}{given}>")
    return Markup(f"<{name}{given}>{joined(*children)}</{name}>")


def joined(*children: object) -> Markup:
    """Children one after the other; escaped where they are not `Markup`, None left out."""
    return Markup(
        "".join(
            child if isinstance(child, Markup) else html.escape(shown(child))
            for child in children
            if child is not None
        )
    )


def separated(separator: str, children: Sequence[object]) -> Markup:
    """Children with a text between each two."""
    parts = [part for child in children for part in (separator, child)]
    return joined(*parts[1:])


def lines(text: str) -> Markup:
    """A text whose line ends are kept."""
    return Markup("\n".join(joined(line) for line in text.splitlines()))


def named(text: object) -> Markup:
    """A name from outside, set apart so that its direction of writing turns nothing around."""
    return element("bdi", text)


def shown(text: object) -> str:
    """A text on one line in which nothing is invisible.

    >>> shown("a\\nb\\u202ec")
    'a b<U+202E>c'
    """
    spaced = "".join(" " if c.isspace() else c for c in str(text))
    plain = re.sub(" {2,}", " ", spaced)
    return "".join(c if _is_visible(c) else f"<U+{ord(c):04X}>" for c in plain)


def _is_visible(character: str) -> bool:
    return character in _JOINERS or unicodedata.category(character) not in ("Cc", "Cf", "Cs", "Co")
