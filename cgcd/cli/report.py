"""`cgcd report`: one run as a page, or several side by side."""

from __future__ import annotations

import glob
import json
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from cgcd.cli.folders import NO_RESULT_KEYS, REPORT, RESULTS, TUNING
from cgcd.cli.messages import exit_code
from cgcd.vocabulary import SCHEMA_VERSION, InputError

_RUNS_ROOT, _CONFIG = "runs", "config.yaml"
_DEPTH = 4
_MOST_CONFIG_BYTES = 1_000_000
_NEEDED = ("headline", "stages", "seed", "strategy", "scenario", "num_novel", "num_stages")
_EXAMPLE = "cgcd report runs, or cgcd report runs/digits-happy-*"


@dataclass
class _Request:
    """What was asked.

    Attributes:
        words: runs, folders that hold runs, or patterns.
        out: of the page; None where it belongs to the runs.
        pool: average runs of different streams too.
    """

    words: list[str] = field(default_factory=list)
    out: Path | None = None
    pool: bool = False


def report(arguments: Sequence[str]) -> int:
    """Write the page of one run, or of several beside a Markdown and a CSV file."""
    if {"-h", "--help"} & set(arguments):
        from cgcd.cli.help_topics import topic

        print(topic("report"), end="")
        return 0
    return exit_code(lambda: _report(_request(arguments)), "nothing of the runs was changed")


def _report(request: _Request) -> int:
    folders = _run_folders(request.words)
    runs, notes = _read(folders)
    if len(runs) == 1:
        from cgcd.tracking.report.one_run import run_page

        path = request.out or runs[0].folder / REPORT
        for note in notes:
            print(note)
        _write(path, run_page(runs[0]))
        print(f"{runs[0].name}: {path}")
        return 0
    from cgcd.tracking.report.compared import Comparison
    from cgcd.tracking.report.comparison import comparison_page
    from cgcd.tracking.report.comparison_files import comparison_csv, comparison_markdown
    from cgcd.tracking.report.grouping import benches

    path = request.out or _common(request.words, [run.folder for run in runs]) / REPORT
    comparisons = [Comparison.of(bench) for bench in benches(runs, request.pool)]
    _write(path, comparison_page(comparisons, notes))
    _write(path.with_suffix(".md"), comparison_markdown(comparisons, notes))
    _write(path.with_suffix(".csv"), comparison_csv(comparisons))
    for note in notes:
        print(note)
    print(f"{len(runs)} runs: {path}, and beside it .md and .csv")
    return 0


def _request(arguments: Sequence[str]) -> _Request:
    """Words and `key=value`.

    Raises:
        InputError: for a key that nobody reads, or a value that cannot be used.
    """
    request = _Request()
    for word in arguments:
        key, equals, value = word.partition("=")
        if word.startswith("-"):
            raise InputError(f"cgcd report knows no flag {word}; see cgcd help report")
        if not equals or os.sep in key or Path(word).exists():
            request.words.append(word)
        elif key == "out" and value:
            request.out = Path(value)
            if request.out.suffix.lower() not in (".html", ".htm"):
                raise InputError(f"out={value} is no page; wanted out=FILE.html")
        elif key == "pool" and value.lower() in ("true", "false"):
            request.pool = value.lower() == "true"
        else:
            raise InputError(
                f"cgcd report cannot use {word}; wanted runs, out=FILE.html or pool=true"
            )
    request.words = request.words or [_RUNS_ROOT]
    return request


def _run_folders(words: Sequence[str]) -> list[Path]:
    """Folders of runs, each once, in the order of the words.

    Raises:
        InputError: naming the word that leads to none.
    """
    found: dict[Path, Path] = {}
    for word in words:
        matches = [word] if Path(word).exists() else sorted(glob.glob(word))
        inside = [folder for match in matches for folder in _inside(Path(match))]
        if not inside:
            lack = "is no folder of a run and holds none" if matches else "is not there"
            raise InputError(f"{word} {lack}; wanted finished runs: {_EXAMPLE}")
        found |= {folder.resolve(): folder for folder in inside}
    return list(found.values())


