"""Run in another environment's interpreter: could a worker run here, and what is installed?

`python -c <this text> RESULT` writes JSON to the file RESULT. Everything that a worker imports is
imported, so that what is missing shows before anything is measured.
"""

from __future__ import annotations

import importlib
import json
import re
import sys
from importlib import metadata
from pathlib import Path
from typing import Any

MODULES = (
    "numpy",
    "scipy",
    "PIL",
    "safetensors",
    "torch",
    "torchvision",
    "bench.worker.protocol",
    "bench.worker.session",
)
"""In an order that names what is really missing: torchvision is of no use without torch."""


def answers() -> dict[str, Any]:
    """`missing`: the first module that is not there; `error`: why one that is there fails."""
    said: dict[str, Any] = {"missing": None, "error": None, "protocol": None, "packages": {}}
    try:
        for name in MODULES:
            importlib.import_module(name)
        said["protocol"] = importlib.import_module("bench.worker.protocol").VERSION
    except ModuleNotFoundError as error:
        if error.name and "." not in error.name:
            said["missing"] = error.name
        else:
            said["error"] = f"{type(error).__name__}: {error}"
    except Exception as error:  # noqa: BLE001 - packages that do not fit together fail in any way
        lines = str(error).strip().splitlines() or [""]
        said["error"] = f"{type(error).__name__}: {lines[0]}"
    for distribution in metadata.distributions():
        name = distribution.metadata["Name"]
        if name:
            said["packages"][re.sub(r"[-_.]+", "-", name).lower()] = distribution.version
    said["packages"] = dict(sorted(said["packages"].items()))
    return said


if __name__ == "__main__":
    Path(sys.argv[1]).write_text(json.dumps(answers()), encoding="utf-8")
