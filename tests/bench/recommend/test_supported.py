"""The code of supported ways rests on nothing deprecated, and on nothing private."""

from __future__ import annotations

import ast
import json
import os
import re
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from bench.plan.matrix import FURTHER_BACKENDS
from bench.plan.support import DOCUMENTED, Severity, concerns, is_supported
from bench.recommend.recipes import recipe
from tests.bench.recommend.recipe_programs import (
    EVERY_WAY,
    Interpreter,
    execute,
    further,
    once_each,
)

if TYPE_CHECKING:
    from tests.bench.made_up_runs import MakeRun

LATEST = "torch-latest"
_ASK = """
import importlib.util, json, sys
from importlib.metadata import version
from importlib.util import find_spec
print(json.dumps({"python": sys.executable, "torch": version("torch"),
                  "int8": importlib.util.find_spec("torchao") is not None}))
"""


@pytest.fixture(scope="module")
def latest() -> Interpreter:
    """The newest PyTorch: PILLQC_LATEST_PYTHON, or what `make bench ENVS=latest` installed."""
    installed = Path(__file__).parents[3] / ".venv-latest/bin/python"
    python = os.environ.get("PILLQC_LATEST_PYTHON", str(installed))
    if not Path(python).exists():
        pytest.skip(f"{python} is not there: `make .venv-latest/.installed` makes it")
    told = subprocess.run([python, "-c", _ASK], check=True, capture_output=True, text=True)
    return Interpreter(**json.loads(told.stdout))


@pytest.mark.torch
@pytest.mark.slow
def test_supported_recipes_run_without_any_warning_in_the_newest_pytorch(
    make_run: MakeRun, tmp_path: Path, latest: Interpreter
) -> None:
    """All of them, int8 too where torchao is installed."""
    run = make_run(**(EVERY_WAY | {"int8": latest.int8, "environments": (LATEST,)}))
    rows = [
        row
        for row in run.scenarios
        if row.environment == LATEST
        and (row.task == "training" or row.batch_size == 1)
        and is_supported(row, latest.torch)
    ]
    assert any(row.dtype == "int8" for row in rows) == latest.int8
    execute(once_each(rows), tmp_path, within=latest)


@pytest.mark.torch
def test_newest_pytorch_warns_of_what_is_marked_as_deprecated(
    make_run: MakeRun, latest: Interpreter
) -> None:
    """Else the rule would be out of date, or the tests above could not fail."""
    run = make_run(**(EVERY_WAY | {"environments": (LATEST,)}))
    script = next(
        row
        for row in run.scenarios
        if (row.environment, row.mode, row.dtype) == (LATEST, "torchscript", "fp32")
    )
    execute([script], within=latest, deprecated="ignore")
    with pytest.raises(AssertionError, match=r"Warning: `torch\.jit\.trace` is deprecated"):
        execute([script], within=latest, deprecated="error")


def private_names(code: str) -> set[str]:
    """The names in a program of which a part begins with an underscore, in full: `torch._C.x`.

    Without those that PyTorch documents, and without Python's own, such as `__init__`.
    """
    names: set[str] = set()
    for node in ast.walk(ast.parse(code)):
        parts: dict[type[ast.AST], Any] = {
            ast.Name: lambda node: [node.id],
            ast.Attribute: lambda node: [ast.unparse(node)],
            ast.alias: lambda node: [node.name],
            ast.ImportFrom: lambda node: [f"{node.module}.{one.name}" for one in node.names],
            ast.keyword: lambda node: [node.arg or ""],
        }
        names |= {*parts.get(type(node), lambda _: ())(node)}
    documented = {*DOCUMENTED, *(name.rpartition(".")[0] for name in DOCUMENTED)}
    return {name for name in names - documented if re.search(r"(^|\.)_(?!_\w+__)", name)}


@pytest.mark.parametrize("torch", ["2.8.0", "2.14.1"])
def test_recipes_name_something_private_only_where_that_is_marked(
    make_run: MakeRun, torch: str
) -> None:
    """IPEX's are archived as a whole, and may."""
    run = make_run(**(EVERY_WAY | {"environments": (LATEST,)}))
    rows = (*run.scenarios, *(further(run, name) for name in FURTHER_BACKENDS))
    marked = 0
    for row in (row for row in rows if row.backend not in ("ipex", "placebo")):
        is_private = any(one.severity is Severity.PRIVATE for one in concerns(row, torch))
        marked += is_private
        code = recipe(row, torch=torch)
        assert code is not None, row.scenario
        assert bool(private_names(code)) == is_private, (row.scenario, private_names(code))
    assert marked
    program = "import a._b as c, d\nfrom _e import f\nfrom k import _l\ng._h(_i=c.__dict__)"
    assert private_names(program) == {"a._b", "_e.f", "k._l", "_l", "g._h", "_i"}
    assert private_names("\n".join(DOCUMENTED)) == set()
    assert private_names("import torch._inductor.config") == {"torch._inductor.config"}
