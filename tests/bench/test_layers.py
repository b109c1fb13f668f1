"""The layers of CONTRIBUTING.md hold: who may import torch, and who may import whom."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
WITHOUT_TORCH = (
    "analysis.claims",
    "analysis.leaving",
    "analysis.speedups",
    "cli",
    "client",
    "export",
    "gate.against",
    "gate.command",
    "gate.policy",
    "lane",
    "limits",
    "machine",
    "measure",
    "noise",
    "outcome",
    "parity",
    "engine",
    "launcher",
    "planner",
    "run_checks",
    "records",
    "report",
    "rounds",
    "runner",
    "schedule",
    "selfcheck.command",
    "selfcheck.check",
    "selfcheck.processes",
    "steady",
    "studies.accuracy",
    "studies.command",
    "studies.instances",
    "studies.load",
    "studies.operators",
    "studies.stages",
    "variables",
)


IMPORT_ONE_BY_ONE = """
import importlib, sys
allowed = {'pillqc', 'pillqc.hidden', 'pillqc.limits'}
for module in sys.argv[1:]:
    importlib.import_module(f'bench.{module}')
    found = {name for name in sys.modules if name.split('.')[0] in ('torch', 'pillqc')} - allowed
    if found:
        sys.exit(f'{module} imports {found}')
"""


def test_the_parents_modules_never_import_torch() -> None:
    """Torch's threads and memory would be in the process that measures."""
    command = [sys.executable, "-c", IMPORT_ONE_BY_ONE, *WITHOUT_TORCH]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("module", ["bench.cli", "pillqc.cli"])
def test_the_command_line_starts_without_its_libraries(module: str) -> None:
    """`--help` is quick, and Ctrl-C in the first moment meets no half-imported library."""
    heavy = "{'torch', 'numpy', 'scipy', 'matplotlib', 'pandas', 'jinja2', 'sklearn'}"
    code = f"import sys, {module}; sys.exit(', '.join({heavy} & set(sys.modules)) or 0)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"{module} imports {done.stderr}"


@pytest.mark.torch
def test_a_worker_needs_no_more_than_another_environment_has() -> None:
    """`make bench ENVS="ipex latest"` installs what constraints-latest.txt names, nothing else."""
    unneeded = ("click", "cpuinfo", "jinja2", "matplotlib", "pandas", "sklearn", "torchinfo")
    listed = (ROOT / "constraints-latest.txt").read_text(encoding="utf-8").splitlines()
    names = {line.split("==")[0] for line in listed}
    hidden = [name for name in unneeded if name not in names]
    assert "matplotlib" in hidden
    code = f"import sys; sys.modules.update(dict.fromkeys({hidden})); import bench.session"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def imports(path: Path) -> set[str]:
    """Top-level names that a file imports, late imports included."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found.update(alias.name.split(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            found.add(node.module.split(".")[0])
    return found


def imports_from_pillqc(path: Path) -> set[str]:
    """Modules of pillqc that a file imports."""
    found = re.findall(
        r"^\s*(?:from|import) pillqc(?:\.| import )(\w+)", path.read_text(), re.MULTILINE
    )
    return set(found)


def test_pillqc_never_imports_bench() -> None:
    """The workload is usable on its own."""
    files = list((ROOT / "pillqc").rglob("*.py"))
    assert files
    assert [str(f) for f in files if "bench" in imports(f)] == []


def test_bench_reaches_pillqc_from_inside_a_worker_only() -> None:
    """One place prepares the workload; what drives it may name its types.

    What this process may use of the machine is asked in one place for both packages.
    """
    users = {
        str(path.relative_to(ROOT / "bench"))
        for path in (ROOT / "bench").rglob("*.py")
        if imports_from_pillqc(path) - {"hidden", "limits"}
    }
    assert {one for one in users if not one.startswith("workload/")} <= {"session.py", "parts.py"}
