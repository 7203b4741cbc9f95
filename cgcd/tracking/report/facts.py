"""What a run was: its method, its stream, what it was told, where it ran."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from cgcd.tracking.report.folder import ONLINE, PARTS, SINGLE_STAGE, StoredRun
from cgcd.tracking.report.grouping import flat
from cgcd.tracking.report.markup import Markup, element, lines, named
from cgcd.tracking.report.page import folded, table
from cgcd.tracking.table import count_line

_MOST_SETTINGS = 400


def facts_table(run: StoredRun) -> Markup:
    """Name and value, a line each; what nobody recorded is left out."""
    known = run.results
    rows: list[tuple[str, Any]] = [
        ("strategy", named(known["strategy"])),
        ("scenario", named(known["scenario"])),
        ("what came", _stream(run)),
        ("protocol", _protocol(run.config)),
        ("novel classes", _num_novel(run)),
        ("seed", known["seed"]),
        ("model", _model(known.get("model"))),
        ("warm-up", _warm_up(known.get("warm_up"))),
        ("stream hash", known.get("stream_hash")),
        ("commit", known.get("commit")),
        ("versions", _pairs(known.get("versions"))),
        ("machine", known.get("machine")),
        ("folder", named(run.folder.name)),
    ]
    return table(("", ""), [row for row in rows if row[1]], num_texts=2)


def settings(run: StoredRun) -> Markup:
    """The whole config, folded."""
    values = list(flat(run.config).items())
    if not values:
        return Markup("")
    text = "\n".join(f"{key}: {value}" for key, value in values[:_MOST_SETTINGS])
    if len(values) > _MOST_SETTINGS:
        text += f"\n... and {len(values) - _MOST_SETTINGS} more, see config.yaml"
    return folded("every setting", element("pre", lines(text)))


def _stream(run: StoredRun) -> str:
    known = run.results
    if run.setting == ONLINE:
        names = len(known.get("known_class_names", ()))
        return (
            f"a labeled base stage of {names} classes, then {known.get('stream_length')} samples "
            f"one by one, measured every {known.get('window')}"
        )
    if run.setting == SINGLE_STAGE:
        sizes = (f"{count} {PARTS.get(part, part)}" for part, count in known["parts"].items())
        return f"one stage of labeled and unlabeled samples; measured on {' and '.join(sizes)}"
    stages = known.get("composition") or []
    new = [len(s["novel_classes"]) for s in stages if s.get("novel_classes") is not None]
    text = f"{known['num_stages']} stages"
    if len(new) == len(stages) and new:
        each = ", ".join(map(str, new[1:]))
        text += f": {new[0]} base classes, then {each} new ones"
    return text


def _protocol(config: Mapping[str, Any]) -> str:
    scenario = config.get("scenario")
    protocol = scenario.get("protocol") if isinstance(scenario, Mapping) else None
    return _pairs(protocol) if isinstance(protocol, Mapping) else ""


def _num_novel(run: StoredRun) -> str:
    known = run.results
    if run.setting == ONLINE:
        rule = str((known.get("codes") or {}).get("rule", ""))
        told = rule if rule.startswith("oracle") else "their number is told to nobody"
        true = run.rows[-1].get("stream/true_novel")
        return told if true is None else f"{told}; in truth {int(true)}"
    if "counts" in known:
        return count_line(known).removeprefix("number of novel classes: ")
    if run.setting == SINGLE_STAGE:
        row = run.rows[0]
        novel = int(row["stage/num_classes"] - row["stage/num_known"])
        true = known.get("true_novel")
        return f"{known['num_novel']}, {novel}" + ("" if true is None else f"; in truth {true}")
    return str(known["num_novel"])


def _model(model: Any) -> str:
    if not isinstance(model, Mapping):
        return ""
    text = f"weights: {model.get('origin')}"
    if model.get("parameters"):
        text += f"; {model['parameters']:,} parameters, {model.get('trainable', 0):,} trainable"
    if model.get("precision", "fp32") != "fp32":
        text += f"; trunk and tail in {model['precision']}"
    if model.get("compiled"):
        text += "; compiled"
    return text


def _warm_up(told: Any) -> str:
    if not isinstance(told, Mapping):
        return ""
    return f"{told.get('steps')} steps on the labeled base samples before stage 0"


def _pairs(values: Any) -> str:
    if not isinstance(values, Mapping):
        return ""
    return ", ".join(f"{key} {value}" for key, value in values.items() if key != "_target_")
