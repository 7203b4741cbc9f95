"""What TensorBoard shows of a run as a whole: a page of text, its settings, the order of charts."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tensorboard.compat.proto.summary_pb2 import Summary
from torch.utils.tensorboard.summary import custom_scalars, hparams, text

from cgcd.tracking.names import markdown, one_line

HEADLINE = "run/headline"

_DIALECTS = [
    r"(test|unlabeled)/accuracy/all$",
    r"(test|unlabeled)/held/all$",
    r"(test|unlabeled)/greedy/all$",
    "stream/strict/all$",
    r"stream/(strict_)?pruned/all$",
]
_BESIDE = [
    r"(test|unlabeled)/floor/kmeans_all$",
    r"(test|unlabeled)/floor/nearest_mean_all$",
    r"(test|unlabeled)/bound/closed_set_all$",
    r"stream/floor/leader_strict_all$",
    r"stream/bound/closed_set_strict_all$",
]
LAYOUT = {
    "Accuracy": {
        "all dialects, floors and bound": ["Multiline", [*_DIALECTS, *_BESIDE]],
        "joint: all, known, novel, base, rest, earlier": [
            "Multiline",
            [r"(test|unlabeled)/accuracy/", r"stream/strict/"],
        ],
        "held: a base row counts for its own class only": [
            "Multiline",
            [r"(test|unlabeled)/held/", r"stream/identity/"],
        ],
        "greedy": ["Multiline", [r"(test|unlabeled)/greedy/"]],
    },
    "Forgetting": {
        "M_f and M_d": ["Multiline", [r"test/forgetting/"]],
        "base and earlier classes": [
            "Multiline",
            [r"test/accuracy/(base|earlier)$", r"test/held/base$"],
        ],
        "drift, mean cosine to the first": ["Multiline", [r"(unlabeled/|test/)?drift/"]],
    },
    "Categories": {
        "number": ["Multiline", [r"stage/num_", r"stage/found$", r"stream/(categories|created)$"]],
        "share of predictions and of truth": ["Multiline", [r"(unlabeled/|test/)?share/"]],
        "novelty, area under the curve": ["Multiline", [r"test/novelty/.*auroc$"]],
    },
    "Training": {
        "loss terms": ["Multiline", [r"train/loss/"]],
        "norm of gradients": ["Multiline", [r"train/gradient_norm/"]],
        "norm of weights": ["Multiline", [r"train/weight_norm/"]],
    },
    "Cost": {
        "seconds by phase": ["Multiline", [r"seconds/"]],
        "peak memory, MiB": ["Multiline", [r"memory/"]],
        "samples a second in training": ["Multiline", [r"throughput/"]],
    },
}
_PLAIN = ("scenario", "strategy", "seed", "num_novel")


def run_summaries(facts: Mapping[str, Any]) -> list[Summary]:
    """Records to write once, at the start: text page, settings, order of the charts."""
    values = {name: facts[name] for name in _PLAIN if name in facts} | dict(facts["settings"])
    model = facts.get("model") or {}
    if "origin" in model:
        values["backbone"] = model["origin"]
    kept = {name: one_line(v) if isinstance(v, str) else v for name, v in values.items()}
    experiment, start, _ = hparams(kept, {HEADLINE: 0.0})
    return [text("run/description", description(facts)), experiment, start, custom_scalars(LAYOUT)]


def last_summary() -> Summary:
    """The record that says that a run ended well."""
    return hparams({}, {})[2]


def description(facts: Mapping[str, Any]) -> str:
    """The text page as Markdown: what ran, on what stream, with what versions; names are shown."""
    lines = [f"# {markdown(facts.get('strategy'))} on {markdown(facts.get('scenario'))}", ""]
    rows: list[tuple[str, Any]] = [
        ("seed", facts.get("seed")),
        ("number of novel classes", facts.get("num_novel")),
        ("stages", facts.get("num_stages")),
        ("hash of the stream", facts.get("stream_hash")),
        ("commit", facts.get("commit")),
        ("machine", facts.get("machine")),
    ]
    model = facts.get("model") or {}
    rows += _flat("model", model)
    rows += sorted((facts.get("versions") or {}).items())
    lines += _table("what", "value", rows)
    stages = facts.get("composition")
    if isinstance(stages, list) and stages and isinstance(stages[0], Mapping):
        lines += ["", "## Protocol", "", *_stages(stages)]
    lines += ["", "## Settings", ""]
    lines += _table("setting", "value", sorted(facts.get("settings", {}).items()))
    return "\n".join(lines) + "\n"


def _flat(name: str, value: Any) -> list[tuple[str, Any]]:
    """Dotted names of what mappings in mappings hold."""
    if not isinstance(value, Mapping):
        return [(name, value)]
    return [pair for key in sorted(value) for pair in _flat(f"{name}.{key}", value[key])]


def _table(left: str, right: str, rows: list[tuple[str, Any]]) -> list[str]:
    told = [(name, value) for name, value in rows if value is not None]
    body = [f"| {markdown(name)} | {markdown(value)} |" for name, value in told]
    return [f"| {left} | {right} |", "| --- | --- |", *body]


def _stages(stages: list[Mapping[str, Any]]) -> list[str]:
    names = list(dict.fromkeys(name for stage in stages for name in stage if name != "stage"))
    head = ["stage", *map(markdown, names)]
    lines = [f"| {' | '.join(head)} |", f"|{' --- |' * len(head)}"]
    for number, stage in enumerate(stages):
        cells = [str(number), *(markdown(_shown(stage.get(name, ""))) for name in names)]
        lines.append(f"| {' | '.join(cells)} |")
    return lines


def _shown(value: Any) -> str:
    whole = str(value)
    return whole if len(whole) <= 120 else f"{whole[:117]}..."
