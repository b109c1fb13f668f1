"""What a run keeps for its report: from workers of their own, and never at the cost of the run."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from bench.errors import WorkerError
from bench.plan.matrix import matrix
from bench.plan.profiles import PROFILES
from bench.plan.scenario import Status
from bench.plan.thresholds import DEFAULT
from bench.run import pictures

if TYPE_CHECKING:
    from collections.abc import Mapping

SCENARIOS = matrix(PROFILES["smoke"])
MISSING = WorkerError(Status.UNAVAILABLE, "it is not installed")


def looks(worker: Any, op: str, fields: Mapping[str, Any]) -> dict[str, Any] | None:
    """A worker's replies about layers and pictures."""
    if op == "layers":
        kind = "Linear" if worker.key.backend == "stock" else "_IPEXLinear"
        return {"layers": [["head", kind]]}
    if op == "pictures":
        Path(fields["folder"]).mkdir()
        return {"items": [{"file": "a.png"}], "trained": False, "source": "synthetic"}
    return None


@pytest.mark.parametrize("broken", ["", "ipex", "stock"])
def test_what_works_is_kept_the_rest_is_noted(tmp_path: Path, backend: Any, broken: str) -> None:
    """A missing IPEX costs the layers after it, and nothing else; every worker is ended."""
    backend.scripted = looks
    backend.greeting_faults = {broken: MISSING}
    events = pictures.keep(backend.launch, SCENARIOS, tmp_path, DEFAULT)
    assert [event.subject for event in events] == [broken] * bool(broken)
    assert not backend.alive
    kept = json.loads((tmp_path / "pictures" / "pictures.json").read_text())
    assert ("layers_before" in kept, "items" in kept) == (broken != "stock",) * 2
    assert ("layers_after" in kept) == (broken != "ipex")


def test_nothing_is_written_when_nothing_worked(tmp_path: Path, backend: Any) -> None:
    """The report then says that there are no pictures."""
    backend.greeting_faults = {"stock": MISSING, "ipex": MISSING}
    assert len(pictures.keep(backend.launch, SCENARIOS, tmp_path, DEFAULT)) == 2
    assert list(tmp_path.iterdir()) == []
