"""Fixtures of the recommendation's tests: runs that were never measured."""

from __future__ import annotations

from tests.bench.made_up_runs import make_run, save

__all__ = ["make_run", "save"]
