"""The shell of a page: one file that asks the network for nothing and runs nothing."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from cgcd.tracking.report.markup import Markup, element, joined

_POLICY = "default-src 'none'; img-src data:; style-src 'unsafe-inline'"

_UNBROKEN = "\u2011"  # a hyphen that no line ends with

_STYLE = Markup("""
:root { color-scheme: light; }
* { box-sizing: border-box; }
body { font: 16px/1.5 system-ui, sans-serif; color: #1a1a1a; background: #fff; margin: 0 auto;
  max-width: 70rem; padding: 1rem; overflow-wrap: break-word; }
h1 { font-size: 1.6rem; line-height: 1.2; margin: 0.4em 0; }
h2 { font-size: 1.2rem; margin: 2em 0 0.4em; border-bottom: 1px solid #ccc; }
h3 { font-size: 1rem; margin: 1.4em 0 0.3em; }
p, ul { margin: 0.5em 0; max-width: 46rem; }
li { margin: 0.2em 0; }
.big { font-size: 2.6rem; font-weight: 600; line-height: 1.1; }
.small, figcaption { font-size: 0.85rem; color: #444; }
.wide { overflow-x: auto; margin: 0.6em 0; }
table { border-collapse: collapse; font-size: 0.9rem; font-variant-numeric: tabular-nums; }
th, td { padding: 0.25em 0.6em; border-bottom: 1px solid #ddd; text-align: left;
  vertical-align: top; }
th { border-bottom: 2px solid #888; vertical-align: bottom; }
.number { text-align: right; }
td.number, tbody th { white-space: nowrap; }
tbody th { font-weight: 500; border-bottom: 1px solid #ddd; vertical-align: top;
  position: sticky; left: 0; background: #fff; }
tr.scale td, tr.scale th { color: #555; font-style: italic; }
tr.total td, tr.total th { border-top: 2px solid #888; }
figure { margin: 0.8em 0; }
svg { display: block; font-family: system-ui, sans-serif; }
svg.fluid { width: 100%; max-width: 32rem; height: auto; }
pre { white-space: pre-wrap; overflow-wrap: anywhere; font-size: 0.8rem; background: #f4f4f4;
  padding: 0.8em; }
summary { cursor: pointer; }
.gallery { display: flex; flex-wrap: wrap; gap: 3px; align-items: flex-end; }
.gallery img { width: 48px; height: 48px; object-fit: contain; background: #eee;
  image-rendering: auto; }
.category { border-bottom: 1px solid #ddd; padding: 0.5em 0; break-inside: avoid; }
.panels { display: grid; gap: 0 1.5rem;
  grid-template-columns: repeat(auto-fit, minmax(min(100%, 24rem), 1fr)); }
.row { display: flex; flex-wrap: wrap; gap: 0.3em 1.2em; }
@media (max-width: 40rem) {
  ul { padding-left: 1.2rem; }
  table { font-size: 0.8rem; }
  th, td { padding: 0.2em 0.35em; }
  tbody th { white-space: normal; min-width: 6rem; }
}
@media print {
  body { max-width: none; padding: 0; font-size: 11pt; }
  .wide { overflow: visible; }
  svg { max-width: 100%; height: auto; }
  table { font-size: 8pt; }
  th, td { padding: 0.15em 0.35em; }
  tr, figure { break-inside: avoid; }
  h2, h3 { break-after: avoid; }
}
""")


def document(title: str, *content: object) -> str:
    """A whole HTML page.

    Args:
        title: of the window.
        content: elements of the body.
    """
    head = element(
        "head",
        element("meta", charset="utf-8"),
        element("meta", http_equiv="Content-Security-Policy", content=_POLICY),
        element("meta", name="viewport", content="width=device-width, initial-scale=1"),
        element("meta", name="referrer", content="no-referrer"),
        element("title", title),
        element("style", _STYLE),
    )
    return f"<!doctype html>\n{element('html', head, element('body', *content), lang='en')}\n"


def section(title: str, *content: object) -> Markup:
    """A heading and what stands below it; nothing where there is nothing."""
    if not any(content):
        return Markup("")
    return element("section", element("h2", title), *content)


def bullets(items: Iterable[object]) -> Markup:
    """A list."""
    return element("ul", *(element("li", item) for item in items))


def folded(title: str, *content: object) -> Markup:
    """Content that opens with a click."""
    return element("details", element("summary", title), *content)


def table(
    header: Sequence[object],
    rows: Iterable[Sequence[object]],
    *,
    caption: object = None,
    classes: Sequence[str | None] = (),
    num_texts: int = 1,
) -> Markup:
    """A table that scrolls by itself where the screen is narrow.

    Args:
        header: titles.
        rows: cells, the first one of each the row's name.
        caption: above.
        classes: of each row: "scale" for floors and bounds, "total" for a last line.
        num_texts: columns from the left that are text, the others are numbers.
    """

    def side(place: int) -> str | None:
        return None if place < num_texts else "number"

    def row(cells: Sequence[object], name: str | None) -> Markup:
        first = element("th", cells[0], scope="row")
        rest: list[Any] = [
            element("td", cell, class_=side(place)) for place, cell in enumerate(cells) if place
        ]
        return element("tr", first, *rest, class_=name)

    all_rows = list(rows)
    names = [*classes, *[None] * (len(all_rows) - len(classes))]
    titles = [t if isinstance(t, Markup) else str(t).replace("-", _UNBROKEN) for t in header]
    head = element("tr", *(element("th", t, class_=side(p)) for p, t in enumerate(titles)))
    body = [row(cells, name) for cells, name in zip(all_rows, names, strict=True)]
    whole = element(
        "table", element("thead", head) if any(header) else None, element("tbody", *body)
    )
    above = element("p", caption, class_="small") if caption else None
    return joined(above, element("div", whole, class_="wide"))


def figure(picture: Markup, caption: object = None, scrolls: bool = False) -> Markup:
    """A picture with a line below it; one that scrolls keeps its size on a narrow screen."""
    inner = element("div", picture, class_="wide") if scrolls else picture
    return element("figure", inner, element("figcaption", caption) if caption else None)


def panels(*pictures: Markup) -> Markup:
    """Pictures side by side as far as the screen is wide enough."""
    return element("div", *pictures, class_="panels") if any(pictures) else Markup("")


def sentence(*parts: object) -> Markup:
    """Parts one after the other, as a paragraph."""
    return element("p", joined(*parts))
