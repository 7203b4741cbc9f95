"""Names of classes and files as text that is shown and never obeyed.

A name may hold anything: markup, formulas, line breaks, marks that turn the direction of writing.
"""

from __future__ import annotations

import re
import unicodedata
from functools import cache
from pathlib import Path

import matplotlib
from matplotlib.ft2font import FT2Font

_MARKUP = re.compile(r"([\\`*_{}\[\]()#+\-.!|])")
_FORMULA = ("=", "+", "-", "@")
_UNKNOWN = "\u25a1"  # an empty square


def font_file() -> Path:
    """The font that matplotlib brings along."""
    return Path(matplotlib.get_data_path()) / "fonts" / "ttf" / "DejaVuSans.ttf"


def one_line(name: str) -> str:
    """Without control and formatting characters, white space made single blanks.

    >>> one_line("a\\tb\\u202e c")
    'a b c'
    """
    kept = (" " if char.isspace() else char for char in name)
    shown = "".join(char for char in kept if unicodedata.category(char)[0] != "C")
    return " ".join(shown.split())


def short(name: str, most: int = 24) -> str:
    """One line of at most `most` characters; the middle of a longer name is left out.

    >>> short("photos/2024/may/0001.jpg", 12)
    'photos…1.jpg'
    """
    line = one_line(name)
    if len(line) <= most:
        return line
    front = most // 2
    return f"{line[:front]}…{line[-(most - front - 1) :]}"


def drawn(name: str, most: int = 24) -> str:
    """A short name for a picture: no mathematics, a square for what the font lacks."""
    glyphs = _glyphs()
    text = "".join(char if ord(char) in glyphs else _UNKNOWN for char in short(name, most))
    return text.replace("$", r"\$")


def markdown(text: object) -> str:
    """Text that no Markdown page takes for markup.

    >>> markdown("<b>|*x*")
    '&lt;b&gt;\\\\|\\\\*x\\\\*'
    """
    line = one_line(str(text)).replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    return _MARKUP.sub(r"\\\1", line)


def cell(name: str) -> str:
    """A name in a table of tabs that no spreadsheet takes for a formula."""
    line = one_line(name)
    return f"'{line}" if line.startswith(_FORMULA) else line


@cache
def _glyphs() -> frozenset[int]:
    return frozenset(FT2Font(str(font_file())).get_charmap())
