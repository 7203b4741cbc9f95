"""Images in memory, and the one way this package opens an `.npz`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
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


def read_npz(path: Path, required: Sequence[str], mend: str) -> dict[str, np.ndarray]:
    """All members of an `.npz`, each read once; objects (pickles) inside are refused.

    Args:
        path: the file.
        required: members that must be there.
        mend: what the user is to do, the end of every message.

    Raises:
        InputError: if there is no such file, it cannot be read whole, or a member is missing.
    """
    if not path.is_file():
        raise InputError(f"{path} is not a file; wanted an .npz with {_listed(required)}: {mend}")
    try:
        with np.load(path, allow_pickle=False) as file:
            arrays = {name: file[name] for name in file.files}
    except Exception as error:  # zip, zlib and NumPy each have their own; all mean the same here
        raise InputError(
            f"{path} cannot be read ({type(error).__name__}: {error}); wanted a whole .npz of plain"
            f" arrays with {_listed(required)}: fetch the file again or {mend}"
        ) from error
    missing = [name for name in required if name not in arrays]
    if missing:
        raise InputError(
            f"{path} lacks {_listed(missing)} (it has {_listed(sorted(arrays))}); wanted"
            f" {_listed(required)}: {mend}"
        )
    return arrays


def _listed(names: Sequence[str]) -> str:
    return ", ".join(f"'{name}'" for name in names) or "nothing"
