"""What `cgcd doctor` looks at: each check stands alone and imports nothing heavy itself.

Packages are imported in processes of their own, so that one that ends its process, hangs or was
built for another torch is a line in the report and not the end of it.
"""

from __future__ import annotations

import json
import os
import platform
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, requires, version
from pathlib import Path
from typing import Any

from cgcd.places import cache_folder

_PATIENCE = 180  # seconds for one import: a cold network disk is slow
_AVALANCHE = "0.6.0"
_OTHERS = (
    "timm",
    "safetensors",
    "hydra-core",
    "numpy",
    "scipy",
    "scikit-learn",
    "pillow",
    "matplotlib",
    "tensorboard",
    "rich",
    "filelock",
)


@dataclass(frozen=True)
class Finding:
    """One line of the report.

    Attributes:
        level: ok, warning (a run works, but not as well as it could) or problem (it does not).
        name: what was looked at.
        text: what was found.
        mend: what to do about it, "" where nothing needs to be done.
    """

    level: str
    name: str
    text: str
    mend: str = ""


def probe(code: str) -> tuple[dict[str, Any], str]:
    """What a program prints as JSON in its last line, or {} and why it did not get there."""
    root = Path(__file__).resolve().parents[2]
    path = os.pathsep.join(filter(None, [str(root), os.environ.get("PYTHONPATH")]))
    try:
        done = subprocess.run(
            [sys.executable, "-P", "-c", code],
            capture_output=True,
            text=True,
            errors="replace",
            timeout=_PATIENCE,
            env={**os.environ, "PYTHONPATH": path},
            check=False,
        )
    except subprocess.TimeoutExpired:
        return {}, f"no answer within {_PATIENCE} seconds"
    if done.returncode < 0:
        return {}, f"the process ended with signal {-done.returncode}"
    if done.returncode:
        lines = [line.strip() for line in done.stderr.splitlines() if line.strip()]
        return {}, (lines[-1] if lines else f"exit code {done.returncode}")[:200]
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found, ""


def check_python() -> list[Finding]:
    """Version against the range that cgcd and Avalanche are tested on."""
    text = f"{platform.python_version()}, {platform.system()} {platform.machine()}"
    if (3, 11) <= sys.version_info[:2] < (3, 13):
        return [Finding("ok", "Python", text)]
    return [Finding("problem", "Python", text, "cgcd needs Python 3.11 or 3.12: make a new venv")]


_TORCH = """
import json, torch
facts = {"version": torch.__version__, "threads": torch.get_num_threads(), "gpus": []}
facts["built_for"] = torch.version.cuda and f"CUDA {torch.version.cuda}"
facts["built_for"] = facts["built_for"] or (torch.version.hip and f"ROCm {torch.version.hip}")
for index in range(torch.cuda.device_count() if torch.cuda.is_available() else 0):
    properties = torch.cuda.get_device_properties(index)
    facts["gpus"].append([properties.name, properties.total_memory])
torch.ones(2, 2) @ torch.ones(2, 2)
print(json.dumps(facts))
"""


def check_torch() -> list[Finding]:
    """torch itself, the graphics cards it sees, and the threads it takes."""
    facts, why = probe(_TORCH)
    if why:
        mend = "pip install --force-reinstall torch torchvision"
        installed = _version("torch")
        if installed is None:
            return [
                Finding("problem", "torch", "is not installed", "pip install torch torchvision")
            ]
        return [Finding("problem", "torch", f"{installed} does not import: {why}", mend)]
    built = facts["built_for"] or "CPU only"
    return [
        Finding("ok", "torch", f"{facts['version']}, built for {built}"),
        _gpu_finding(facts),
        _threads_finding(facts["threads"]),
    ]


