"""Images in memory, and the one way this package opens an `.npz`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path

import numpy as np
from PIL import Image

from cgcd.vocabulary import InputError


@dataclass(frozen=True, eq=False)
class ImageArrays:
    """A labeled data set; training and test images are separate index spaces.

    Attributes:
        train_images: uint8 in [0, 255], RGB, (N, H, W, 3), or N PIL images read on access.
        train_targets: original class ids, int64 in [0, len(class_names)), (N,).
        test_images: as `train_images`, with its own N.
        test_targets: as `train_targets`, for the test images.
        class_names: name of class id k at place k.
    """

    train_images: np.ndarray | Sequence[Image.Image]
    train_targets: np.ndarray
    test_images: np.ndarray | Sequence[Image.Image]
    test_targets: np.ndarray
    class_names: tuple[str, ...]


def read_npz(
    path: Path, required: Sequence[str], mend: str, optional: Sequence[str] = ()
) -> dict[str, np.ndarray]:
    """Named members of an `.npz`, each read once; other members are not read, whatever they hold.

    Args:
        path: the file.
        required: members that must be there.
        mend: what the user is to do, the end of every message.
        optional: members that are read where they are there; `*` stands for any text.

    Raises:
        InputError: if there is no such file, a member to be read is missing or damaged, or it holds
            objects (pickles), which are refused.
    """
    if not path.is_file():
        raise InputError(f"{path} is not a file; wanted an .npz with {_listed(required)}: {mend}")
    try:
        with open(path, "rb") as opened, np.load(opened, allow_pickle=False) as file:
            there = list(file.files)
            wanted = [n for n in there if any(fnmatchcase(n, p) for p in (*required, *optional))]
            arrays = {name: file[name] for name in wanted}
    except Exception as error:  # zip, zlib and NumPy each have their own; all mean the same here
        raise InputError(
            f"{path} cannot be read ({type(error).__name__}: {error}); wanted a whole .npz of plain"
            f" arrays with {_listed(required)}: fetch the file again or {mend}"
        ) from error
    missing = [name for name in required if name not in arrays]
    if missing:
        raise InputError(
            f"{path} lacks {_listed(missing)} (it has {_listed(sorted(there))}); wanted"
            f" {_listed(required)}: {mend}"
        )
    return arrays


def _listed(names: Sequence[str]) -> str:
    return ", ".join(f"'{name}'" for name in names) or "nothing"
