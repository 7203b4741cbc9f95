"""A run in plain sentences, each by a rule of `findings`."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from cgcd.tracking.report.answers import Answers
from cgcd.tracking.report.findings import FALL, CrossTable, forgotten, shares_old
from cgcd.tracking.report.folder import ONLINE, PARTS, SINGLE_STAGE, StoredRun
from cgcd.tracking.report.markup import Markup, joined, named, separated
from cgcd.tracking.table import percent

_MOST_NAMES = 8
_WORDS = "zero one two three four five six seven eight nine ten".split()
_FLOORS = (
    ("k-means", "floor/kmeans_all"),
    ("the nearest mean", "floor/nearest_mean_all"),
    ("a model that discovers nothing", "bound/closed_set_all"),
)
_STREAM_FLOORS = (
    ("untrained leader clustering", "floor/leader_strict_all"),
    ("a model that discovers nothing", "bound/closed_set_strict_all"),
)


def sentences(run: StoredRun) -> list[Markup]:
    """What happened, stage by stage, part by part, or over a stream."""
    if run.setting == SINGLE_STAGE:
        return _of_parts(run)
    return _of_stream(run) if run.setting == ONLINE else _of_stages(run)


def listing(names: Iterable[object], last: str = "and") -> Markup:
    """Names in quotes, the first of many."""
    return enumeration([joined("'", named(name), "'") for name in names], last)


def enumeration(parts: Sequence[Markup], last: str) -> Markup:
    """Parts with commas and a last word, the first of many."""
    shown = list(parts)
    if len(shown) > _MOST_NAMES:
        shown = [*shown[:_MOST_NAMES], joined(f"{len(shown) - _MOST_NAMES} more")]
    if len(shown) < 2:
        return joined(*shown)
    return joined(separated(", ", shown[:-1]), f" {last} ", shown[-1])


def labeled_classes(run: StoredRun) -> set[str]:
    """Names of the classes that were labeled at stage 0, as far as the run tells them."""
    labeled = set(run.results.get("known_class_names", ()))
    for answers in run.answers.values():
        labeled |= {n for k, n in answers.category_names.items() if k not in answers.is_new}
    return labeled


def _of_stages(run: StoredRun) -> list[Markup]:
    told = []
    before: CrossTable | None = None
    fallen: dict[str, float] = {}
    for row in run.results["stages"]:
        stage = int(row["stage"])
        name = f"stage_{stage}"
        answers, table = run.answers.get(name), run.tables.get(name)
        if answers is None:
            continue
        if table is None:
            told.append(_without_truth(f"Stage {stage}", row, answers))
            continue
        if stage == 0:
            told.append(
                joined(
                    f"Stage 0 learned {_count(len(table.classes), 'labeled class')}: "
                    f"{percent(row.get('accuracy/all'))} % of their test samples are right."
                )
            )
        else:
            known = set() if before is None else set(before.classes)
            new = [name for name in table.classes if name not in known]
            parts = [_found(f"Stage {stage}", table, new)]
            parts += _merged(table, new, before) + _split(table, new, before)
            parts += _fallen(run, name, fallen)
            parts += _missed_as_old(answers, new) + _beaten(row)
            told.append(_joined(parts))
        before = table
    return told


def _of_parts(run: StoredRun) -> list[Markup]:
    told = []
    row = run.rows[0]
    for part, title in PARTS.items():
        answers, table = run.answers.get(part), run.tables.get(part)
        if answers is None:
            continue
        if table is None:
            told.append(_without_truth(f"Among the {title} the run", row, answers))
            continue
        new = _new_classes(run, table)
        parts = [_found(f"Among the {title} the run", table, new)]
        parts += _merged(table, new, None) + _split(table, new, None)
        parts += _missed_as_old(answers, new)
        parts += _beaten({k.removeprefix(f"{part}/"): v for k, v in row.items()})
        told.append(_joined(parts))
    return told


def _of_stream(run: StoredRun) -> list[Markup]:
    row = run.rows[-1]
    seen, created = int(row["stream/seen"]), int(row["stream/created"])
    told = [
        joined(
            f"The run answered {seen} samples in {_count(len(run.rows), 'window')} and opened "
            f"{_count(created, 'category', 'categories')}"
            + (
                f" for {_count(int(row['stream/true_novel']), 'new class')}."
                if "stream/true_novel" in row
                else "."
            )
        )
    ]
    answers, table = run.answers.get("stream"), run.tables.get("stream")
    if answers is None or table is None:
        return told
    new = _new_classes(run, table)
    parts = [_found("Over the whole stream it", table, new)]
    parts += _merged(table, new, None) + _split(table, new, None)
    if "identity/known" in row:
        parts.append(
            joined(
                f"{percent(row['identity/known'])} % of the samples of known classes got the name "
                f"of their class, and {percent(row.get('identity/false_known'))} % of those of new "
                "classes the name of a known one"
            )
        )
    told.append(_joined(parts + _beaten(row, "strict/all", _STREAM_FLOORS)))
    return told


def _new_classes(run: StoredRun, table: CrossTable) -> list[str]:
    labeled = labeled_classes(run)
    return [name for name in table.classes if name not in labeled]


def _found(front: str, table: CrossTable, new: Sequence[str]) -> Markup:
    """How many of the new classes were found, and which were not."""
    is_found = dict(zip(table.classes, table.is_found().tolist(), strict=True))
    missed = [name for name in new if not is_found[name]]
    if not new:
        return joined(f"{front} found no new class, for there was none")
    if len(new) == 1:
        verb = "did not find" if missed else "found"
        return joined(f"{front} {verb} its one new class, ", listing(new))
    text = f"{front} found {len(new) - len(missed)} of {len(new)} new classes"
    return joined(text, ", not ", listing(missed, "or")) if missed else joined(text)


def _merged(table: CrossTable, new: Sequence[str], before: CrossTable | None) -> list[Markup]:
    """Groups with a new class, and those of known classes that were apart before."""
    earlier = [] if before is None else before.merged()
    fresh = [g for g in table.merged() if g & set(new) or not any(g <= e for e in earlier)]
    told = [listing([n for n in table.classes if n in group]) for group in fresh]
    return _some([joined(names, " were merged") for names in told], "merged groups")


def _split(table: CrossTable, new: Sequence[str], before: CrossTable | None) -> list[Markup]:
    earlier = {} if before is None else before.split()
    pieces = {n: k for n, k in table.split().items() if n in new or n not in earlier}
    told = []
    for number in sorted(set(pieces.values())):
        names = [name for name in table.classes if pieces.get(name) == number]
        were = "was" if len(names) == 1 else "were"
        told.append(joined(listing(names), f" {were} split in {_WORDS[number]}"))
    return told


def _fallen(run: StoredRun, name: str, told: dict[str, float]) -> list[Markup]:
    """Base classes that are forgotten, or have fallen as far again since `told`, which it keeps."""
    first = run.tables.get("stage_0")
    falls = {} if first is None else forgotten(first, run.tables[name])
    fresh = {n: fall for n, fall in falls.items() if fall >= told.get(n, 0.0) + FALL - 1e-9}
    told.update(fresh)
    if not fresh:
        return []
    order = sorted(fresh.items(), key=lambda item: -item[1])
    names = [joined("'", named(n), f"' (by {100 * fall:.0f} points)") for n, fall in order]
    return [joined("forgotten of the base classes: ", enumeration(names, "and"))]


def _missed_as_old(answers: Answers, new: Sequence[str]) -> list[Markup]:
    share = shares_old(answers, new)
    if share is None or share < 0.1:
        return []
    return [joined(f"{percent(share)} % of the samples of new classes went to labeled categories")]


def _beaten(
    row: Mapping[str, float],
    key: str = "accuracy/all",
    beside: Sequence[tuple[str, str]] = _FLOORS,
) -> list[Markup]:
    names = [name for name, floor in beside if row.get(floor, -1.0) > row.get(key, 2.0)]
    if not names:
        return []
    verb = "scores" if len(names) == 1 else "score"
    return [joined(enumeration([joined(name) for name in names], "and"), f" {verb} higher")]


def _without_truth(front: str, row: Mapping[str, float], answers: Answers) -> Markup:
    """What can be told where the classes are hidden."""
    num_new = int(row["stage/num_classes"] - row["stage/num_known"])
    estimated = " (their number was estimated)" if "stage/num_novel_estimated" in row else ""
    counted = answers.categories.tolist()
    sizes = {category: counted.count(category) for category in set(counted) & answers.is_new}
    parts = [joined(f"{front} made {_count(num_new, 'new category', 'new categories')}{estimated}")]
    if sizes:
        largest = max(sizes, key=lambda category: (sizes[category], -category))
        parts.append(
            joined(
                f"{sum(sizes.values())} of {len(counted)} samples lie in new categories, most in ",
                named(answers.category_names[largest]),
                f" ({sizes[largest]})",
            )
        )
    if "held/base" in row:
        parts.append(
            joined(f"{percent(row['held/base'])} % of base samples got the name of their class")
        )
    return _joined(parts)


def _some(told: list[Markup], what: str) -> list[Markup]:
    """The first of many."""
    if len(told) <= _MOST_NAMES:
        return told
    return [*told[:_MOST_NAMES], joined(f"and {len(told) - _MOST_NAMES} more {what}")]


def _joined(parts: Sequence[Markup]) -> Markup:
    return joined(separated("; ", parts), ".")


def _count(number: int, one: str, many: str | None = None) -> str:
    plural = many or (f"{one}es" if one.endswith("s") else f"{one}s")
    return f"{number} {one if number == 1 else plural}"
