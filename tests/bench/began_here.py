"""Where a suite or a tutorial began, and how another place may differ from it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from bench import machine
from bench.store import run_folder
from bench.store.run_folder import Commit

if TYPE_CHECKING:
    import pytest

MACHINE: dict[str, Any] = {"fingerprint": "f", "packages": {"torch": "2.8.0"}}
CODE = Commit(revision="c" * 40, dirty=False)
ELSEWHERE: tuple[dict[str, Any], ...] = (
    {"machine": {**MACHINE, "fingerprint": "g"}},
    {"machine": {**MACHINE, "packages": {"torch": "2.7.0"}}},
    {"commit": "d" * 40},
    {"dirty": True},
    {"policy": {"max_call_s": 9}},
)
"""Entries of environment.json, each of another machine, code, policy or other packages."""


def stay_here(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let this be that machine, with that code."""
    monkeypatch.setattr(machine, "describe", lambda **_: MACHINE)
    monkeypatch.setattr(run_folder, "commit", lambda: CODE)
