"""The one table's runs as text: means over seeds and stages, as Markdown or HTML."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from html import escape
from typing import Any

import numpy as np
from _table_cells import Cell

CAPTION = (
    "CIFAR-100's embeddings and photos come from a network trained on ImageNet's labels, which has "
    "seen many of the novel classes under other names; Omniglot's from one that saw the background "
    "alphabets. Strategies that learn have a small map of the embeddings to train, 10 epochs a "
    "stage; the closed-form ones take the embeddings as they come. Photos: reduced, 96 pixels, 1 "
    "seed, at most 5 epochs a stage."
)
GROUPS = ("all", "known", "novel")
NAMES = {
    "happy": "Happy",
    "happy_memory": "Happy, analytic memory beside it",
    "proto_gcd": "ProtoGCD",
    "simgcd": "SimGCD, stage after stage",
    "gcd": "GCD",
    "nmc": "NMC",
    "gaussian": "Gaussian",
    "analytic": "Analytic",
    "vb_cgcd": "VB-CGCD, as published",
    "vb_cgcd_closed": "VB-CGCD, closed form",
    "phe": "PHE",
    "smile": "SMILE",
    "prototype_memory": "prototype memory",
}
TITLES = {
    "digits": "Digits, 5 + 5 x 1 classes, stage by stage",
    "cifar100": "CIFAR-100 embeddings, 50 + 5 x 10 classes, stage by stage",
    "omniglot": "Omniglot embeddings, 100 + 5 x 20 characters, stage by stage",
    "digits_stream": "Digits one at a time, 5 + 5 classes",
    "cifar100_stream": "CIFAR-100 embeddings one at a time, 50 + 50 classes",
    "omniglot_stream": "Omniglot embeddings one at a time, 100 + 100 characters",
    "photos": "CIFAR-100 photos, 50 + 5 x 10 classes, reduced",
}
Row = dict[str, Any]
Table = tuple[list[str], list[list[str]]]
"""Head and rows."""


def spread(values: Sequence[float | None], scale: float = 100.0, digits: int = 1) -> str:
    """Mean, and deviation where there are several values."""
    known = [scale * value for value in values if value is not None]
    if not known:
        return "-"
    deviation = f" ± {np.std(known):.{digits}f}" if len(known) > 1 else ""
    return f"{np.mean(known):.{digits}f}{deviation}"


def over_stages(row: Row, key: str) -> float | None:
    """Mean over the continual stages; None where one lacks it."""
    values = [stage[key] for stage in row["stages"][1:] if key in stage]
    return float(np.mean(values)) if values and len(values) == len(row["stages"]) - 1 else None


def in_groups(rows: Sequence[Row], front: str) -> str:
    """All, known and novel: means over stages and seeds."""
    return " / ".join(spread([over_stages(row, front + group) for row in rows]) for group in GROUPS)


def at_stage(rows: Sequence[Row], stage: int) -> str:
    """All, known and novel at one stage, means over the seeds."""
    found = [[row["stages"][stage].get(f"accuracy/{group}") for row in rows] for group in GROUPS]
    return "/".join("-" if None in part else f"{100 * np.mean(part):.1f}" for part in found)


def costs(rows: Sequence[Row]) -> list[str]:
    return [
        spread([row["processor_seconds"] for row in rows], 1, 0),
        f"{max(row['peak_mib'] for row in rows):.0f}",
    ]


def staged_table(rows: dict[str, list[Row]]) -> Table:
    """One row a strategy, and floors and bound of the features as they come."""
    num_stages = max(len(row["stages"]) for group in rows.values() for row in group)
    head = ["strategy", "seeds", "mean All / Known / Novel"]
    head += [f"stage {t}" for t in range(1, num_stages)]
    head += ["M_f", "M_d", "count error", "bound All", "s", "MiB"]
    lines = []
    for name, runs in rows.items():
        last = [run["stages"][-1] for run in runs]
        cells = [
            name,
            str(len(runs)),
            in_groups(runs, "accuracy/"),
            *(at_stage(runs, t) for t in range(1, num_stages)),
            spread([stage.get("forgetting/m_f") for stage in last]),
            spread([stage.get("forgetting/m_d") for stage in last]),
            spread([over_stages(run, "stage/count_error") for run in runs], 1, 2),
            spread([over_stages(run, "bound/closed_set_all") for run in runs]),
            *costs(runs),
        ]
        lines.append(cells)
    if "nmc" in rows:
        for name in ("nearest_mean", "kmeans"):
            cells = [
                f"floor: {name}",
                str(len(rows["nmc"])),
                in_groups(rows["nmc"], f"floor/{name}_"),
            ]
            lines.append([*cells, *[""] * (len(head) - len(cells))])
    return head, lines


def stream_table(rows: dict[str, list[Row]]) -> Table:
    """One row a method, beside the bound and the untrained leader of the same runs."""
    head = ["method", "seeds", "strict All / Known / Novel", "pruned All", "known named"]
    head += ["created", "bound All", "leader All", "s", "MiB"]
    lines = []
    for name, runs in rows.items():
        ends = [run["stages"][-1] for run in runs]

        def column(key: str, scale: float = 100.0, last: Sequence[Row] = ends) -> str:
            return spread([end.get(key) for end in last], scale)

        lines.append(
            [
                name,
                str(len(runs)),
                " / ".join(column(f"strict/{group}") for group in GROUPS),
                column("pruned/all"),
                column("identity/known"),
                f"{column('stream/created', 1)} of {column('stream/true_novel', 1)}",
                column("bound/closed_set_strict_all"),
                column("floor/leader_strict_all"),
                *costs(runs),
            ]
        )
    return head, lines


Rows = dict[str, dict[str, list[Row]]]
"""By data set and strategy, one a seed."""


def short_table(found: Rows) -> Table:
    """Means over stages and seeds, one row a strategy and one column a data set with stages."""
    datasets = [dataset for dataset in found if not dataset.endswith("_stream")]
    staged = {dataset: found[dataset] for dataset in datasets if dataset != "photos"}
    head = ["mean All / Known / Novel; All where counts are estimated", *staged]
    head += ["M_f, s: cifar100"] * ("cifar100" in staged)
    best = {
        d: max(_mean_all(runs, "accuracy/") for runs in rows.values()) for d, rows in staged.items()
    }
    lines = []
    for name in (name for name in NAMES if any(name in rows for rows in staged.values())):
        cells = [NAMES[name]]
        for dataset, rows in staged.items():
            runs, guessed = rows.get(name, []), rows.get(f"{name}-estimated", [])
            cells.append(_short(runs, "accuracy/", best[dataset]))
            cells[-1] += f"; {_mean_all(guessed, 'accuracy/'):.1f}" if guessed else ""
        runs = staged.get("cifar100", {}).get(name, [])
        if runs:
            forgotten = spread([run["stages"][-1].get("forgetting/m_f") for run in runs])
            cells.append(f"{forgotten.split()[0]}, {costs(runs)[0].split()[0]}")
        lines.append(cells)
    floors = (
        ("floor: nearest mean with k-means", "floor/nearest_mean_"),
        ("floor: k-means", "floor/kmeans_"),
        ("closed-set bound", "bound/closed_set_"),
    )
    for title, front in floors:
        cells = [_short(rows.get("nmc", []), front, math.inf) for rows in staged.values()]
        lines.append([title, *cells, *[""] * (len(head) - 1 - len(cells))])
    return head, lines


def short_stream_table(found: Rows) -> Table:
    """The same of the streams, with categories, bound and leader of each method's own runs."""
    streams = {d.removesuffix("_stream"): rows for d, rows in found.items() if "_stream" in d}
    head = ["strict All / Known / Novel; created; bound, leader All", *streams]
    lines = []
    for name in (name for name in NAMES if any(name in rows for rows in streams.values())):
        cells = [NAMES[name]]
        for rows in streams.values():
            ends = [run["stages"][-1] for run in rows.get(name, [])]

            def mean(key: str, scale: float = 100.0, last: Sequence[Row] = tuple(ends)) -> str:
                return f"{scale * np.mean([end[key] for end in last]):.1f}" if last else "-"

            made = f"{mean('stream/created', 1)} of {mean('stream/true_novel', 1)}"
            beside = mean("bound/closed_set_strict_all"), mean("floor/leader_strict_all")
            parts = [spread([end["strict/all"] for end in ends])]
            parts += [mean(f"strict/{group}") for group in GROUPS[1:]]
            cells.append(f"{' / '.join(parts)}; {made}; {', '.join(beside)}")
        lines.append(cells)
    return head, lines


