"""Where a published data set lies below `data_root`, and what is wrong where it does not."""

from __future__ import annotations

import os
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from cgcd.vocabulary import InputError
from scenarios.arrays import ImageArrays
from scenarios.folder import ImageFiles

Part = tuple[Sequence[str], Sequence[int]]
"""Paths of images and their class ids."""

_ARCHIVES = (".tgz", ".tar.gz", ".tar", ".zip")
_MOST_FOLDERS = 200  # that are looked into for a renamed data set


@dataclass(frozen=True, kw_only=True)
class Layout:
    """The files by which a data set is known.

    Attributes:
        title: its name, for messages.
        marks: files and folders that must all be in one folder, `a|b` for one or the other.
        places: that folder's published names below `data_root`; `data_root` itself is tried last.
        archives: names of the published archives, which are to be extracted.
        tree: the whole layout, one line an entry, for people.
        also: another way to give the data, the end of what the user is to do.
    """

    title: str
    marks: tuple[str, ...]
    places: tuple[str, ...] = ()
    archives: tuple[str, ...] = ()
    tree: tuple[str, ...] = ()
    also: str = ""

    @property
    def mend(self) -> str:
        """What the user is to do, the end of every message."""
        held = self.places[0] if self.places else _named(self.marks)
        return f"set data_root=<folder> to the folder that holds {held}{self.also}"

    def find(self, root: str | os.PathLike[str] | None) -> Path:
        """The folder that holds all marks.

        Raises:
            InputError: if there is none, saying what of it is there: nothing, a part, an archive
                that was not extracted, or the same under another name.
        """
        if not root:
            raise InputError(f"data_root is not set; {self.title} is read from disk: {self.mend}")
        path = Path(root)
        if not path.is_dir():
            raise InputError(self._no_folder(path))
        folder, missing = self.nearest(path)
        if not missing:
            return folder
        packed = [p / name for p in (path, folder) for name in self.archives if (p / name).exists()]
        if len(missing) < len(self.marks):
            again = (
                f"{packed[0]} is not extracted, {_extracting(packed[0])}"
                if packed
                else f"extract {' and '.join(self.archives) or 'it'} again, or {self.mend}"
            )
            raise InputError(
                f"{folder} holds {self.title} in part, without {_named(missing)}: {again}"
            )
        if packed:
            raise InputError(
                f"{packed[0]} is an archive that is not extracted; {self.title} is read from its"
                f" files: {_extracting(packed[0])}"
            )
        renamed = self._renamed(path)
        if renamed:
            raise InputError(
                f"{path} has no {_named(self.marks)}, but {renamed} has: set data_root={renamed}"
            )
        others = sorted(entry.name for entry in os.scandir(path) if is_archive(entry.name))
        maybe = f"; if {others[0]} is it, {_extracting(path / others[0])}" if others else ""
        held = f"{self.places[0]} with " if self.places else ""
        raise InputError(f"{path} has no {held}{_named(self.marks)}: {self.mend}{maybe}")

    def nearest(self, root: Path) -> tuple[Path, tuple[str, ...]]:
        """The folder that holds most marks, and the marks it lacks."""
        folders = [root / place for place in (*self.places, "")]
        lacking = [
            tuple(m for m in self.marks if not any((f / name).exists() for name in m.split("|")))
            for f in folders
        ]
        best = min(range(len(folders)), key=lambda place: len(lacking[place]))
        return folders[best], lacking[best]

    def _no_folder(self, path: Path) -> str:
        if not path.exists():
            return f"{path} does not exist: {self.mend}"
        if is_archive(path.name):
            return (
                f"{path} is an archive; {self.title} is read from its files: {_extracting(path)}"
                f" and set data_root={path.parent}"
            )
        return f"{path} is a file; wanted the folder of {self.title}: {self.mend}"

    def _renamed(self, root: Path) -> Path | None:
        below = sorted(entry.path for entry in os.scandir(root) if entry.is_dir())
        for folder in map(Path, below[:_MOST_FOLDERS]):
            found, missing = self.nearest(folder)
            if not missing:
                return found
        return None


