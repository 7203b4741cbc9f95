"""Classes that somebody wrote down for samples nobody labeled: read for measuring only."""

from __future__ import annotations

import csv
import unicodedata
from collections.abc import Collection
from pathlib import Path

from cgcd.vocabulary import InputError


def read_truth(path: str | Path, names: Collection[str], column: str = "path") -> dict[str, str]:
    """Class name by sample name, from a CSV with a header and the columns `path` and `class`.

    UTF-8, with a byte order mark or without; other columns are not looked at; lines without a class
    say nothing. A quote that guards a name against spreadsheets, as predictions have it, may stay.

    Args:
        path: of the file.
        names: of all samples that there are, also of those left out.
        column: that holds the names.

    Raises:
        InputError: if the file cannot be read or lacks a column, names a sample that is not there,
            or gives one two classes.
    """
    wanted = f"wanted a CSV with the columns {column},class"
    try:
        with open(path, newline="", encoding="utf-8-sig") as file:
            reader = csv.DictReader(file, strict=True)
            missing = {column, "class"} - set(reader.fieldnames or ())
            if missing:
                raise InputError(
                    f"{path} lacks the column {sorted(missing)[0]!r} (it has "
                    f"{', '.join(reader.fieldnames or ()) or 'none'}); {wanted}: write a header"
                )
            lines = [(row[column] or "", row["class"] or "") for row in reader]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise InputError(
            f"{path} cannot be read ({type(error).__name__}: {error}); {wanted} in UTF-8: set "
            "scenario.truth=<file>"
        ) from error
    own = {_normal(name): name for name in names}
    found: dict[str, str] = {}
    unknown: list[str] = []
    for given, text in lines:
        name = next((own[form] for form in _forms(given) if form in own), None)
        label = text.strip()
        if name is None:
            unknown.append(given)
        elif label and found.setdefault(name, label) != label:
            raise InputError(
                f"{path} gives {name} the classes {found[name]!r} and {label!r}; wanted one: remove"
                " a line"
            )
    if unknown:
        example = f", as in {min(own)}" if own else ""
        raise InputError(
            f"{path} names {len(unknown)} samples that are not there, the first is {unknown[0]!r}; "
            f"wanted the {column} as predictions have it{example}"
        )
    return found


def _forms(name: str) -> list[str]:
    """How a name may be meant: as it is, unguarded, with slashes."""
    forms = [name, name.removeprefix("'"), name.replace("\\", "/"), name.removeprefix("./")]
    return [_normal(form) for form in forms]


def _normal(name: str) -> str:
    """One spelling of what systems compose differently."""
    return unicodedata.normalize("NFC", name)
