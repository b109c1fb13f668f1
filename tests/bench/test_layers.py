"""What the import contracts of pyproject.toml cannot see: what is loaded when a module runs."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.fresh_process import python

ROOT = Path(__file__).parents[2]
IMPORT_ONE_BY_ONE = """
import importlib, sys
allowed = {'pillqc', 'pillqc.shadowing', 'pillqc.limits', 'pillqc.terminal'}
for module in sys.argv[1:]:
    importlib.import_module(module)
    found = {name for name in sys.modules if name.split('.')[0] in ('torch', 'pillqc')} - allowed
    if found:
        sys.exit(f'{module} imports {found}')
"""


def test_the_parents_modules_never_import_torch() -> None:
    """Torch's threads and memory would be in the process that measures."""
    files = [path.relative_to(ROOT).with_suffix("") for path in (ROOT / "bench").rglob("*.py")]
    modules = [
        ".".join(path.parts)
        for path in sorted(files)
        if path.parts[1] != "worker" and path.name != "__main__" and "ask_" not in path.name
    ]
    assert len(modules) > 100
    python("-c", IMPORT_ONE_BY_ONE, *modules)


@pytest.mark.parametrize("module", ["bench.cli.main", "pillqc.commands.main"])
def test_the_command_line_starts_without_its_libraries(module: str) -> None:
    """`--help` is quick, and Ctrl-C in the first moment meets no half-imported library."""
    heavy = "{'torch', 'numpy', 'scipy', 'matplotlib', 'pandas', 'jinja2', 'sklearn'}"
    code = f"import sys, {module}; sys.exit(', '.join({heavy} & set(sys.modules)) or 0)"
    python("-c", code)


@pytest.mark.torch
def test_a_worker_needs_no_more_than_another_environment_has() -> None:
    """`make bench ENVS="ipex latest"` installs what constraints-latest.txt names, nothing else."""
    unneeded = ("click", "cpuinfo", "jinja2", "matplotlib", "pandas", "sklearn", "torchinfo")
    listed = (ROOT / "constraints-latest.txt").read_text(encoding="utf-8").splitlines()
    names = {line.split("==")[0] for line in listed}
    hidden = [name for name in unneeded if name not in names]
    assert "matplotlib" in hidden
    code = f"import sys; sys.modules.update(dict.fromkeys({hidden})); import bench.worker.session"
    python("-c", code)
