"""Pictures of a run from the arrays that the analysis left: drift of prototypes, novelty."""

from __future__ import annotations

from zipfile import BadZipFile

import numpy as np

from cgcd.tracking.report.chart import BLUE, RED, histogram
from cgcd.tracking.report.folder import STAGED, StoredRun
from cgcd.tracking.report.gallery import read_analysis
from cgcd.tracking.report.markup import Markup
from cgcd.tracking.report.matrix import heat_map
from cgcd.tracking.report.page import figure, panels
from cgcd.vocabulary import InputError

_PROTOTYPES = (
    ("direction_drift", "category_names", "direction in the head (row: category)"),
    ("mean_drift", "class_names", "mean feature of the test samples (row: class)"),
)
_NOVELTY = (
    ("novelty_known", "samples of known classes", BLUE),
    ("novelty_novel", "samples of new classes", RED),
)


def drift(run: StoredRun) -> Markup:
    """Cosine of every class's prototype to its first one, after each stage."""
    name = next(reversed(run.answers), "")
    arrays = _arrays(run, name) if run.setting == STAGED else {}
    names = read_analysis(run.folder, name)
    drawn = []
    for key, rows, title in _PROTOTYPES:
        values = arrays.get(key)
        if values is None or values.shape[1] < 2 or len(names.get(rows, ())) != len(values):
            continue
        columns = [str(stage) for stage in range(values.shape[1])]
        least = float(np.nanmin(values)) if np.isfinite(values).any() else 0.0
        low = min(0.9, float(np.floor(10 * least)) / 10)  # so that small moves do not look large
        picture = heat_map(
            values.astype(float),
            names[rows],
            columns,
            x_title="after stage",
            scale="cividis",
            low=low,
        )
        caption = f"Cosine to the first one, times 100: {title}. Dark has moved far."
        drawn.append(figure(picture, caption, scrolls=True))
    return panels(*drawn)


def novelty(run: StoredRun, name: str) -> Markup:
    """How uncertain the answers of one evaluation were; where there is no truth, of all samples."""
    arrays = _arrays(run, name)
    chosen = [series for series in _NOVELTY if series[0] in arrays]
    if not chosen and "novelty_all" in arrays:
        chosen = [("novelty_all", "all samples", BLUE)]
    if not chosen or "bins" not in arrays:
        return Markup("")
    series = [(title, color, arrays[key].tolist()) for key, title, color in chosen]
    title = "entropy of the answer over that of a guess: large looks new"
    chart = histogram(arrays["bins"].tolist(), series, title)
    return figure(chart) if chart else chart


def _arrays(run: StoredRun, name: str) -> dict[str, np.ndarray]:
    """Content of `analysis/<name>.npz`; empty where there is none.

    Raises:
        InputError: if it is damaged.
    """
    path = run.folder / "analysis" / f"{name}.npz"
    if not path.is_file():
        return {}
    wanted = {key for key, *_ in (*_PROTOTYPES, *_NOVELTY)} | {"novelty_all", "bins"}
    try:
        with np.load(path, allow_pickle=False) as file:
            return {key: file[key] for key in file.files if key in wanted}
    except (ValueError, OSError, EOFError, BadZipFile) as error:
        raise InputError(f"{path} is damaged ({error}); remove it to go without") from error
