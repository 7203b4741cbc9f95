"""Which runs are one and the same but for the seed, and which share a stream."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from cgcd.tracking.report.folder import SINGLE_STAGE, STAGED, StoredRun
from cgcd.vocabulary import InputError

_MOST_KEYS = 6
_LONGEST_LABEL = 48
_TITLES = {STAGED: "stages", SINGLE_STAGE: "one stage"}


@dataclass(frozen=True, eq=False)
class Group:
    """Runs that differ in the seed alone.

    Attributes:
        label: short, different from that of every other group of its bench.
        runs: by ascending seed.
        settings: their common config, flat.
    """

    label: str
    runs: list[StoredRun]
    settings: dict[str, Any]

    @property
    def seeds(self) -> list[int]:
        """Seeds of the runs, ascending."""
        return [run.seed for run in self.runs]


@dataclass(frozen=True, eq=False)
class Bench:
    """Groups that were measured on the same kind of stream, so that they can be compared.

    Attributes:
        title: scenario and setting.
        setting: of all runs.
        groups: in the order in which they were given.
        notes: what a reader should know of how runs were put together.
    """

    title: str
    setting: str
    groups: list[Group]
    notes: list[str]


def benches(runs: Sequence[StoredRun], pool: bool = False) -> list[Bench]:
    """Runs sorted by what they were measured on, then by everything but the seed.

    Args:
        runs: finished ones.
        pool: average also runs of different streams.

    Raises:
        InputError: if runs to be averaged or paired saw different streams and `pool` is off.
    """
    notes: list[str] = []
    together: list[list[Group]] = []
    for group in _groups(runs, notes):
        for others in together:
            if all(_share_a_stream(group, other) for other in others):
                others.append(group)
                break
        else:
            together.append([group])
    found = []
    kinds = [_kind(groups[0]) for groups in together]
    for place, groups in enumerate(together):
        scenario, setting = kinds[place]
        title = f"{scenario} ({_TITLES.get(setting, 'on-line')})"
        own = [*notes] if not place else []
        own.append(_check_streams(groups, pool))
        if kinds.count(kinds[place]) > 1:
            title += f", stream {1 + kinds[:place].count(kinds[place])}"
            own += _what_sets_apart(groups[0], [g[0] for g in together])
        found.append(Bench(title, setting, _labeled(groups), own))
    return found


def flat(values: Any, front: str = "") -> dict[str, Any]:
    """A nested config with dotted keys.

    >>> flat({"a": {"b": 1}, "c": [2, {"d": 3}]})
    {'a.b': 1, 'c.0': 2, 'c.1.d': 3}
    """
    if isinstance(values, Mapping):
        pairs: Iterable[tuple[Any, Any]] = values.items()
    elif isinstance(values, list) and values:
        pairs = enumerate(values)
    else:
        return {front: values} if front else {}
    found: dict[str, Any] = {}
    for key, value in pairs:
        found |= flat(value, f"{front}.{key}" if front else str(key))
    return found


def seedless(run: StoredRun) -> dict[str, Any]:
    """Flat config without seeds, places, and what changes no result."""
    found = {
        key: value
        for key, value in flat(run.config).items()
        if not any(key == front or key.startswith(f"{front}.") for front in run.no_result)
        and key.split(".")[-1] not in ("seed", "data_root")
    }
    known = {key: run.results.get(key) for key in ("strategy", "scenario", "num_novel")}
    return {**found, "results": _text(known)}


def differing(groups: Sequence[Group]) -> tuple[list[str], list[str]]:
    """Keys of settings that differ, and keys that only some groups have.

    Args:
        groups: of a bench.
    """
    keys = dict.fromkeys(key for group in groups for key in group.settings if key != "results")
    differ, alone = [], []
    for key in keys:
        values = [group.settings[key] for group in groups if key in group.settings]
        if any(value != values[0] for value in values):
            differ.append(key)
        elif len(values) < len(groups):
            alone.append(key)
    return differ, alone


def _groups(runs: Sequence[StoredRun], notes: list[str]) -> list[Group]:
    """Runs by everything but the seed; a second one of the same seed is left out with a note."""
    by_settings: dict[str, dict[int, StoredRun]] = {}
    for run in runs:
        members = by_settings.setdefault(f"{run.setting}\n{_text(seedless(run))}", {})
        if run.seed in members:
            notes.append(
                f"{run.folder.name} is left out: {members[run.seed].folder.name} has the same "
                "settings and seed."
            )
        else:
            members[run.seed] = run
    found = ([members[seed] for seed in sorted(members)] for members in by_settings.values())
    return [Group("", members, seedless(members[0])) for members in found]


def _share_a_stream(one: Group, other: Group) -> bool:
    """Same scenario, and the same streams for the same seeds or at least the same settings."""
    if _kind(one) != _kind(other):
        return False
    if _scenario_settings(one) == _scenario_settings(other):
        return True
    hashes = {run.seed: run.results.get("stream_hash") for run in one.runs}
    common = [run for run in other.runs if run.seed in hashes]
    return bool(common) and all(hashes[r.seed] == r.results.get("stream_hash") for r in common)


def _kind(group: Group) -> tuple[str, str]:
    return str(group.runs[0].results["scenario"]), group.runs[0].setting


def _scenario_settings(group: Group) -> dict[str, Any]:
    return {key: value for key, value in group.settings.items() if key.startswith("scenario.")}


def _what_sets_apart(group: Group, firsts: Sequence[Group]) -> list[str]:
    differ, _ = differing([first for first in firsts if _kind(first) == _kind(group)])
    keys = [key for key in differ if key.startswith("scenario.")][:_MOST_KEYS]
    told = ", ".join(f"{key} = {group.settings.get(key, '-')}" for key in keys)
    return [f"Set apart by {told}."] if told else []


def _labeled(groups: Sequence[Group]) -> list[Group]:
    """Each under its strategy, and what sets it apart from others of that name if it is short."""
    names = [str(group.runs[0].results["strategy"]) for group in groups]
    taken: list[str] = []
    for group, name in zip(groups, names, strict=True):
        same = [other for other, n in zip(groups, names, strict=True) if n == name]
        keys, alone = differing(same)
        told = [f"{_last(k)}={group.settings.get(k, '-')}" for k in [*keys, *alone]]
        text = " ".join([name, *dict.fromkeys(told)])
        if len(text) > _LONGEST_LABEL or text in taken:
            text = next(f"{name} {n}" for n in range(1, 10_000) if f"{name} {n}" not in taken)
        taken.append(text)
    return [Group(text, g.runs, g.settings) for text, g in zip(taken, groups, strict=True)]


def _last(key: str) -> str:
    """The end of a dotted key that says what it is."""
    parts = key.split(".")
    return ".".join(parts[-2:]) if parts[-1].isdecimal() or parts[-1][0] == "_" else parts[-1]


def _check_streams(groups: Sequence[Group], pool: bool) -> str:
    """Runs of one seed must share a stream, and runs of a group too unless the seed draws it."""
    runs = [run for group in groups for run in group.runs]
    if len({run.results.get("stream_hash") for run in runs}) == 1:
        return "All runs saw the same stream." if len(runs) > 1 else ""
    clash = _clash(runs)
    if clash is None:
        return "The seed draws the stream too; runs of the same seed saw the same one."
    if pool:
        return "Pooled: runs of different streams were averaged, because pool=true was given."
    first, second = clash
    raise InputError(
        f"{first.folder.name} and {second.folder.name} saw different streams ({_hash(first)} and "
        f"{_hash(second)}), so their mean or difference says little; leave one out, run them anew "
        "on the same data, or give pool=true"
    )


def _clash(runs: Sequence[StoredRun]) -> tuple[StoredRun, StoredRun] | None:
    """Two runs of different streams that no seed of the stream explains."""
    for place, first in enumerate(runs):
        for second in runs[:place]:
            if first.results.get("stream_hash") == second.results.get("stream_hash"):
                continue
            if _stream_seeds(first) == _stream_seeds(second) or _plan(first) != _plan(second):
                return second, first
    return None


def _stream_seeds(run: StoredRun) -> dict[str, Any]:
    """What draws the stream; of a run without a config nothing is known to."""
    values = flat(run.config)
    return {
        k: v for k, v in values.items() if k.startswith("scenario.") and k.split(".")[-1] == "seed"
    }


def _plan(run: StoredRun) -> Any:
    """How many stages and classes there are, which no seed changes."""
    stages = run.results.get("composition") or []
    return len(stages), sum(len(stage.get("novel_classes") or ()) for stage in stages)


def _hash(run: StoredRun) -> str:
    return str(run.results.get("stream_hash"))[:10]


def _text(values: Mapping[str, Any]) -> str:
    return "\n".join(f"{key}={value!r}" for key, value in sorted(values.items()))
