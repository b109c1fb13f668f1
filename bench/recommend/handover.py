"""The file by which `pillqc inspect --backend auto` learns what was measured to be fastest.

pillqc never imports bench, and knows nothing of runs: it reads this one small JSON object, whose
keys docs/recommend.md lists. It holds what pillqc needs to set the model up, and what it checks
before it does: the CPU, and the versions of the packages.
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bench import durable
from bench.errors import BenchError

if TYPE_CHECKING:
    from bench.records import ScenarioRow
    from bench.report.facts import Facts

FORMAT = "pillqc-acceleration/1"
_VARIABLE = "PILLQC_ACCELERATION"


def default_path() -> Path:
    """Where `pillqc` looks when it is not told: a variable, else the user's settings."""
    named = os.environ.get(_VARIABLE)
    if named:
        return Path(named)
    settings = os.environ.get("XDG_CONFIG_HOME") or Path.home() / ".config"
    return Path(settings) / "pillqc" / "acceleration.json"


def handover(facts: Facts, row: ScenarioRow) -> dict[str, Any]:
    """What the file holds."""
    packages = facts.environment.table("machine", "packages")
    versions = {"torch": packages.get("torch")}
    if row.backend == "ipex":
        versions["intel-extension-for-pytorch"] = packages.get("intel-extension-for-pytorch")
    return {
        "format": FORMAT,
        "run_id": facts.run_id,
        "scenario": row.scenario,
        "cpu_model": facts.environment.text("machine", "cpu_model"),
        "versions": versions,
        "backend": row.backend,
        "mode": row.mode,
        "fusion": {"on": True, "off": False}.get(row.fusion or ""),
        "dtype": row.dtype,
        "layout": row.layout,
        "batch_size": row.batch_size,
        "threads": row.threads,
    }


def write(facts: Facts, row: ScenarioRow, path: Path) -> None:
    """Write the file in one step.

    Raises:
        BenchError: it cannot be written.
    """
    text = json.dumps(handover(facts, row), indent=2) + "\n"
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise BenchError(f"{path.parent} cannot be made ({error.strerror})") from error
    durable.replace(path, text.encode())