def _inside(folder: Path, depth: int = 0) -> Iterator[Path]:
    """The folder if a run is in it, else those below; no link, hidden folder or tuning."""
    if not folder.is_dir() or (folder / TUNING).is_file():
        return
    if (folder / RESULTS).is_file() or (folder / _CONFIG).is_file():
        yield folder
    elif depth < _DEPTH:
        for below in sorted(folder.iterdir()):
            if not below.name.startswith(".") and not below.is_symlink():
                yield from _inside(below, depth + 1)


def _read(folders: Sequence[Path]) -> tuple[list[Any], list[str]]:
    """Finished runs, and a note on every other one.

    Raises:
        InputError: if none is finished, or something cannot be read.
    """
    from cgcd.tracking.report.folder import StoredRun

    runs, notes = [], []
    no_result = frozenset(".".join(keys) for keys in NO_RESULT_KEYS)
    no_result |= {f"strategy.{keys[-1]}" for keys in NO_RESULT_KEYS}
    for folder in folders:
        results = _results(folder)
        if results is None:
            notes.append(f"{folder.name} is left out: it is not finished.")
        else:
            runs.append(StoredRun(folder, results, _config(folder), no_result))
    if not runs:
        raise InputError(
            f"no run of {len(folders)} is finished, first {folders[0]}; give its command again to "
            "go on with it"
        )
    return runs, notes


def _results(folder: Path) -> dict[str, Any] | None:
    """Content of `results.json`; None of an unfinished run.

    Raises:
        InputError: if it is damaged or of a newer version.
    """
    path = folder / RESULTS
    if not path.is_file():
        return None
    try:
        results = json.loads(path.read_text(encoding="utf-8"))
        version = int(results["schema_version"])
        missing = [key for key in _NEEDED if key not in results]
    except (ValueError, KeyError, TypeError) as error:
        raise InputError(
            f"{path} is damaged ({error!r}); leave the run out or run it anew with overwrite=true"
        ) from error
    if version > SCHEMA_VERSION:
        raise InputError(
            f"{path} has schema version {version} and this cgcd reads up to {SCHEMA_VERSION}; use "
            "the newer cgcd"
        )
    if not results.get("finished") or not results.get("stages"):
        return None
    if missing:
        raise InputError(f"{path} has no {missing[0]!r}; leave the run out or run it anew")
    return results


def _config(folder: Path) -> dict[str, Any]:
    """Content of `config.yaml`, nothing in it resolved; empty where a program made the run.

    Raises:
        InputError: if it cannot be read.
    """
    path = folder / _CONFIG
    if not path.is_file():
        return {}
    from omegaconf import OmegaConf
    from omegaconf.errors import OmegaConfBaseException
    from yaml import YAMLError

    try:
        if path.stat().st_size > _MOST_CONFIG_BYTES:
            raise ValueError(f"more than {_MOST_CONFIG_BYTES} bytes")
        content: Any = OmegaConf.to_container(OmegaConf.load(path), resolve=False)
    except (ValueError, OmegaConfBaseException, YAMLError) as error:
        raise InputError(
            f"{path} cannot be read ({str(error).splitlines()[0]}); leave the run out or mend it"
        ) from error
    return content if isinstance(content, dict) else {}


def _common(words: Sequence[str], folders: Sequence[Path]) -> Path:
    """The folder that was named, or the lowest one that holds all runs."""
    if len(words) == 1 and Path(words[0]).is_dir():
        return Path(words[0])
    return Path(os.path.commonpath([folder.parent.absolute() for folder in folders]))


def _write(path: Path, text: str) -> None:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary = path.with_name(f".{path.name}-{os.getpid()}")
        temporary.write_text(text, encoding="utf-8")
        temporary.replace(path)
    except OSError as error:
        raise InputError(f"{path} cannot be written ({error.strerror}); give out=FILE") from error
