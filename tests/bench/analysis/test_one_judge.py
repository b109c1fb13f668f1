"""There is one judge: nothing else calls the statistics, and whoever compares goes through it."""

from __future__ import annotations

import ast
from pathlib import Path

import bench

ROOT = Path(bench.__file__).parent


def imports(path: Path) -> set[str]:
    """Every module that a file imports from, and each name as a module too."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and node.module:
            found |= {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)}
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
    return found


def importers(module: str) -> set[str]:
    """The files of `bench` that import it."""
    return {str(path.relative_to(ROOT)) for path in ROOT.rglob("*.py") if module in imports(path)}


def test_only_the_judge_calls_the_model() -> None:
    """A second caller would be a second judge."""
    assert importers("bench.analysis.model") == {"analysis/judge.py"}


def test_every_part_that_compares_has_the_judge() -> None:
    """The run and its page, the studies, the gate, the selfcheck, and what plans."""
    assert importers("bench.analysis.judge") == {
        "analysis/speedups.py",
        "gate/duel.py",
        "planner.py",
        "selfcheck/experiment.py",
        "studies/accuracy.py",
        "studies/comparing.py",
        "studies/instances.py",
        "studies/operators.py",
        "studies/stages.py",
    }


def test_student_stands_in_the_model_alone() -> None:
    """And in what a nested experiment shows; other distributions serve other ends."""
    callers = {
        str(path.relative_to(ROOT)) for path in ROOT.rglob("*.py") if "stats.t." in path.read_text()
    }
    assert callers == {"analysis/model.py", "analysis/nested.py"}
