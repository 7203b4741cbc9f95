"""`cgcd tune`: compares settings on hidden known classes, then names the best as a command."""

from __future__ import annotations

import logging
import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from cgcd.cli.messages import exit_code, log_lines
from cgcd.vocabulary import InputError

_KEYS = ("grid", "num_random", "num_folds", "hidden", "held_out", "kept_for_later", "num_stages")
_FRONTS = ("strategy.", "model.", "scenario.")
_SCENARIO = "scenario.protocol"  # what is asked, not how it is answered


def tune(arguments: Sequence[str]) -> int:
    """Compare the candidates of one config; everything after `cgcd tune` as Hydra takes it."""
    return exit_code(lambda: _tune(arguments), "the same command goes on after the last whole run")


def execute(config: Any, chosen: Mapping[str, str], arguments: Sequence[str]) -> int:
    """Compare the candidates of a composed config and print the table.

    Args:
        config: composed, with its block `tune`.
        chosen: file of every group.
        arguments: as typed, for the command that runs the best.

    Raises:
        InputError: if something given cannot be used; nothing is written before.
    """
    from cgcd.cli.folders import TUNING, run_folder, stored_results, take_folder
    from cgcd.cli.settings import check_settings
    from cgcd.tracking.tune_table import HEADER, trial_row, tune_summary

    settled = without_settled(config, arguments)
    content = check_settings(config, chosen)
    folder = run_folder(content, chosen, front="tune-")
    title = f"tune {chosen['scenario']}, {chosen['strategy']}, seed {config.seed}: {folder}"
    stored = None if config.overwrite else stored_results(folder, TUNING, ("finished", "table"))
    if stored is not None:  # needs neither torch nor Avalanche
        print(title)
        print(tune_summary(stored))
        print("finished before; overwrite=true runs it anew")
        return 0
    from omegaconf import OmegaConf

    from cgcd.cli.facts import place_facts
    from cgcd.engine.tuning import tune as compare

    trials = _Trials(config, chosen, dict(content["tune"]), folder)
    trials.check()
    take_folder(folder, OmegaConf.to_yaml(config, resolve=True), config.overwrite)
    print(title)
    for name in settled:
        print(f"{name} is as you set it; tune.grid.{name}=[...] tries values of it")
    print(f"the default and {len(trials.candidates)} candidates; equal ones run once")
    print(HEADER)

    def done(trial: Any, number: int, total: int) -> None:
        trials.close()
        print(trial_row(trial, number, total), flush=True)

    facts = {
        "scenario": chosen["scenario"],
        "strategy": chosen["strategy"],
        "seed": config.seed,
        "settings": content["tune"],
        **place_facts(config),
    }
    try:
        result = compare(
            trials.build,
            trials.candidates,
            trials.num_folds,
            folder,
            identity=trials.identity,
            facts=facts,
            command=lambda best: command(arguments, best),
            on_trial=done,
        )
    finally:
        trials.close()
    print(tune_summary(result.to_json()))
    print(f"results:   {folder}")
    return 0


def without_settled(config: Any, arguments: Sequence[str]) -> list[str]:
    """Take keys out of the grid that the command line gives a value; which ones those were.

    Those for which it names values to try stay.
    """
    from omegaconf import OmegaConf

    typed = dict.fromkeys(map(_key, arguments))
    asked = tuple(key for key in typed if key.startswith("tune.grid"))
    settled = []
    for key in typed:
        front, _, name = key.rpartition(".")
        values = OmegaConf.select(config, f"tune.grid.{front}")
        here = front and OmegaConf.is_dict(values) and OmegaConf.is_list(values.get(name))
        if here and not f"tune.grid.{key}".startswith(asked):
            del values[name]
            settled.append(key)
    return settled


def command(arguments: Sequence[str], best: Mapping[str, Any]) -> str:
    """The `cgcd run` of the same arguments with other values."""
    from cgcd.cli.configs import value_text

    kept = [
        argument
        for argument in arguments
        if _key(argument) not in {*best, "tune", "overwrite"}
        and not _key(argument).startswith("tune.")
    ]
    words = ["cgcd", "run", *kept, *(f"{name}={value_text(value)}" for name, value in best.items())]
    return " ".join(map(shlex.quote, words))


def _key(argument: str) -> str:
    return argument.lstrip("+~").partition("=")[0]


