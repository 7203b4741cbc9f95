"""`cgcd data`: the published data sets, what of one lies on disk, and fetching one."""

from __future__ import annotations

import sys
import textwrap
from collections.abc import Mapping, Sequence
from typing import Any

from cgcd.cli.messages import exit_code
from cgcd.vocabulary import InputError

_USAGE = """\
  cgcd data list                                     every data set, its size, who can fetch it
  cgcd data check NAME data_root=DIR [images=all]    what is there, what is missing, whose it is
  cgcd data fetch NAME data_root=DIR                 download it, where torchvision offers it
"""
_WIDTH = 96  # characters of a line


def data(arguments: Sequence[str]) -> int:
    """List, check or fetch data sets; everything after `cgcd data`."""
    stopped = "nothing was changed, but for files that were being fetched"
    return exit_code(lambda: _data(list(arguments)), stopped)


def _data(arguments: list[str]) -> int:
    if not arguments or {"-h", "--help"} & set(arguments):
        print(_USAGE, end="")
        return 0
    command, *rest = arguments
    if command == "list":
        _values(rest, 0, ())
        return _list()
    if command == "check":
        names, values = _values(rest, 1, ("data_root", "images"))
        return _check(names[0], values)
    if command == "fetch":
        names, values = _values(rest, 1, ("data_root",))
        return _fetch(names[0], values)
    raise InputError(f"cgcd data does not know {command!r}; wanted list, check or fetch")


def _values(
    arguments: Sequence[str], num_names: int, keys: Sequence[str]
) -> tuple[list[str], dict[str, str]]:
    """Names and `key=value` pairs."""
    names = [argument for argument in arguments if "=" not in argument]
    pairs = [argument.partition("=") for argument in arguments if "=" in argument]
    values = {key: value for key, _, value in pairs}
    foreign = sorted(values.keys() - set(keys))
    if len(names) != num_names or foreign:
        given = foreign[0] if foreign else " ".join(names) or "no name"
        raise InputError(
            f"cgcd data was given {given}; wanted list, check NAME data_root=DIR [images=all], or"
            " fetch NAME data_root=DIR"
        )
    return names, values


def _list() -> int:
    from scenarios.published import DATASETS

    print(f"{'name':<20} {'data set':<32} {'train':>9} {'test':>7} {'classes':>7}  download")
    for name, entry in DATASETS.items():
        download = entry.download.size if entry.download else "-"
        print(
            f"{name:<20} {entry.title:<32} {entry.num_train:>9,} {entry.num_test:>7,}"
            f" {entry.num_classes:>7,}  {download}"
        )
    print("\ncgcd data check NAME data_root=DIR says how each lies on disk and whose it is")
    return 0


def _check(name: str, values: Mapping[str, str]) -> int:
    from scenarios.inspection import inspect, survey
    from scenarios.published import published

    entry = published(name)
    root = values.get("data_root") or None
    images = values.get("images", "some")
    if images not in ("some", "all"):
        raise InputError(f"images={images}; wanted some (256 of each part are opened) or all")
    folder, marks = survey(entry, root)
    print(f"{entry.title} ({name})")
    if folder is not None and folder.is_dir():
        _say("folder", str(folder))
        for mark, is_there in marks.items():
            _say("found" if is_there else "missing", mark.replace("|", " or "))
    try:
        found = inspect(entry, root, every_image=images == "all")
    except InputError:
        _describe(entry)
        raise
    for what, (number, wanted) in found.counts.items():
        verdict = "as published" if number == wanted else f"published: {wanted:,}"
        _say(what, f"{number:,}, {verdict}")
    if found.num_opened:
        _say("opened", f"{found.num_opened:,} images, {len(found.unreadable):,} of them unreadable")
    _describe(entry)
    sys.stdout.flush()
    if found.unreadable:
        raise InputError(found.unreadable[0])
    if found.differences:
        raise InputError(
            f"{name} is not the published {entry.title}: {'; '.join(found.differences)}; it can be"
            " used, but published numbers do not belong to it: extract it again for those"
        )
    print("complete")
    return 0


def _describe(entry: Any) -> None:
    """Licence, citation and layout."""
    _say("licence", entry.licence)
    _say("cite", entry.citation)
    if entry.layout is not None:
        print("  expected below data_root, or data_root itself:")
        for line in entry.layout.tree:
            print(f"    {line}")
        if entry.layout.archives:
            _say("archives", ", ".join(entry.layout.archives))


def _fetch(name: str, values: Mapping[str, str]) -> int:
    from scenarios.published import published

    entry = published(name)
    root = values.get("data_root")
    if entry.layout is None:
        print(f"{entry.title} needs no files")
        return 0
    if entry.download is None:
        raise InputError(
            f"torchvision offers no download of {entry.title}; fetch it from its publishers as "
            f"cgcd data check {name} data_root=DIR describes it"
        )
    if not root:
        raise InputError(
            f"data_root is not set; set data_root=<folder> to where {entry.title} is to lie"
        )
    print(f"fetching {entry.download.size} of {entry.title} into {root}; licence: {entry.licence}")
    sys.stdout.flush()
    entry.download.fetch(root)
    return _check(name, {"data_root": root})


def _say(what: str, text: str) -> None:
    lines = textwrap.wrap(text, _WIDTH - 20, break_long_words=False, break_on_hyphens=False)
    for place, line in enumerate(lines or [""]):
        print(f"  {what if place == 0 else '':<16}  {line}")
