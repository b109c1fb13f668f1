"""A fake checkout of this project under git, whose workers reply what a test plants."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from bench.gate.against import AgainstRequest
from bench.gate.thresholds import Effort, GatePolicy
from tests.bench.git_repository import git

if TYPE_CHECKING:
    from pathlib import Path

INFERENCE = "inference/stock/eager/fp32/contiguous/b1"
QUICK = GatePolicy(
    screening=Effort(launches=2, min_rounds=3, max_rounds=4, budget_s=60),
    confirmation=Effort(launches=2, min_rounds=3, max_rounds=4, budget_s=60),
)
"""Scripted times vary as little as a test chooses, so few rounds show as much as many."""


def commit(folder: Path) -> str:
    """Commit everything; returns the commit."""
    git(folder, "add", ".")
    git(folder, "commit", "--quiet", "--allow-empty", "--message", "x")
    return git(folder, "rev-parse", "HEAD")


def speed(folder: Path, **planted: Any) -> None:
    """Set what this checkout's workers reply. `factor` slows a side's first launches."""
    usual: dict[str, Any] = {"inference": 100.0, "training": 200.0, "spread": 0.005, "fail": None}
    usual |= {"factor": {}, "factor_launches": 100, "conditions": {}}
    lines = [f"{name.upper()} = {value!r}\n" for name, value in {**usual, **planted}.items()]
    (folder / "pillqc" / "speed.py").write_text("".join(lines))


def plant(repository: Path, side: str, **planted: Any) -> None:
    """Set what the workers of one side alone reply."""
    speed(repository, **planted)
    if side == "base":
        commit(repository)
        speed(repository)


def request(repository: Path, /, *only: str, **changes: Any) -> AgainstRequest:
    """A gate of this repository against its last commit."""
    data = repository.parent / "data"
    data.mkdir(exist_ok=True)
    fields: dict[str, Any] = {
        "revision": "HEAD",
        "data": data,
        "output": repository.parent / "out",
        "repository": repository,
        "only": only or (INFERENCE,),
        "thresholds": QUICK,
    }
    return AgainstRequest(**{**fields, **changes})
