"""The numbers that tables of each setting show, and how a run's rows become one number."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from cgcd.tracking.report.folder import ONLINE, PARTS, SINGLE_STAGE, StoredRun

Row = Mapping[str, float]


@dataclass(frozen=True)
class Column:
    """One number of a run.

    Attributes:
        title: in tables.
        key: of a row.
        over: "mean" of the continual stages, "last" stage or window, or "sum" of all.
        better: 1 where more is better, -1 where less is, 0 where neither.
        is_share: a fraction, shown in percent.
    """

    title: str
    key: str
    over: str = "mean"
    better: int = 1
    is_share: bool = True

    def value(self, rows: Sequence[Row], key: str | None = None) -> float | None:
        """The number of a run; None if a stage lacks it."""
        wanted = key or self.key
        chosen = {"mean": rows[1:] or rows, "last": rows[-1:], "sum": rows}[self.over]
        found = [float(row[wanted]) for row in chosen if wanted in row]
        if not found or len(found) < len(chosen):
            return None
        return sum(found) if self.over == "sum" else sum(found) / len(found)

    def text(self, value: float | None) -> str:
        """A value as a table shows it."""
        if value is None:
            return "-"
        if self.is_share:
            return f"{100 * value:.1f}"
        return f"{value:.0f}" if value == round(value) else f"{value:.1f}"


@dataclass(frozen=True)
class Scale:
    """A floor or bound beside a method: `<front><group>` in place of `<family><group>`."""

    title: str
    front: str
    family: str


_TIME = Column("seconds", "seconds", "sum", 0, False)
_BY_NAME = Column("base by name", "held/base", "last")

_STAGED = (
    Column("All", "accuracy/all"),
    Column("Known", "accuracy/known"),
    Column("Novel", "accuracy/novel"),
    Column("Base", "accuracy/base", "last"),
    Column("last All", "accuracy/all", "last"),
    Column("NMI", "agreement/nmi"),
    Column("M_f", "forgetting/m_f", "last", -1),
    Column("M_d", "forgetting/m_d", "last"),
    Column("count error", "stage/count_error", "mean", -1),
    _BY_NAME,
    _TIME,
)
_STREAM = (
    Column("strict All", "strict/all", "last"),
    Column("strict Known", "strict/known", "last"),
    Column("strict Novel", "strict/novel", "last"),
    Column("greedy All", "greedy/all", "last"),
    Column("greedy Known", "greedy/known", "last"),
    Column("greedy Novel", "greedy/novel", "last"),
    Column("named", "identity/known", "last"),
    Column("false", "identity/false_known", "last", -1),
    Column("created", "stream/created", "last", 0, False),
    Column("true novel", "stream/true_novel", "last", 0, False),
    _TIME,
)
_PART = (
    ("All", "accuracy/all"),
    ("Known", "accuracy/known"),
    ("Novel", "accuracy/novel"),
    ("NMI", "agreement/nmi"),
)
_ACCURACY_SCALES = (
    Scale("k-means", "floor/kmeans_", "accuracy/"),
    Scale("nearest mean", "floor/nearest_mean_", "accuracy/"),
    Scale("closed-set bound", "bound/closed_set_", "accuracy/"),
)
_STREAM_SCALES = (
    Scale("untrained leader", "floor/leader_", ""),
    Scale("closed-set bound", "bound/closed_set_", ""),
)
LEGEND = {
    "": "Percent; mean over the continual stages, Base, last All, M_f and M_d at the last one.",
    SINGLE_STAGE: "Percent, after training, of the unlabeled training samples and of the test "
    "samples.",
    ONLINE: "Percent of the whole stream; named: share of known samples that got the name of "
    "their class, false: share of new ones that got a known name.",
}


def columns(setting: str) -> list[Column]:
    """All columns of a setting, the headline first."""
    if setting == ONLINE:
        return list(_STREAM)
    if setting == SINGLE_STAGE:
        parts = [Column(f"{p} {t}", f"{p}/{k}", "last") for p in PARTS for t, k in _PART]
        return [*parts, Column("count error", "stage/count_error", "last", -1), _TIME]
    return list(_STAGED)


def scales(setting: str) -> tuple[Scale, ...]:
    """Floors and bound of a setting, those that set the scale of its accuracies."""
    return _STREAM_SCALES if setting == ONLINE else _ACCURACY_SCALES


def scale_key(scale: Scale, key: str) -> str | None:
    """Key of a floor's or bound's number that stands beside a method's; None if it has none.

    >>> scale_key(Scale("k-means", "floor/kmeans_", "accuracy/"), "test/accuracy/all")
    'test/floor/kmeans_all'
    """
    part, _, rest = key.rpartition(scale.family) if scale.family else ("", "", key)
    if scale.family:
        return f"{part}{scale.front}{rest}" if scale.family in key else None
    if key == "stream/created":
        return f"{scale.front}created"
    return f"{scale.front}{key.replace('/', '_')}"


def present(chosen: Sequence[Column], runs: Sequence[StoredRun]) -> list[Column]:
    """Those columns that some run has; base classes by name only where that is all there is."""
    found = [c for c in chosen if any(c.value(run.rows) is not None for run in runs)]
    return [c for c in found if c is not _BY_NAME or found[0] is _BY_NAME]


def legend(setting: str) -> str:
    """What the columns of a setting hold."""
    return LEGEND.get(setting, LEGEND[""])
