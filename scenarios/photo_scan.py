"""Finds the photos in folders, opens every one once, and tells which to leave out and why."""

from __future__ import annotations

import hashlib
import logging
import os
import warnings
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from PIL import Image

from cgcd.vocabulary import InputError
from scenarios.folder import admitting_share
from scenarios.photos import SUFFIXES, read_photo

log = logging.getLogger(__name__)

_THREADS = 8  # decoding leaves Python's lock; more would wait for the disk
_UNREAD = frozenset(".heic .heif .avif .jxl .jp2 .dng .cr2 .cr3 .nef .arw .raf .orf .svg".split())


@dataclass(frozen=True)
class Photo:
    """A file with the name of an image.

    Attributes:
        path: of the file.
        name: for tables, unlike all others.
        part: 0 for the labeled folder, t for the folder of stage t.
        inner: path inside its folder, with slashes.
    """

    path: str
    name: str
    part: int
    inner: str

    @property
    def class_name(self) -> str:
        """First folder on the way to it, "" where it lies in none."""
        return self.inner.partition("/")[0] if "/" in self.inner else ""


def list_photos(folders: Sequence[str | Path], names: Sequence[str]) -> list[Photo]:
    """Files with the name of an image in some folders and everything below, sorted in each.

    What begins with a dot is not looked at. Pictures in formats that are not read are counted in
    one warning.

    Args:
        folders: of part 0, 1, ...
        names: front of the names of each folder's photos.

    Raises:
        InputError: if one of them is no folder or holds a linked folder.
    """
    photos: list[Photo] = []
    unread: Counter[str] = Counter()
    for part, (folder, front) in enumerate(zip(folders, names, strict=True)):
        if not Path(folder).is_dir():
            key = f"stages[{part - 1}]" if part else "labeled"
            raise InputError(
                f"{folder} is no folder; wanted one of images: set scenario.{key}=<folder>"
            )
        inner = sorted(_files_below(Path(folder)))
        unread.update(s for s in (Path(i).suffix.lower() for i in inner) if s in _UNREAD)
        photos += [
            Photo(os.path.join(folder, i), _printable(f"{front}/{i}"), part, i)
            for i in inner
            if Path(i).suffix.lower() in SUFFIXES
        ]
    if unread:
        counts = ", ".join(f"{suffix} {count}" for suffix, count in sorted(unread.items()))
        log.warning("pictures of other formats are not read (%s); save them as JPEG", counts)
    return photos


def scan_photos(
    photos: Sequence[Photo],
    roots: Sequence[str | Path],
    *,
    max_skipped: float,
    skip_duplicates: bool,
    shorter_side: int | None = None,
) -> tuple[list[Photo], list[list[str]]]:
    """The photos to use, and [name, reason] of every one left out.

    Every file is decoded once as it will be later, so that a long run cannot end at a file that was
    cut off. Unreadable are also links that lead out of their folder, images of more pixels than
    `PIL.Image.MAX_IMAGE_PIXELS` and strips. Of files with the same bytes the first is kept in each
    part, and none in the stages whose like is labeled; these are left out without counting as
    damage.

    Args:
        photos: in order, as `list_photos` gives them.
        roots: folder of each part, which links must not leave.
        max_skipped: share in [0, 1] of all files that may be unreadable.
        skip_duplicates: leave out copies; otherwise files are not compared.
        shorter_side: see `read_photo`.

    Raises:
        InputError: if too many files are unreadable, or the same labeled file is of two classes.
    """
    if not 0 <= max_skipped <= 1:
        raise InputError(
            f"max_skipped is {max_skipped}; wanted a share from 0 to 1: set"
            " scenario.max_skipped=0.05"
        )
    homes = [Path(root).resolve() for root in roots]

    def look(photo: Photo) -> tuple[str, bytes]:
        return _looked_at(photo, homes[photo.part], shorter_side, skip_duplicates)

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of metadata: what matters is whether the image comes
        warnings.simplefilter("error", Image.DecompressionBombWarning)
        with ThreadPoolExecutor(min(_THREADS, os.cpu_count() or 1)) as pool:
            looks = list(pool.map(look, photos))
    damaged = [[p.name, reason] for p, (reason, _) in zip(photos, looks, strict=True) if reason]
    _check_share(damaged, len(photos), max_skipped)
    kept: list[Photo] = []
    skipped: list[list[str]] = []
    first: dict[tuple[int, bytes], Photo] = {}
    for photo, (reason, digest) in zip(photos, looks, strict=True):
        like = first.get((0, digest)) or first.get((photo.part, digest))
        if not reason and like is not None and skip_duplicates:
            _check_class(like, photo)
            reason = f"duplicate of {like.name}"
        if reason:
            skipped.append([photo.name, reason])
        else:
            first.setdefault((photo.part, digest), photo)
            kept.append(photo)
    if skipped:
        log.warning(
            "%d of %d files are left out (%d unreadable, %d duplicates), the first is %s (%s)",
            *(len(skipped), len(photos), len(damaged), len(skipped) - len(damaged), *skipped[0]),
        )
    return kept, skipped


def _files_below(folder: Path) -> list[str]:
    """Paths of all files in a folder and below, from it, with slashes."""
    found = []
    for place, folders, files in os.walk(folder, onerror=_refuse):
        folders[:] = [name for name in folders if not name.startswith(".")]
        for name in folders:
            if os.path.islink(os.path.join(place, name)):
                raise InputError(
                    f"{os.path.join(place, name)} is a linked folder, which is not followed; put "
                    "the folder itself there, or name it in scenario.stages"
                )
        inner = Path(place).relative_to(folder)
        found += [(inner / name).as_posix() for name in files if not name.startswith(".")]
    return found


def _refuse(error: OSError) -> None:
    raise InputError(f"{error.filename} cannot be read ({error.strerror})") from error


def _looked_at(
    photo: Photo, home: Path, shorter_side: int | None, with_digest: bool
) -> tuple[str, bytes]:
    """Why a file is no readable image inside `home`, "" if it is one, and a digest of its bytes."""
    try:
        if not Path(photo.path).resolve().is_relative_to(home):
            return "leads out of its folder", b""
        read_photo(photo.path, shorter_side)
        if not with_digest:
            return "", b""
        with open(photo.path, "rb") as file:
            return "", hashlib.file_digest(file, "sha256").digest()
    except Exception as error:  # a damaged file can raise nearly anything; all mean the same
        reason = str(error).replace(photo.path, photo.name)
        return f"{type(error).__name__}: {' '.join(reason.split())}", b""


def _check_share(damaged: Sequence[Sequence[str]], total: int, max_skipped: float) -> None:
    if total and len(damaged) / total > max_skipped:
        name, reason = damaged[0]
        raise InputError(
            f"{len(damaged)} of {total} files are no readable images, the first is {name} "
            f"({reason}); wanted at most {max_skipped:.1%}: fetch them again, remove them or set "
            f"scenario.max_skipped={admitting_share(len(damaged), total)}"
        )


def _check_class(first: Photo, copy: Photo) -> None:
    if copy.part == 0 and first.class_name != copy.class_name:
        raise InputError(
            f"{first.name} and {copy.name} are the same file in two classes; wanted one class for "
            "it: remove one of them, or set scenario.duplicates=keep"
        )


def _printable(name: str) -> str:
    """A file name that can be written as UTF-8, whatever bytes it is made of."""
    return name.encode("utf-8", "surrogateescape").decode("utf-8", "replace")
