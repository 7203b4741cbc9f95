"""`cgcd report` from the command line's side: what it finds, writes, refuses."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from cgcd.cli.main import main


@pytest.fixture
def here(tmp_path, monkeypatch, write_run) -> Path:
    """A working directory with three finished runs and one that is not."""
    monkeypatch.chdir(tmp_path)
    for seed in range(3):
        add(write_run, f"digits-happy-s{seed}", seed)
    add(write_run, "digits-happy-s3", 3, finished=False)
    return tmp_path


def add(write_run, name: str, seed: int, **facts) -> Path:
    counts = {"stage/num_known": 1, "stage/num_classes": 1, "stage/found": 1, "seconds": 1.0}
    rows = [{"stage": stage, "accuracy/all": 0.9, **counts} for stage in range(2)]
    config = {"seed": seed, "scenario": {"seed": seed}, "data_root": "${oc.env:HOME}"}
    answers = {f"stage_{stage}": [("a", 0)] for stage in range(2)}
    facts = {"seed": seed, "stream_hash": f"hash {seed}", **facts}
    return write_run(
        Path("runs") / name, rows, answers, ["a"], headline=0.9, config=config, **facts
    )


def refusal(capsys, *words: str) -> str:
    """The one sentence that a command is refused with."""
    assert main(["report", *words]) == 2
    out, err = capsys.readouterr()
    assert not out and err.startswith("cgcd: ") and err.count("\n") == 1
    return err


def test_one_run_has_its_page_in_its_folder(here, capsys):
    assert main(["report", "runs/digits-happy-s0"]) == 0
    page = here / "runs" / "digits-happy-s0" / "report.html"
    assert "90.0 %" in page.read_text(encoding="utf-8")
    assert "oc.env:HOME" in page.read_text(encoding="utf-8")  # nothing of it was looked up
    assert "report.html" in capsys.readouterr().out
    assert main(["report", "runs/digits-happy-s0", "out=there/one.html"]) == 0
    assert (here / "there" / "one.html").read_bytes() == page.read_bytes()


@pytest.mark.parametrize(
    "words",
    [[], ["runs"], ["runs/digits-*"], ["runs/digits-happy-s2", "runs/digits-happy-s[0-3]"]],
)
def test_several_runs_have_one_beside_them(here, capsys, words):
    assert main(["report", *words]) == 0
    for end in ("html", "md", "csv"):
        assert (here / "runs" / f"report.{end}").is_file()
    told = capsys.readouterr().out
    assert "digits-happy-s3 is left out: it is not finished." in told and "3 runs" in told
    assert "3 (0-2)" in (here / "runs" / "report.md").read_text(encoding="utf-8")
    assert main(["report", *words]) == 0  # its own files are no runs


def test_other_streams_need_a_word(here, capsys, write_run):
    add(write_run, "digits-happy-s4", 4, num_stages=2, composition=[{"novel_classes": [0, 1]}])
    sentence = refusal(capsys, "runs")
    assert "digits-happy-s0 and digits-happy-s4" in sentence and "pool=true" in sentence
    assert not (here / "runs" / "report.html").exists()
    assert main(["report", "runs", "pool=true"]) == 0
    assert "Pooled" in (here / "runs" / "report.html").read_text(encoding="utf-8")


def test_what_cannot_be_used_is_one_sentence(here, capsys):
    (here / "empty").mkdir()
    assert "empty is no folder of a run" in refusal(capsys, "empty")
    assert "nowhere is not there" in refusal(capsys, "runs", "nowhere")
    assert "no run of 1 is finished" in refusal(capsys, "runs/digits-happy-s3")
    assert "out=page.txt is no page" in refusal(capsys, "runs", "out=page.txt")
    assert "cannot use pol=true" in refusal(capsys, "runs", "pol=true")
    assert "no flag --pool" in refusal(capsys, "runs", "--pool")


def test_damaged_files_are_named(here, capsys):
    path = here / "runs" / "digits-happy-s1" / "results.json"
    whole = path.read_text(encoding="utf-8")
    for text in ("{", "[]", '{"schema_version": "x"}'):
        path.write_text(text, encoding="utf-8")
        assert "results.json is damaged" in refusal(capsys, "runs")
    newer = json.loads(whole) | {"schema_version": 99}
    path.write_text(json.dumps(newer), encoding="utf-8")
    assert "schema version 99" in refusal(capsys, "runs")
    path.write_text(whole, encoding="utf-8")
    (here / "runs" / "digits-happy-s1" / "config.yaml").write_text("a: [", encoding="utf-8")
    assert "config.yaml cannot be read" in refusal(capsys, "runs")


def test_links_and_tuning_are_not_followed(here, capsys):
    (here / "runs" / "tune-x" / "trials" / "1").mkdir(parents=True)
    (here / "runs" / "tune-x" / "tune.json").write_text("{}", encoding="utf-8")
    (here / "runs" / "tune-x" / "trials" / "1" / "results.json").write_text("{", encoding="utf-8")
    (here / "runs" / "round").symlink_to(here / "runs")
    assert main(["report", "runs"]) == 0
    assert capsys.readouterr().out.splitlines()[-1].startswith("3 runs")


def test_help(capsys):
    assert main(["report", "--help"]) == 0
    assert "pool=true" in capsys.readouterr().out


def test_it_loads_no_torch(here):
    code = (
        "import sys; from cgcd.cli.main import main; main(['report', 'runs']); "
        "main(['report', 'runs/digits-happy-s0']); "
        "print({'torch', 'avalanche', 'hydra', 'matplotlib'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.endswith("set()\n") and not done.stderr
