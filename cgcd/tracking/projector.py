"""TensorBoard's embedding projector: points of a stage with what is known of them and their images.

Everything is written as the projector reads it: tables of tabs, one image of all small images, and
one `projector_config.pbtxt` that names what lies in the folder.
"""

from __future__ import annotations

import io
import math
import shutil
from pathlib import Path

import numpy as np
from PIL import Image
from tensorboard.plugins.projector.projector_config_pb2 import ProjectorConfig

from cgcd.tracking.analysis import Analysis
from cgcd.tracking.names import cell

CONFIG = "projector_config.pbtxt"
_FOLDER = "projector"
_SIDE = 32  # pixels of a small image; 5,000 of them fit the largest picture a browser takes
_POINTS, _METADATA, _SPRITE = "points.tsv", "metadata.tsv", "sprite.jpg"


def write_projector(analysis: Analysis, folder: Path) -> bool:
    """Write the points of an analysis; False where there are none.

    Args:
        analysis: with `points`.
        folder: of the event files.
    """
    if not len(analysis.arrays.get("points", ())):
        return False
    place = folder / _FOLDER / analysis.name
    place.mkdir(parents=True, exist_ok=True)
    _write(place / _POINTS, points_table(analysis.arrays["points"]).encode())
    _write(place / _METADATA, metadata_table(analysis).encode())
    if analysis.tiles is not None:
        _write(place / _SPRITE, sprite(analysis.tiles))
    _write_config(folder)
    return True


def discard_projector(folder: Path, stage: int) -> None:
    """Remove the points of a stage and of later ones."""
    for place in (folder / _FOLDER).glob("stage_*"):
        if int(place.name.removeprefix("stage_")) >= stage:
            shutil.rmtree(place)
    if (folder / _FOLDER).is_dir():
        _write_config(folder)


def points_table(points: np.ndarray) -> str:
    """One line a point, numbers parted by tabs."""
    rows = np.nan_to_num(points).tolist()
    return "".join("\t".join([f"{x:.4g}" for x in row]) + "\n" for row in rows)


def metadata_table(analysis: Analysis) -> str:
    """Sample, true class, category, stage and confidence of each point, under a header."""
    arrays, facts = analysis.arrays, analysis.facts
    classes = [cell(name) for name in facts["class_names"]]
    categories = [cell(name) for name in facts["category_names"]]
    lines = ["sample\ttrue\tpredicted\tstage\tconfidence"]
    for place in arrays["point_places"].tolist():
        target = int(arrays["targets"][place])
        lines.append(
            f"{arrays['sample_ids'][place]}\t{classes[target] if target >= 0 else ''}\t"
            f"{categories[arrays['predictions'][place]]}\t{analysis.stage}\t"
            f"{arrays['confidences'][place]:.3f}"
        )
    return "\n".join(lines) + "\n"


def sprite(tiles: np.ndarray) -> bytes:
    """All small images in a square, row by row, as a JPEG.

    Args:
        tiles: (M, S, S, 3) uint8, M >= 1.
    """
    across = math.ceil(math.sqrt(len(tiles)))
    sheet = np.full((across * across, _SIDE, _SIDE, 3), 255, dtype=np.uint8)
    sheet[: len(tiles)] = _resized(tiles)
    square = sheet.reshape(across, across, _SIDE, _SIDE, 3).swapaxes(1, 2)
    file = io.BytesIO()
    image = Image.fromarray(square.reshape(across * _SIDE, across * _SIDE, 3))
    image.save(file, "JPEG", quality=85)
    return file.getvalue()


def _resized(tiles: np.ndarray) -> np.ndarray:
    """To `_SIDE` pixels: means of blocks where they fit, else the nearest pixels."""
    side = tiles.shape[1]
    if side % _SIDE == 0:
        block = side // _SIDE
        blocks = tiles.reshape(len(tiles), _SIDE, block, _SIDE, block, 3)
        return blocks.mean((2, 4)).astype(np.uint8) if block > 1 else tiles
    places = np.arange(_SIDE) * side // _SIDE
    return tiles[:, places][:, :, places]


def _write_config(folder: Path) -> None:
    """Name what there is, the latest stage first, which the page shows first."""
    config = ProjectorConfig()
    for place in sorted((folder / _FOLDER).iterdir(), key=_stage_of, reverse=True):
        if not (place / _METADATA).is_file():
            continue
        entry = config.embeddings.add()
        entry.tensor_name = place.name
        front = f"{_FOLDER}/{place.name}"
        entry.tensor_path = f"{front}/{_POINTS}"
        entry.metadata_path = f"{front}/{_METADATA}"
        if (place / _SPRITE).is_file():
            entry.sprite.image_path = f"{front}/{_SPRITE}"
            entry.sprite.single_image_dim.extend([_SIDE, _SIDE])
    _write(folder / CONFIG, str(config).encode())


def _stage_of(place: Path) -> tuple[int, str]:
    number = place.name.removeprefix("stage_")
    return (int(number) if number.isdigit() else -1, place.name)


def _write(path: Path, content: bytes) -> None:
    """Whole or not at all; not synced, for a stage that is evaluated again writes it again."""
    temporary = path.with_name(f".{path.name}-new")
    temporary.write_bytes(content)
    temporary.replace(path)