def _tune(arguments: Sequence[str]) -> int:
    typed = [f"++{a}" if a.startswith("tune.grid.") else a for a in arguments]  # new keys too
    if {"-m", "--multirun"} & set(typed):
        raise InputError("cgcd tune goes through its own grid; give tune.grid.KEY=[1,2], not -m")
    with log_lines(logging.WARNING, once=True):
        if any(argument.startswith("-") for argument in typed):
            from cgcd.cli.front import through_hydra

            return through_hydra(typed, lambda *composed: execute(*composed, arguments), "tune")
        from cgcd.cli.configs import compose_run

        return execute(*compose_run(typed, "tune"), arguments)


class _Trials:
    """The configs of all candidates and what is built from them.

    Args:
        config: composed.
        chosen: file of every group.
        settings: its block `tune`, as plain data.
        folder: of the comparison.
    """

    def __init__(
        self, config: Any, chosen: Mapping[str, str], settings: dict[str, Any], folder: Path
    ) -> None:
        from omegaconf import OmegaConf

        from cgcd.cli.configs import with_values
        from cgcd.engine.candidates import flat_grid, grid_candidates

        foreign = sorted(settings.keys() ^ set(_KEYS))
        if foreign:
            raise InputError(f"tune has the keys {sorted(settings)}; wanted {', '.join(_KEYS)}")
        if not isinstance(settings["grid"], dict):
            raise InputError(f"tune.grid is {settings['grid']}; wanted lists of values by key")
        grid = flat_grid(settings.pop("grid"))
        self.chosen, self.folder = chosen, folder
        self.candidates = grid_candidates(grid, settings.pop("num_random"), config.seed)
        self.num_folds = settings["num_folds"]
        self.settings = settings
        if not grid:
            raise InputError(
                f"there is no grid for {chosen['strategy']}; give values to try: "
                "tune.grid.strategy.base.optimizer.lr=[0.01,0.1]"
            )
        for name in grid:
            if not name.startswith(_FRONTS) or f"{name}.".startswith(f"{_SCENARIO}."):
                raise InputError(
                    f"tune.grid has values for {name}; wanted keys below "
                    f"{', '.join(front[:-1] for front in _FRONTS)}, and not {_SCENARIO}, which is "
                    "the question and not the answer"
                )
        self._config = OmegaConf.masked_copy(config, [key for key in config if key != "tune"])
        self._config.tracking = {}
        self._config.outliers = None
        if isinstance(self._config.num_novel, int):  # told of other stages than those inside
            self._config.num_novel = "given"
        with_values(self._config, self.candidates[0])
        self._open: Any = None
        self._data: list[str] = []  # who is where inside, and what the samples are

    def config(self, values: Mapping[str, Any]) -> Any:
        """Of one candidate."""
        from cgcd.cli.configs import with_values

        return with_values(self._config, values)

    def identity(self, values: Mapping[str, Any]) -> Any:
        """All that changes a candidate's result beside the fold, as plain data."""
        from cgcd.cli.folders import result_content
        from cgcd.cli.settings import check_settings

        content = check_settings(self.config(values), self.chosen)
        return {"config": result_content(content), "tune": self.settings, "data": self._data}

    def build(self, values: Mapping[str, Any], fold: int) -> tuple[Any, Any]:
        """Strategy and inner scenario, freshly built."""
        from cgcd.cli.parts import Parts
        from cgcd.engine.hidden import hidden_class_scenario

        def inner(scenario: Any) -> Any:
            return hidden_class_scenario(
                scenario, fold=fold, seed=self._config.seed, **self.settings
            )

        self._open = Parts.build(self.config(values), self.folder, inner)
        return self._open.strategy, self._open.scenario

    def close(self) -> None:
        """Take the progress bar of the trial away."""
        if self._open is not None:
            self._open.close()
            self._open = None

    def check(self) -> None:
        """Build every candidate once, so that one that cannot be built is refused first.

        Other data at the same place are noticed here, and make other trials.

        Raises:
            InputError: naming the candidate.
        """
        from cgcd.cli.configs import value_text

        for values in ({}, *self.candidates):
            try:
                self.identity(values)
                _, scenario = self.build(values, 0)
                self._data = self._data or [scenario.stream_hash, scenario.data_hash]
            except InputError as error:
                name = " ".join(f"{key}={value_text(value)}" for key, value in values.items())
                raise InputError(f"{name}{': ' if name else ''}{error}") from error
            finally:
                self.close()
