"""The one table: every strategy on digits and on two files of embeddings, in stages and streams.

    python tests/benchmarks/one_table.py ROOT [--cifar100 FILE] [--omniglot FILE]
        [--photos FILE --weights FILE] [--only DATASET/STRATEGY/SEED ...] [--quick] [--show]
        [--missing] [--keep] [--html] [--short]

`--cifar100` takes embeddings with their split, `--omniglot` what `omniglot_embeddings.py` writes,
`--photos` and `--weights` the images as .npz and MobileNetV2's file. Each cell is a run of
`cgcd run` in a process of its own, in a folder under ROOT/runs; one that was run with the same
arguments is read and not run again, so the table can be made in pieces, and by several processes:
`--only 'cifar100/*/0'`. First it prints how long what is left may take, by data set; last the
tables as Markdown, or with `--html` one line each, of all cells that are there; `--short` prints
one table of all data sets with stages and another of the streams instead. `--show` runs
nothing. `--keep` stores what the tables need in one_table.json beside this file, whose cells are
shown like those of ROOT but run again where ROOT lacks them; `--missing` leaves those out.

Class counts are given, or estimated in the rows that say so. Numbers in percent; in stages All /
Known / Novel under one matching, means and deviations over the seeds; seconds are those of the
processor, one thread, reading and floors included; memory is the largest of the process.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import subprocess
import sys
from collections.abc import Iterable, Sequence
from fnmatch import fnmatch
from pathlib import Path

from _table_cells import Cell, all_cells, written_omniglot
from _table_text import GROUPS, Row, as_html, as_markdown, print_tables

from cgcd.cli.folders import stored_results

KEPT = Path(__file__).with_name("one_table.json")
NEEDED = {
    *(f"accuracy/{group}" for group in GROUPS),
    *(f"strict/{group}" for group in GROUPS),
    *(f"floor/{name}_{group}" for name in ("nearest_mean", "kmeans") for group in GROUPS),
    *("forgetting/m_f", "forgetting/m_d", "stage/count_error", "bound/closed_set_all"),
    *("pruned/all", "identity/known", "stream/created", "stream/true_novel"),
    *("bound/closed_set_strict_all", "floor/leader_strict_all"),
}
"""Of a stage's results."""


def measured(cell: Cell, root: Path) -> Row | None:
    """Results and cost of a cell that was run with the same arguments."""
    path = _cell_file(cell, root)
    if not path.exists():
        return None
    kept = json.loads(path.read_text())
    results = stored_results(root / "runs" / kept["folder"])
    if results is None or kept["arguments"] != list(cell.arguments):
        return None
    stages = [{k: v for k, v in stage.items() if k in NEEDED} for stage in results["stages"]]
    costs = {name: round(kept[name], 1) for name in ("processor_seconds", "peak_mib")}
    return {
        "arguments": _portable(cell),
        "commit": str(results["commit"]),
        **costs,
        "stages": stages,
    }


def stored(cells: Iterable[Cell]) -> dict[Cell, Row]:
    """Rows that `--keep` left, of cells that had the same arguments."""
    rows = _kept_rows()
    found = {cell: rows[cell.name] for cell in cells if cell.name in rows}
    return {cell: row for cell, row in found.items() if row["arguments"] == _portable(cell)}


def keep(found: dict[Cell, Row]) -> None:
    """Store rows; those of other data sets stay."""
    rows = _kept_rows() | {cell.name: row for cell, row in found.items()}
    lines = [f"{json.dumps(name)}: {json.dumps(rows[name])}" for name in sorted(rows)]
    KEPT.write_text("{\n" + ",\n".join(lines) + "\n}\n")


def _kept_rows() -> dict[str, Row]:
    return json.loads(KEPT.read_text()) if KEPT.exists() else {}


def _portable(cell: Cell) -> list[str]:
    """Arguments without the folders of this machine."""
    return [re.sub(r"=/\S*/", "=", argument) for argument in cell.arguments]


def run(cell: Cell, root: Path) -> None:
    """Run a cell in a process of its own, from its beginning, and store what that cost."""
    command = [sys.executable, "-m", "cgcd", "run", *cell.arguments, f"runs_root={root / 'runs'}"]
    log = root / "logs" / f"{_cell_file(cell, root).stem}.log"
    log.parent.mkdir(exist_ok=True)
    with log.open("w") as out:
        process = subprocess.Popen([*command, "overwrite=true"], stdout=out, stderr=out)
        _, status, used = os.wait4(process.pid, 0)
    printed = log.read_text()
    folder = re.search(r"^results: +(.+)$", printed, re.MULTILINE)
    if os.waitstatus_to_exitcode(status) or folder is None:
        print(f"{cell.name} failed:\n{printed[-2000:]}", flush=True)
        return
    kept = {
        "arguments": cell.arguments,
        "folder": Path(folder[1]).name,
        "processor_seconds": used.ru_utime + used.ru_stime,
        "peak_mib": used.ru_maxrss / 1024,
    }
    path = _cell_file(cell, root)
    path.parent.mkdir(exist_ok=True)
    path.write_text(json.dumps(kept))
    print(f"{cell.name}: {kept['processor_seconds']:.0f} s", flush=True)


def _cell_file(cell: Cell, root: Path) -> Path:
    return root / "cells" / f"{cell.name.replace('/', '-')}.json"


def time_left(missing: Sequence[Cell], found: dict[Cell, Row]) -> dict[str, float]:
    """Seconds of the processor by data set, from the same row where it was measured."""
    known: dict[tuple[str, str], float] = {
        (cell.dataset, cell.strategy): row["processor_seconds"] for cell, row in found.items()
    }
    left: dict[str, float] = {}
    for cell in missing:
        seconds = known.get((cell.dataset, cell.strategy), cell.guessed_seconds)
        left[cell.dataset] = left.get(cell.dataset, 0.0) + seconds
    return left


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("root", type=Path)
    for name in ("cifar100", "omniglot", "photos", "weights"):
        parser.add_argument(f"--{name}", type=Path)
    parser.add_argument("--only", nargs="*", default=["*"])
    for name in ("quick", "show", "missing", "keep", "html", "short"):
        parser.add_argument(f"--{name}", action="store_true")
    asked = parser.parse_args()
    root = asked.root.resolve()
    root.mkdir(parents=True, exist_ok=True)
    names = ("cifar100", "omniglot", "photos", "weights")
    files = {name: getattr(asked, name).resolve() for name in names if getattr(asked, name)}
    if "omniglot" in files:
        files["omniglot"] = written_omniglot(files["omniglot"], root)
    cells = all_cells(files, asked.quick)
    chosen = [cell for cell in cells if any(fnmatch(cell.name, one) for one in asked.only)]
    fresh = {cell: row for cell in cells if (row := measured(cell, root)) is not None}
    found = stored(cells) | fresh
    done = found if asked.missing else fresh
    missing = [cell for cell in chosen if cell not in done]
    left = time_left(missing, found)
    parts = ", ".join(f"{dataset} {seconds / 60:.0f}" for dataset, seconds in left.items())
    print(
        f"{len(missing)} of {len(cells)} runs to do, about {sum(left.values()) / 60:.0f} minutes "
        f"of one core ({parts})",
        flush=True,
    )
    for cell in () if asked.show else missing:
        run(cell, root)
        row = measured(cell, root)
        if row is not None:
            found[cell] = row
    found = {cell: found[cell] for cell in cells if cell in found}
    if asked.keep:
        keep(found)
    if found:
        print_tables(found, as_html if asked.html else as_markdown, asked.short)


if __name__ == "__main__":
    main()