def _gpu_finding(facts: dict[str, Any]) -> Finding:
    if facts["gpus"]:
        cards = ", ".join(f"{name} {memory / 2**30:.0f} GiB" for name, memory in facts["gpus"])
        return Finding("ok", "GPU", cards)
    if shutil.which("nvidia-smi") is None and not Path("/proc/driver/nvidia/version").exists():
        return Finding("ok", "GPU", "none: runs use the CPU")
    if facts["built_for"] is None:
        mend = "install a torch built for CUDA: see pytorch.org/get-started"
        return Finding("warning", "GPU", "there is a driver, but torch is built for the CPU", mend)
    mend = "see nvidia-smi; the driver may be too old for this torch, or the card hidden from here"
    return Finding(
        "warning", "GPU", f"there is a driver, but torch ({facts['built_for']}) sees no card", mend
    )


def _threads_finding(threads: int) -> Finding:
    cores = usable_cores()
    text = f"{threads} of torch, {cores:g} of {os.cpu_count()} cores may be used here"
    if threads <= max(cores, 1):
        return Finding("ok", "threads", text)
    fit = max(int(cores), 1)
    return Finding("warning", "threads", text, f"set OMP_NUM_THREADS={fit} or torch_threads={fit}")


def usable_cores() -> float:
    """Cores that this process may use: its affinity, or less where a container's quota says so."""
    affinity = getattr(os, "sched_getaffinity", None)
    cores = float(len(affinity(0)) if affinity else os.cpu_count() or 1)
    quota = Path("/sys/fs/cgroup/cpu.max")
    if quota.is_file():
        limit, _, period = quota.read_text(encoding="ascii").strip().partition(" ")
        if limit != "max":
            cores = min(cores, int(limit) / int(period))
    return cores


_TORCHVISION = """
import json, torch, torchvision
torchvision.ops.nms(torch.zeros(1, 4), torch.zeros(1), 0.5)
print(json.dumps({"version": torchvision.__version__}))
"""


def check_torchvision() -> list[Finding]:
    """Whether torchvision imports and was built for this torch."""
    torch, ours = _version("torch"), _version("torchvision")
    name, together = "torchvision", f"{ours} beside torch {torch}"
    if ours is None:
        return [Finding("problem", name, "is not installed", _both(torch))]
    wanted = re.search(r"^torch\s*\(?==\s*([\w.]+)", "\n".join(requires(name) or ()), re.MULTILINE)
    reasons = []
    if torch is not None and wanted and wanted[1] != torch.partition("+")[0]:
        reasons.append(f"it is built for torch {wanted[1]}")
    if torch is not None and _build(torch) != _build(ours):
        names = [_build(given) or "the stock build" for given in (torch, ours)]
        reasons.append(f"one is {names[0]}, the other {names[1]}")
    _, why = probe(_TORCHVISION)
    if why:
        text = f"{together} does not import: {'; '.join([*reasons, why])}"
        return [Finding("problem", name, text, _both(torch))]
    if reasons:
        return [Finding("warning", name, f"{together}: {'; '.join(reasons)}", _both(torch))]
    return [Finding("ok", name, together)]


def check_avalanche() -> list[Finding]:
    """Whether Avalanche imports and is the version that cgcd is written for."""
    installed, mend = _version("avalanche-lib"), f"pip install avalanche-lib=={_AVALANCHE}"
    if installed is None:
        return [Finding("problem", "Avalanche", "is not installed", mend)]
    _, why = probe("import avalanche.training.templates, avalanche.benchmarks; print('{}')")
    if why:
        mend += " setuptools" if "distutils" in why else ""
        return [Finding("problem", "Avalanche", f"{installed} does not import: {why}", mend)]
    if installed != _AVALANCHE:
        text = f"{installed}; cgcd is written for {_AVALANCHE}"
        return [Finding("warning", "Avalanche", text, mend)]
    return [Finding("ok", "Avalanche", installed)]


