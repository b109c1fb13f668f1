"""Find out, in another environment's interpreter, whether a worker can run there.

`python -c <this text> RESULT` writes JSON to the file RESULT. It imports all that a worker imports,
so that missing packages show before anything is measured.
"""

from __future__ import annotations

import importlib
import json
import sys
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
"""In the order of what needs what, so that the first missing one is the cause."""


def answers() -> dict[str, Any]:
    """Return `missing`, the first missing module; `error`, why an installed one fails; and more."""
    found: dict[str, Any] = {"missing": None, "error": None, "protocol": None, "packages": {}}
    try:
        for name in MODULES:
            importlib.import_module(name)
        found["protocol"] = importlib.import_module("bench.worker.protocol").VERSION
        found["packages"] = importlib.import_module("bench.machine.software").packages()
    except ModuleNotFoundError as error:
        if error.name and "." not in error.name:
            found["missing"] = error.name
        else:
            found["error"] = f"{type(error).__name__}: {error}"
    except Exception as error:  # noqa: BLE001 - packages that do not fit together fail in any way
        lines = str(error).strip().splitlines() or [""]
        found["error"] = f"{type(error).__name__}: {lines[0]}"
    return found


if __name__ == "__main__":
    Path(sys.argv[1]).write_text(json.dumps(answers()), encoding="utf-8")
