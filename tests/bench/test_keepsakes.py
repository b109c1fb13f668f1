"""What a run keeps for its report: from workers of their own, and never at the cost of the run."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from bench import keepsakes
from bench.errors import WorkerError
from bench.policy import DEFAULT
from bench.scenarios import PROFILES, Scenario, Status, matrix

SCENARIOS = matrix(PROFILES["smoke"])


@dataclass
class Worker:
    """Answers as a real one would."""

    backend: str
    fails: bool = False
    asked: list[str] = field(default_factory=list)
    stopped: bool = False
    alive: bool = True
    pid: int = 1

    def greet(self, timeout_s: float) -> dict[str, Any]:
        if self.fails:
            raise WorkerError(Status.UNAVAILABLE, "IPEX is not installed")
        return {}

    def ask(self, op: str, timeout_s: float, **fields: Any) -> dict[str, Any]:
        self.asked.append(op)
        if op == "layers":
            return {"layers": [["head", "Linear" if self.backend == "stock" else "_IPEXLinear"]]}
        if op == "pictures":
            Path(fields["folder"]).mkdir()
            return {"items": [{"file": "a.png"}], "trained": False, "source": "synthetic"}
        return {}

    def stop(self) -> None:
        self.stopped = True


@pytest.mark.parametrize("broken", ["", "ipex", "stock"])
def test_what_works_is_kept_and_what_does_not_is_a_note(tmp_path: Path, broken: str) -> None:
    """A missing IPEX costs the layers after it, and nothing else; every worker is ended."""
    workers: list[Worker] = []

    def launch(key: Scenario, control: bool, number: int) -> Worker:
        assert (control, number) == (False, -1)
        workers.append(Worker(backend=key.backend, fails=key.backend == broken))
        return workers[-1]

    notes = keepsakes.keep(launch, SCENARIOS, tmp_path, DEFAULT)
    assert len(notes) == bool(broken)
    assert all(worker.stopped for worker in workers)
    kept = json.loads((tmp_path / "pictures" / "pictures.json").read_text())
    assert ("layers_before" in kept, "items" in kept) == (broken != "stock",) * 2
    assert ("layers_after" in kept) == (broken != "ipex")


def test_nothing_is_written_when_nothing_worked(tmp_path: Path) -> None:
    """The report then says that there are no pictures."""
    notes = keepsakes.keep(
        lambda key, *_: Worker(backend=key.backend, fails=True), SCENARIOS, tmp_path, DEFAULT
    )
    assert len(notes) == 2
    assert list(tmp_path.iterdir()) == []