def read_lines(path: Path, layout: Layout) -> list[str]:
    """The lines of a text file that hold something, without the spaces around them.

    Raises:
        InputError: if it is missing, empty or no text.
    """
    try:
        lines = [line.strip() for line in path.read_text(encoding="utf-8").splitlines()]
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(
            f"{path} cannot be read ({type(error).__name__}); wanted a list of {layout.title}:"
            f" extract it again or {layout.mend}"
        ) from error
    lines = [line for line in lines if line]
    if not lines:
        raise InputError(f"{path} is empty; extract it again or {layout.mend}")
    return lines


def split_line(line: str, parts: int, path: Path, layout: Layout) -> list[str]:
    """A line's words, the last of which may hold spaces.

    Raises:
        InputError: if there are fewer than `parts`.
    """
    words = line.split(maxsplit=parts - 1)
    if len(words) < parts:
        raise InputError(
            f"{path} has a line {line[:60]!r}; wanted {parts} words, so it was cut off or is"
            f" another file: extract it again or {layout.mend}"
        )
    return words


def whole_number(word: str, path: Path, layout: Layout) -> int:
    """A number in a list.

    Raises:
        InputError: if it is none.
    """
    try:
        return int(word)
    except ValueError as error:
        raise InputError(
            f"{path} has {word[:60]!r} where a number belongs: extract it again or {layout.mend}"
        ) from error


def inside(folder: Path, name: str, listed_by: Path, layout: Layout) -> str:
    """The path of a file that a list names, below a folder.

    Raises:
        InputError: if the name leads out of the folder.
    """
    parts = name.split("/")
    if any(part in ("", ".", "..") or os.path.basename(part) != part for part in parts):
        raise InputError(
            f"{listed_by} names a file {name[:60]!r}; wanted a path below {folder}, without ..:"
            f" it is not the published list of {layout.title}, fetch it again"
        )
    return os.path.join(folder, *parts)


def check_there(paths: Sequence[str], listed_by: Path, layout: Layout) -> None:
    """Refuses a list that names files which are not there; every folder is listed once.

    Raises:
        InputError: with how many are missing and the first of them.
    """
    by_folder: dict[str, list[str]] = defaultdict(list)
    for path in paths:
        folder, name = os.path.split(path)
        by_folder[folder].append(name)
    missing = []
    for folder, names in by_folder.items():
        there = set(os.listdir(folder)) if os.path.isdir(folder) else set()
        missing += [os.path.join(folder, name) for name in names if name not in there]
    if missing:
        raise InputError(
            f"{listed_by} lists {len(paths)} images of which {len(missing)} are not there, the"
            f" first is {missing[0]}: the archive was extracted in part, extract it again"
        )


def labeled_files(parts: Sequence[Part], class_names: Sequence[str]) -> ImageArrays:
    """A data set whose images are opened on access.

    Args:
        parts: training part and test part, each the paths and their class ids.
        class_names: of class id k at place k.
    """
    (train, train_targets), (test, test_targets) = parts
    return ImageArrays(
        ImageFiles(train),
        np.asarray(train_targets, dtype=np.int64),
        ImageFiles(test),
        np.asarray(test_targets, dtype=np.int64),
        tuple(class_names),
    )


def _named(marks: Sequence[str]) -> str:
    """Marks for a message, each by its first spelling."""
    return ", ".join(mark.partition("|")[0] for mark in marks)


def is_archive(name: str) -> bool:
    """A file of that name holds others that are to be extracted."""
    return name.lower().endswith(_ARCHIVES)


def _extracting(path: Path) -> str:
    if path.suffix == ".zip":
        return f"extract it with: unzip {path} -d {path.parent}"
    return f"extract it with: tar -xf {path} -C {path.parent}"
