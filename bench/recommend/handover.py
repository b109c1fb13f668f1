"""Write the file that tells `pillqc inspect --backend auto` which scenario was fastest.

pillqc never imports bench and knows nothing of runs. It reads this JSON object, whose keys
docs/recommend.md lists: how to set up the model, and the CPU and package versions to check first.
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import TYPE_CHECKING

from bench.errors import BenchError
from bench.plan.scenario import CPP_WRAPPER, MAX_AUTOTUNE, NO_FREEZING
from bench.store import durable
from bench.text.wording import option_tags

if TYPE_CHECKING:
    from bench.analysis.run_facts import Facts
    from bench.store.records import ScenarioRow

FORMAT = "pillqc-acceleration/1"
_VARIABLE = "PILLQC_ACCELERATION"
_PACKAGES = {"stock": (), "ipex": ("intel-extension-for-pytorch",)}
"""Packages that a backend needs beside PyTorch; any other backend is a package of its name."""


def default_path() -> Path:
    """Return where `pillqc` looks by default: a variable, else the user's settings."""
    if named := os.environ.get(_VARIABLE):
        return Path(named)
    settings = os.environ.get("XDG_CONFIG_HOME") or Path.home() / ".config"
    return Path(settings) / "pillqc" / "acceleration.json"


def handover(facts: Facts, row: ScenarioRow) -> dict[str, object]:
    """Return the file's content; versions are those of the scenario's environment."""
    packages = facts.packages(row.environment)
    names = ("torch", *_PACKAGES.get(row.backend, (row.backend,)))
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


def write(facts: Facts, row: ScenarioRow, path: Path) -> None:
    """Write the file in one step.

    Raises:
        BenchError: the file cannot be written, or pillqc cannot run the scenario.
    """
    if facts.is_own_model:
        raise BenchError(
            f"this run measured {facts.metadata.request.own.model}, and `pillqc inspect` runs the "
            "pill inspector: use the printed code"
        )
    if row.dtype == "int8":
        raise BenchError(
            f"{row.scenario}: `pillqc inspect` cannot run int8, which needs calibration images: "
            "use the printed code, or recommend without --int8"
        )
    unknown = {"fp16", MAX_AUTOTUNE, CPP_WRAPPER} & {row.dtype, *option_tags(row)}
    if unknown:
        raise BenchError(
            f"{row.scenario}: `pillqc inspect` does not have {', '.join(unknown)}: use the printed "
            "code"
        )
    text = json.dumps(handover(facts, row), indent=2) + "\n"
    durable.replace(path, text.encode(), make_folder=True)