def check_packages() -> list[Finding]:
    """Whether the other packages are installed; they are not imported."""
    found = {name: _version(name) for name in _OTHERS}
    missing = [name for name, installed in found.items() if installed is None]
    if missing:
        text = f"{', '.join(missing)} not installed"
        return [Finding("problem", "packages", text, f"pip install {' '.join(missing)}")]
    shown = ("timm", "hydra-core", "numpy", "scikit-learn")
    rest = f" and {len(found) - len(shown)} more"
    return [Finding("ok", "packages", ", ".join(f"{n} {found[n]}" for n in shown) + rest)]


def check_cache() -> list[Finding]:
    """Place and size of the cache folder, and whether it can be written."""
    folder = cache_folder()
    mend = "set CGCD_CACHE to a folder that you may write"
    try:
        existing = _existing(folder)
        with tempfile.NamedTemporaryFile(dir=existing):
            pass
    except OSError as error:
        text = f"{folder} cannot be written: {error.strerror or error}"
        return [Finding("problem", "cache", text, mend)]
    if existing != folder:
        return [Finding("ok", "cache", f"{folder}, not made yet")]
    size = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
    return [Finding("ok", "cache", f"{folder}, {size / 2**20:.0f} MiB")]


def check_disk() -> list[Finding]:
    """Free space where the cache and the runs of this folder are written."""
    findings, seen = [], set[int]()
    for what, folder in (("runs", Path.cwd()), ("cache", cache_folder())):
        existing = _existing(folder)
        device = existing.stat().st_dev
        if device in seen:
            continue
        seen.add(device)
        free = shutil.disk_usage(existing).free
        level = "problem" if free < 2**28 else "warning" if free < 2**31 else "ok"
        mend = "" if level == "ok" else "make room, or set runs_root=DIR and CGCD_CACHE elsewhere"
        text = f"{free / 2**30:.1f} GiB free for {what} at {existing}"
        findings.append(Finding(level, "disk", text, mend))
    return findings


_WEIGHTS = """
import json, sys
from cgcd.models.published import published_file
print(json.dumps({name: str(published_file(name) or "") for name in json.loads(%r)}))
"""


def check_weights() -> list[Finding]:
    """Which published weights of the model files are on this machine."""
    from omegaconf import OmegaConf

    from cgcd.cli.configs import config_dir

    names = {}
    for path in sorted((config_dir() / "model").glob("*.yaml")):
        model: Any = OmegaConf.to_container(OmegaConf.load(path))
        if model["pretrained"] is True:
            names[path.stem] = str(model["backbone"])
    files, why = probe(_WEIGHTS % json.dumps(sorted(set(names.values()))))
    if why:
        text = f"could not be looked for: {why}"
        return [Finding("problem", "weights", text, "mend torch, torchvision and timm first")]
    findings = []
    for name, backbone in names.items():
        file = files[backbone] and Path(files[backbone])
        if file:
            text = f"model={name}: {file}, {file.stat().st_size / 2**20:.0f} MiB"
            findings.append(Finding("ok", "weights", text))
        else:
            text = f"model={name}: {backbone} is not in timm's cache"
            mend = "fetched on first use where there is a network; else model.weights=FILE"
            findings.append(Finding("warning", "weights", text, mend))
    return findings


CHECKS: dict[str, Callable[[], list[Finding]]] = {
    "Python": check_python,
    "torch": check_torch,
    "torchvision": check_torchvision,
    "Avalanche": check_avalanche,
    "packages": check_packages,
    "cache": check_cache,
    "disk": check_disk,
    "weights": check_weights,
}


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def _build(given: str) -> str:
    """The part of a version after the plus sign, such as cpu or cu128; "" of a stock build."""
    return given.partition("+")[2]


def _both(torch: str | None) -> str:
    """The command that brings torch and torchvision from one place."""
    build = _build(torch or "")
    index = f" --index-url https://download.pytorch.org/whl/{build}" if build else ""
    return f"install both from one place: pip install --force-reinstall torch torchvision{index}"


def _existing(folder: Path) -> Path:
    """The folder, or the nearest one above that exists."""
    while not folder.exists() and folder != folder.parent:
        folder = folder.parent
    return folder
