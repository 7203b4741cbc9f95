"""Pictures of what lies in each category, from the thumbnails that the analysis left.

Everything in those files may come from somebody else: names are text, a file counts as a picture by
its first bytes alone, and it must lie in the run's own folder.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from cgcd.tracking.report.markup import Markup, element, joined, named
from cgcd.tracking.table import percent
from cgcd.vocabulary import InputError

MOST_BYTES = 2_000_000
"""Of all pictures of a page, as they lie on disk; a third more in the page."""

_MOST_OF_ONE = 32_768
_KINDS = (
    ("central", "most central"),
    ("doubtful", "most doubtful"),
    ("random", "random"),
)
_SIGNATURES = {b"\x89PNG\r\n\x1a\n": "png", b"\xff\xd8\xff": "jpeg"}


def read_analysis(folder: Path, name: str) -> dict[str, Any]:
    """`analysis/<name>.json` of a run folder; empty where there is none.

    Raises:
        InputError: if it is damaged.
    """
    path = folder / "analysis" / f"{name}.json"
    if not path.is_file():
        return {}
    try:
        return dict(json.loads(path.read_text(encoding="utf-8")))
    except (ValueError, TypeError) as error:
        raise InputError(f"{path} is damaged ({error}); remove it to go without") from error


def gallery(folder: Path, analysis: Mapping[str, Any], most_bytes: int = MOST_BYTES) -> Markup:
    """A row of pictures a category, discovered ones first.

    Pictures that go beyond the size of a page are left out, of every category the last kinds
    first, and counted.

    Args:
        folder: of the run.
        analysis: content of the JSON of one evaluation.
        most_bytes: of all pictures.
    """
    num_base = int(analysis.get("num_base", 0))
    categories = [c for c in analysis.get("categories", []) if any(_samples(c))]
    categories.sort(key=lambda c: (int(c["id"]) < num_base, int(c["id"])))
    pictures: dict[tuple[int, str, int], str] = {}
    left, spent = 0, 0
    for kind, _ in _KINDS:  # the most telling ones of all categories before the next ones of any
        for place, category in enumerate(categories):
            for number, sample in enumerate(category.get(kind, ())):
                found = _picture(folder, sample)
                if found is None:
                    continue
                if spent + len(found[1]) > most_bytes:
                    left += 1
                    continue
                spent += len(found[1])
                coded = base64.b64encode(found[1]).decode()
                pictures[place, kind, number] = f"data:image/{found[0]};base64,{coded}"
    if not pictures:
        return Markup("")
    rows = [
        _row(category, [_kind(category, place, kind, pictures) for kind in _KINDS])
        for place, category in enumerate(categories)
        if any((place, kind, 0) in pictures for kind, _ in _KINDS)
    ]
    more = element("p", f"{left} more pictures have no room here.", class_="small")
    return joined(*rows, more if left else None)


def _row(category: Mapping[str, Any], kinds: Sequence[Markup]) -> Markup:
    told = []
    if category.get("sizes"):
        told.append(f"{category['sizes'][-1]} samples")
    if category.get("mean_confidence") is not None:
        told.append(f"mean confidence {category['mean_confidence']:.2f}")
    about: list[object] = [element("b", named(category["name"]))]
    if category.get("best_class_name") is not None and category.get("purity") is not None:
        about += [
            f": {percent(category['purity'])} % of it are ",
            named(category["best_class_name"]),
        ]
    about.append(f" ({', '.join(told)})" if told else None)
    return element(
        "div",
        element("div", *about),
        element("div", *kinds, class_="row"),
        class_="category",
    )


def _kind(
    category: Mapping[str, Any],
    place: int,
    kind: tuple[str, str],
    pictures: Mapping[tuple[int, str, int], str],
) -> Markup:
    key, title = kind
    images = [
        element("img", src=pictures[place, key, number], alt=_told(sample), title=_told(sample))
        for number, sample in enumerate(category.get(key, ()))
        if (place, key, number) in pictures
    ]
    if not images:
        return Markup("")
    return element(
        "div",
        element("div", title, class_="small"),
        element("div", *images, class_="gallery"),
    )


def _told(sample: Mapping[str, Any]) -> str:
    """Name, class and confidence of a sample, for those who point at its picture."""
    told = str(sample.get("name", sample.get("sample")))
    if sample.get("true_class") is not None:
        told += f", in truth {sample['true_class']}"
    if sample.get("confidence") is not None:
        told += f", confidence {sample['confidence']:.2f}"
    if sample.get("distance") is not None:
        told += f", distance {sample['distance']}"
    return told


def _samples(category: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    for kind, _ in _KINDS:
        yield from category.get(kind, ())


def _picture(folder: Path, sample: Mapping[str, Any]) -> tuple[str, bytes] | None:
    """Format and content of a thumbnail; None where there is none that can be shown."""
    name = sample.get("thumbnail")
    if not isinstance(name, str):
        return None
    inside = (folder / "analysis").resolve()
    path = (inside / name).resolve()
    if not path.is_relative_to(inside) or not path.is_file():
        return None
    if path.stat().st_size > _MOST_OF_ONE:
        return None
    content = path.read_bytes()
    form = next((f for start, f in _SIGNATURES.items() if content.startswith(start)), None)
    return None if form is None else (form, content)
