"""`cgcd run`: compose, build, hand over to the stage loop."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import Any

from cgcd.cli.messages import exit_code
from cgcd.cli.several import one_voice


def run(arguments: Sequence[str]) -> int:
    """Run one config, or a sweep with `-m`; everything after `cgcd run` as Hydra takes it."""
    return exit_code(lambda: _run(arguments), "the same command goes on from the last checkpoint")


def execute(config: Any, chosen: Mapping[str, str]) -> int:
    """Build the parts of one run from its composed config and run it.

    Raises:
        InputError: if something given cannot be used; what is wrong in the config is said before
            anything is written.
    """
    from cgcd.cli.folders import (
        PICTURE,
        PROFILE,
        RESULTS,
        run_folder,
        stored_results,
        take_folder,
    )
    from cgcd.cli.settings import check_settings

    content = check_settings(config, chosen)
    folder = run_folder(content, chosen)
    title = f"{chosen['scenario']}, {chosen['strategy']}, seed {config.seed}: {folder}"
    stored = None if config.overwrite else stored_results(folder)
    if stored is not None:  # needs neither torch nor Avalanche
        print(title)
        print(_table(stored))
        if not (folder / PICTURE).is_file():  # the run was broken off between results and picture
            _draw_pictures(stored, folder)
        print(_summary(stored))
        print("finished before; overwrite=true runs it anew")
        return 0
    from cgcd.cli.facts import place_facts
    from cgcd.cli.parts import Parts
    from cgcd.engine.cache import write_text
    from cgcd.engine.processes import is_first, wait_for_all
    from cgcd.engine.profiling import profiled

    parts = Parts.build(config, folder)
    if is_first():
        take_folder(folder, _yaml(config), config.overwrite)
    wait_for_all()
    print(title)
    is_watched = config.get("profile") and is_first()
    with profiled(parts.strategy, folder / PROFILE) if is_watched else nullcontext() as times:
        result = parts.run(folder, {**place_facts(config), "model": parts.describe()}).to_json()
    if not is_first():
        return 0
    write_text(folder / RESULTS, json.dumps(result, indent=1))  # also where no stage was left to do
    _draw_pictures(result, folder)
    print(_summary(result))
    if config.get("analysis"):
        print(_analysis_line(result))
    if times is not None:
        print(times.table())
    print(f"results:     {folder}")
    if parts.tensorboard is not None:
        print(f"TensorBoard: tensorboard --logdir {config.runs_root}")
    return 0


def _draw_pictures(result: Mapping[str, Any], folder: Path) -> None:
    """Counts and curves of a finished run, each whole or not at all; the curves last."""
    from cgcd.cli.folders import COUNTS_PICTURE, PICTURE
    from cgcd.tracking.counts import draw_counts
    from cgcd.tracking.curves import draw_curves

    pictures = {COUNTS_PICTURE: draw_counts} if result.get("counts") else {}
    for name, draw in {**pictures, PICTURE: draw_curves}.items():
        temporary = folder / f".new-{name}"
        draw(result, temporary)
        temporary.replace(folder / name)


def _run(arguments: Sequence[str]) -> int:
    with one_voice(arguments):
        if any(argument.startswith("-") for argument in arguments):
            from cgcd.cli.front import through_hydra

            return through_hydra(arguments, execute)
        from cgcd.cli.configs import compose_run

        return execute(*compose_run(arguments))


def _table(results: Mapping[str, Any]) -> str:
    from cgcd.tracking import part_table, stream_table, table

    if results.get("setting") == "online":
        rows = map(stream_table.stream_row, results["windows"])
        return "\n".join([stream_table.HEADER, *rows])
    if results.get("setting") == "single_stage":
        return "\n".join([part_table.HEADER, *map(part_table.part_rows, results["stages"])])
    return table.table(results["stages"])


def _summary(results: Mapping[str, Any]) -> str:
    from cgcd.tracking import part_table, stream_table, table

    summaries = {"online": stream_table.stream_summary, "single_stage": part_table.part_summary}
    return summaries.get(results.get("setting", ""), table.summary)(results)


def _analysis_line(results: Mapping[str, Any]) -> str:
    """What the analysis cost beside the run's own seconds."""
    rows = results.get("windows", results["stages"])
    costs = [row.get("seconds_analysis", 0.0) for row in rows]
    whole = sum(row["seconds"] for row in rows)
    return f"analysis:    {sum(costs):.1f} of {whole:.1f} s, at most {max(costs):.1f} s a stage"


def _yaml(config: Any) -> str:
    from omegaconf import OmegaConf

    return OmegaConf.to_yaml(config, resolve=True)
