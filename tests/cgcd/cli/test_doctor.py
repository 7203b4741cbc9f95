"""Every check says what is wrong and how to mend it, and none stops the others."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from cgcd.cli import checks
from cgcd.cli.checks import CHECKS, Finding, probe
from cgcd.cli.doctor import examined
from cgcd.cli.main import main

TORCH = {"version": "2.9.0", "threads": 1, "gpus": [], "built_for": None}
VERSIONS = {"torch": "2.9.0", "torchvision": "0.24.0", "avalanche-lib": "0.6.0"}


@pytest.fixture
def machine(monkeypatch, tmp_path):
    """One on which all is well; tests break a part of it."""
    answers = {
        "torch.get_num_threads": (dict(TORCH), ""),
        "torchvision.ops": ({"version": "0.24.0"}, ""),
        "avalanche": ({}, ""),
        "published_file": ({}, ""),
    }
    state = SimpleNamespace(answers=answers, versions=dict(VERSIONS), free=2**40, driver=None)
    file = tmp_path / "model.safetensors"
    file.write_bytes(b"1" * 2**20)

    def answer(code):
        facts, why = next(given for key, given in state.answers.items() if key in code)
        if "published_file" in code and not facts and not why:
            names = ("vit_base_patch16_224.dino",)
            facts = json.loads(code.split("json.loads('")[1].split("')")[0])
            facts = {name: str(file) if name in names else "" for name in facts}
        return facts, why

    monkeypatch.setenv("CGCD_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(checks, "probe", answer)
    monkeypatch.setattr(checks, "requires", lambda name: ["numpy", "torch==2.9.0", "pillow"])
    monkeypatch.setattr(
        checks, "_version", lambda name: state.versions.get(name, "1.0" if name else None)
    )
    monkeypatch.setattr(checks, "usable_cores", lambda: 2.0)
    tools = SimpleNamespace(
        disk_usage=lambda path: SimpleNamespace(free=state.free), which=lambda name: state.driver
    )
    monkeypatch.setattr(checks, "shutil", tools)
    return state


def report(capsys) -> tuple[int, str]:
    code = main(["doctor"])
    out, err = capsys.readouterr()
    assert not err
    return code, out


def lines_of(out: str, name: str) -> str:
    """The lines of one check, each with its mend."""
    found, taken = [], False
    for line in out.splitlines():
        taken = line[9:].startswith(name) if line[0] != " " else taken
        if taken:
            found.append(line)
    return "\n".join(found)


def test_a_sound_machine(machine, capsys):
    code, out = report(capsys)
    assert code == 0 and out.splitlines()[-1].startswith("0 problems, ")
    assert "problem " not in out
    for name in ("Python", "torch", "GPU", "threads", "torchvision", "Avalanche", "cache", "disk"):
        assert lines_of(out, name).startswith("ok"), name
    weights = lines_of(out, "weights")
    assert "ok       weights      model=vit_base_dino: " in weights and "1 MiB" in weights
    assert "warning  weights      model=vit_base_dinov2: " in weights


def test_a_broken_torch_is_one_line_and_the_rest_goes_on(machine, capsys):
    for key in ("torch.get_num_threads", "torchvision.ops", "published_file"):
        machine.answers[key] = ({}, "ImportError: libtorch_cpu.so")
    code, out = report(capsys)
    assert code == 2 and "libtorch_cpu.so" in lines_of(out, "torch ")
    assert lines_of(out, "weights").startswith("problem")
    assert lines_of(out, "Avalanche").startswith("ok") and lines_of(out, "disk").startswith("ok")
    assert out.splitlines()[-1].startswith("3 problems")


@pytest.mark.parametrize("package", ["torch", "torchvision", "avalanche-lib", "timm"])
def test_a_package_that_is_not_there(machine, capsys, package):
    machine.versions[package] = None
    machine.answers["torch.get_num_threads"] = (
        ({}, "ModuleNotFoundError") if (package == "torch") else (dict(TORCH), "")
    )
    code, out = report(capsys)
    assert code == 2 and "not installed" in out and "pip install" in out


def test_a_cpu_torch_beside_a_stock_torchvision(machine, capsys):
    machine.versions["torch"] = "2.9.0+cpu"
    machine.answers["torchvision.ops"] = ({}, "RuntimeError: operator torchvision::nms")
    code, out = report(capsys)
    found = lines_of(out, "torchvision")
    assert code == 2 and found.startswith("problem")
    assert "0.24.0 beside torch 2.9.0+cpu does not import" in found
    assert "one is cpu, the other the stock build" in found and "torchvision::nms" in found
    assert "torch torchvision --index-url https://download.pytorch.org/whl/cpu" in found


def test_a_torchvision_for_another_torch_that_imports_is_a_warning(machine, capsys):
    machine.versions["torch"] = "2.8.0"
    code, out = report(capsys)
    found = lines_of(out, "torchvision")
    assert code == 0 and found.startswith("warning") and "built for torch 2.9.0" in found


@pytest.mark.parametrize(
    ("installed", "why", "level", "part"),
    [
        ("0.5.0", "", "warning", "pip install avalanche-lib==0.6.0"),
        ("0.6.0", "No module named 'distutils'", "problem", "avalanche-lib==0.6.0 setuptools"),
    ],
)
def test_avalanche(machine, capsys, installed, why, level, part):
    machine.versions["avalanche-lib"], machine.answers["avalanche"] = installed, ({}, why)
    code, out = report(capsys)
    found = lines_of(out, "Avalanche")
    assert found.startswith(level) and part in found and code == (2 if level == "problem" else 0)


@pytest.mark.parametrize(
    ("facts", "driver", "level", "part"),
    [
        ({"gpus": [["Card 9", 80 * 2**30]]}, "/bin/smi", "ok", "Card 9 80 GiB"),
        ({}, "/bin/smi", "warning", "built for the CPU"),
        ({"built_for": "CUDA 12.8"}, "/bin/smi", "warning", "(CUDA 12.8) sees no card"),
    ],
)
def test_the_graphics_card(machine, capsys, facts, driver, level, part):
    machine.answers["torch.get_num_threads"] = ({**TORCH, **facts}, "")
    machine.driver = driver
    code, out = report(capsys)
    found = lines_of(out, "GPU")
    assert code == 0 and found.startswith(level) and part in found


def test_more_threads_than_cores(machine, capsys):
    machine.answers["torch.get_num_threads"] = ({**TORCH, "threads": 64}, "")
    code, out = report(capsys)
    assert code == 0 and "OMP_NUM_THREADS=2" in lines_of(out, "threads")


@pytest.mark.parametrize(("free", "level"), [(2**27, "problem"), (2**30, "warning")])
def test_a_full_disk(machine, capsys, free, level):
    machine.free = free
    code, out = report(capsys)
    assert code == (2 if level == "problem" else 0)
    assert lines_of(out, "disk").startswith(level) and "make room" in out


def test_a_cache_that_cannot_be_written(machine, capsys, tmp_path):
    (tmp_path / "cache").write_text("a file")
    code, out = report(capsys)
    assert code == 2 and "CGCD_CACHE" in lines_of(out, "cache")


def test_the_size_of_the_cache_is_said(machine, capsys, tmp_path):
    (tmp_path / "cache" / "deep").mkdir(parents=True)
    (tmp_path / "cache" / "deep" / "file").write_bytes(bytes(3 * 2**20))
    assert "cache, 3 MiB" in lines_of(report(capsys)[1], "cache")


def test_a_python_that_is_too_new(machine, capsys, monkeypatch):
    monkeypatch.setattr(checks, "sys", SimpleNamespace(version_info=(3, 14, 0)))
    assert report(capsys)[0] == 2


def test_a_check_that_fails_is_reported_and_the_rest_goes_on():
    def fails() -> list[Finding]:
        raise RuntimeError("no\nsuch thing")

    findings = list(examined({"first": fails, "second": lambda: [Finding("ok", "second", "fine")]}))
    assert [f.level for f in findings] == ["problem", "ok"]
    assert findings[0].text == "could not be checked: RuntimeError: no such thing"


def test_it_takes_no_arguments(capsys):
    assert main(["doctor", "now"]) == 2
    assert "takes no arguments, got now" in capsys.readouterr().err


def test_a_probe_tells_every_end(monkeypatch):
    assert probe("print('noise'); print('{\"a\": 1}')") == ({"a": 1}, "")
    assert probe("raise RuntimeError('operator x')") == ({}, "RuntimeError: operator x")
    assert probe("import os; os.abort()") == ({}, "the process ended with signal 6")
    monkeypatch.setattr(checks, "_PATIENCE", 0.2)
    assert probe("import time; time.sleep(9)") == ({}, "no answer within 0.2 seconds")


def test_a_package_that_does_not_import_is_seen(monkeypatch, tmp_path):
    """End to end: a torch and a torchvision whose import fails as the real ones do."""
    for name in ("torch", "torchvision"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "__init__.py").write_text(f"raise OSError('lib{name}.so: not found')")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    for name in ("torch", "torchvision"):
        (finding,) = CHECKS[name]()
        assert finding.level == "problem" and "libtorch.so: not found" in finding.text


def test_it_loads_nothing_heavy():
    code = (
        "import sys, cgcd.cli.doctor; "
        "print({'torch', 'avalanche', 'numpy', 'timm', 'hydra'} & set(sys.modules))"
    )
    root = Path(checks.__file__).resolve().parents[2]
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=root
    )
    assert done.stdout == "set()\n"
