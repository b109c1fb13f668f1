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

from bench.errors import BenchError
from bench.plan.scenario import DEFAULT_ENVIRONMENT, NO_FREEZING
from bench.store import durable
from bench.text.wording import option_tags

if TYPE_CHECKING:
    from collections.abc import Mapping

    from bench.analysis.facts import Facts
    from bench.store.records import ScenarioRow

FORMAT = "pillqc-acceleration/1"
_VARIABLE = "PILLQC_ACCELERATION"
_PACKAGES = {"stock": (), "ipex": ("intel-extension-for-pytorch",)}
"""What a backend needs beside PyTorch; a further backend is a package of its own name."""


def default_path() -> Path:
    """Where `pillqc` looks when it is not told: a variable, else the user's settings."""
    named = os.environ.get(_VARIABLE)
    if named:
        return Path(named)
    settings = os.environ.get("XDG_CONFIG_HOME") or Path.home() / ".config"
    return Path(settings) / "pillqc" / "acceleration.json"


def handover(facts: Facts, row: ScenarioRow) -> dict[str, Any]:
    """What the file holds."""
    names = ("torch", *_PACKAGES.get(row.backend, (row.backend,)))
    packages = _packages(facts, row)
    return {
        "format": FORMAT,
        "run_id": facts.run_id,
        "scenario": row.scenario,
        "cpu_model": facts.metadata.machine.cpu_model,
        "versions": {name: packages.get(name) for name in names},
        "backend": row.backend,
        "mode": row.mode,
        "fusion": {"on": True, "off": False}.get(row.fusion or ""),
        "dtype": row.dtype,
        "layout": row.layout,
        "freezing": NO_FREEZING not in option_tags(row),
        "batch_size": row.batch_size,
        "threads": row.threads,
    }


def _packages(facts: Facts, row: ScenarioRow) -> Mapping[str, str]:
    """The versions that the scenario ran with: those of its own environment."""
    if row.environment == DEFAULT_ENVIRONMENT:
        return facts.metadata.machine.packages
    other = facts.metadata.environments.get(row.environment)
    return other.packages if other else {}


def write(facts: Facts, row: ScenarioRow, path: Path) -> None:
    """Write the file in one step.

    Raises:
        BenchError: it cannot be written, or pillqc cannot run the model so.
    """
    if row.dtype == "int8":
        raise BenchError(
            f"{row.scenario}: `pillqc inspect` cannot run int8, which needs calibration images: "
            "use the code that is printed, or recommend without --int8"
        )
    text = json.dumps(handover(facts, row), indent=2) + "\n"
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise BenchError(f"{path.parent} cannot be made ({error.strerror})") from error
    durable.replace(path, text.encode())
