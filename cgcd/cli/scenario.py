"""`cgcd scenario show`: what a config's stream holds, as a table and as a picture."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from cgcd.cli.messages import exit_code, log_lines
from cgcd.vocabulary import InputError

_PICTURE = "composition.png"
_USAGE = """\
cgcd scenario show [group=choice ...] [path.to.key=value ...] [out=FILE]

  Composes as cgcd run does, trains nothing, and prints what each stage holds: known and novel
  classes, labeled, unlabeled and test samples, samples by class, what comes back, and the stream
  hash that is stored with every result. The picture goes to composition.png, or to out=FILE.

  cgcd scenario show
  cgcd scenario show protocol@scenario.protocol=digits_si_blurry seed=1
  cgcd scenario show scenario=cifar100 data_root=DIR out=cifar100.pdf

cgcd help protocols names the families of protocols.
"""


def scenario(arguments: Sequence[str]) -> int:
    """Run `cgcd scenario ...`; everything after the word show as `cgcd run` takes it."""
    return exit_code(lambda: _scenario(arguments), "nothing was written")


def _scenario(arguments: Sequence[str]) -> int:
    if {"-h", "--help"} & set(arguments):
        print(_USAGE, end="")
        return 0
    if arguments[:1] != ["show"]:
        given = arguments[0] if arguments else "nothing"
        raise InputError(
            f"cgcd scenario got {given!r}; wanted show: cgcd scenario show scenario=NAME"
        )
    overrides, path = _without_out(arguments[1:])
    flags = [argument for argument in overrides if argument.startswith("-")]
    if flags:
        raise InputError(
            f"cgcd scenario show does not know {flags[0]}; wanted group=choice and key=value:"
            " leave it out, or see cgcd scenario --help"
        )
    from cgcd.cli.configs import compose_run

    with log_lines(logging.WARNING):
        return _show(*compose_run(overrides), path)


def _show(config: Any, chosen: dict[str, str], path: Path) -> int:
    for key, value in (("pretrained", False), ("weights", None)):  # the input size is all it wants
        if key in config.model:
            config.model[key] = value
    from cgcd.cli.settings import check_settings

    check_settings(config, chosen)
    _check_picture(path)
    from cgcd.cli.parts import instantiated
    from cgcd.engine.seeding import isolated_randomness
    from cgcd.tracking.composition import composition_text, stage_counts
    from cgcd.tracking.composition_picture import draw_composition

    with isolated_randomness(config.seed, "model"):
        inputs = instantiated(config.model, "model").inputs
    built = instantiated(config.scenario, "scenario", inputs=inputs)
    counts = stage_counts(built)
    protocol = chosen.get("protocol@scenario.protocol")
    title = f"{built.name}, {f'protocol {protocol}, ' if protocol else ''}seed {config.seed}"
    kinds = {"online": "on-line stream", "single_stage": "single stage"}
    number = f"{len(counts) - 1} continual stages, {len(built.class_names)} classes"
    print(f"{title}: {kinds.get(built.setting, number)}")
    print(composition_text(built, counts))
    draw_composition(counts, built.class_names, title, path)
    print(f"picture:     {path}")
    return 0


def _without_out(arguments: Sequence[str]) -> tuple[list[str], Path]:
    """The overrides, and where the picture goes."""
    given = [argument.partition("=")[2] for argument in arguments if argument.startswith("out=")]
    if "" in given:
        raise InputError(f"out= names no file; wanted a picture: out={_PICTURE}")
    kept = [argument for argument in arguments if not argument.startswith("out=")]
    return kept, Path(given[-1] if given else _PICTURE)


def _check_picture(path: Path) -> None:
    """Refuses a place or a kind of picture that cannot be written, before anything is built."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    known = sorted(FigureCanvasAgg.get_supported_filetypes())
    if path.suffix.lstrip(".").lower() not in known:
        raise InputError(
            f"out={path} has no suffix of a picture; wanted one of {', '.join(known)}:"
            f" out={path.with_suffix('.png').name or _PICTURE}"
        )
    if not path.resolve().parent.is_dir() or path.is_dir():
        raise InputError(
            f"out={path} cannot be written; wanted a file in a folder that is there:"
            f" make {path.resolve().parent} first, or out={_PICTURE}"
        )
