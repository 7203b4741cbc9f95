"""Imports point one way: the table of layers, no circles, and what an import may load."""

from __future__ import annotations

import ast
import json
import subprocess
import sys
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
PACKAGES = ("cgcd", "scenarios", "strategies")
LAYERS = {  # the longest prefix counts; the bare package `cgcd` is a version and lazy names
    "cgcd": 1,
    "cgcd.places": 1,
    "cgcd.vocabulary": 1,
    "cgcd.models": 2,
    "cgcd.losses": 2,
    "cgcd.memory": 2,
    "cgcd.discovery": 2,
    "cgcd.metrics": 2,
    "cgcd.stages": 3,
    "cgcd.engine": 3,
    "cgcd.tracking": 3,
    "scenarios": 4,
    "strategies": 4,
    "cgcd.cli": 5,
    "cgcd.live": 5,
    "cgcd.live_inputs": 5,
    "cgcd.__main__": 5,
}
FORBIDDEN = {  # third parties that a layer must not know
    1: {"torch", "avalanche", "hydra", "omegaconf", "numpy", "timm"},
    2: {"avalanche", "hydra", "omegaconf", "tensorboard", "rich", "filelock"},
    3: {"hydra", "omegaconf"},
    4: {"hydra", "omegaconf"},
    5: set(),
}


def module_name(path: Path) -> str:
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


FILES = {
    module_name(path): path
    for package in PACKAGES
    for path in sorted((ROOT / package).rglob("*.py"))
}


def is_type_checking(node: ast.AST) -> bool:
    return isinstance(node, ast.If) and ast.unparse(node.test).endswith("TYPE_CHECKING")


def imports(path: Path) -> set[str]:
    """Names of everything a file imports, at any depth, but not what only a type checker reads."""
    found: set[str] = set()
    todo: list[ast.AST] = [ast.parse(path.read_text(encoding="utf-8"))]
    while todo:
        node = todo.pop()
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import in line {node.lineno}"
            for alias in node.names:
                inner = f"{node.module}.{alias.name}"
                found.add(inner if inner in FILES else str(node.module))
        if not is_type_checking(node):
            todo.extend(ast.iter_child_nodes(node))
    return found


EDGES = {name: imports(path) for name, path in FILES.items()}


def layer(module: str) -> int:
    prefixes = [p for p in LAYERS if module == p or module.startswith(f"{p}.")]
    prefix = max(prefixes, key=len)
    assert prefix != "cgcd" or module == "cgcd", f"{module} has no layer; add it to the table"
    return LAYERS[prefix]


@pytest.mark.parametrize("module", FILES)
def test_no_arrow_runs_up(module):
    own = layer(module)
    for target in EDGES[module]:
        top = target.split(".")[0]
        if top not in PACKAGES:
            assert top not in FORBIDDEN[own], f"{module} (layer {own}) imports {target}"
            continue
        assert layer(target) <= own, f"{module} (layer {own}) imports {target}, which is above it"
        sides = {"scenarios", "strategies"}
        if module.split(".")[0] in sides and top in sides:
            assert top == module.split(".")[0], f"{module} and {target} must not see each other"
        assert not target.startswith("cgcd.cli") or own == 5


def test_modules_make_no_circle():
    own = {name: {t for t in targets if t in FILES} for name, targets in EDGES.items()}
    try:
        order = list(TopologicalSorter(own).static_order())
    except CycleError as error:
        pytest.fail(f"import circle: {' -> '.join(error.args[1])}")
    assert set(order) == set(FILES)


def test_every_public_name_of_an_init_is_declared():
    """`__init__` only re-exports: a docstring, imports, `__all__`."""
    for name, path in FILES.items():
        if path.name != "__init__.py" or name == "cgcd":
            continue
        for node in ast.parse(path.read_text(encoding="utf-8")).body:
            told = isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "__all__"
            docstring = isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)
            assert told or docstring or isinstance(node, ast.Import | ast.ImportFrom), path


def test_the_table_notices_an_arrow_up(tmp_path):
    (tmp_path / "bad.py").write_text("def f():\n    from strategies.happy import Happy\n")
    assert {layer(t) for t in imports(tmp_path / "bad.py")} == {4}


SCRIPT = """
import json, sys, warnings
heavy = ("torch", "avalanche", "hydra", "timm", "sklearn")
seen = {}
def note(name):
    seen[name] = [m for m in heavy if m in sys.modules]
with warnings.catch_warnings():
    warnings.simplefilter("error")
    import cgcd
    note("cgcd")
for part in ("vocabulary", "losses", "memory", "discovery", "metrics", "models"):
    __import__(f"cgcd.{part}")
    note(part)
print(json.dumps(seen))
"""


def test_mathematics_loads_no_avalanche():
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    seen = json.loads(done.stdout)
    assert seen["cgcd"] == [] and seen["vocabulary"] == []
    assert "torch" in seen["losses"]  # the script does look
    for part, loaded in seen.items():
        assert not {"avalanche", "hydra"} & set(loaded), part