def _mean_all(runs: Sequence[Row], front: str) -> float:
    values = [over_stages(run, f"{front}all") for run in runs]
    return 100 * float(np.mean([value for value in values if value is not None] or [math.nan]))


def _short(runs: Sequence[Row], front: str, best: float) -> str:
    """All with its deviation, Known, Novel; bold where All is the best."""
    first, *others = (spread([over_stages(run, front + group) for run in runs]) for group in GROUPS)
    first = f"**{first}**" if _mean_all(runs, front) >= best else first
    return " / ".join([first, *(other.split()[0] for other in others if other != "-")])


def as_markdown(title: str, table: Table) -> str:
    head, rows = table
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(["", f"**{title}**", "", *("| " + " | ".join(row) + " |" for row in lines)])


def as_html(title: str, table: Table) -> str:
    """A table that is opened by a click, in one line."""

    def line(cells: Sequence[str], tag: str) -> str:
        return "<tr>" + "".join(f"<{tag}>{escape(cell)}</{tag}>" for cell in cells) + "</tr>"

    head, rows = table
    body = line(head, "th") + "".join(line(row, "td") for row in rows)
    return f"<details><summary>{escape(title)}</summary><table>{body}</table></details>"


def print_tables(
    found: dict[Cell, Row], write: Callable[[str, Table], str], is_short: bool
) -> None:
    by_dataset: Rows = {}
    for cell, row in found.items():
        by_dataset.setdefault(cell.dataset, {}).setdefault(cell.strategy, []).append(row)
    if is_short:
        print(write("stages", short_table(by_dataset)))
        print(write("streams", short_stream_table(by_dataset)))
    for dataset, rows in ({} if is_short else by_dataset).items():
        table = stream_table if dataset.endswith("_stream") else staged_table
        print(write(TITLES[dataset], table(rows)))
    commits = sorted({row["commit"][:7] for row in found.values()})
    print(f"\n{CAPTION} Commit {', '.join(commits)}.")
